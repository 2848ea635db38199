//! Handle of a running `posthouse run`: HTTP answers, metrics, log.
//!
//! The process is killed when the handle is dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::secrets;
use crate::site::{self, Site};
use crate::stack::wait_until;

/// Limit for the start and for background work, many times the usual time.
const LIMIT: Duration = Duration::from_secs(60);
/// Limit for the end of the process: it guarantees 10 s, and the system may be slow to report it.
const END_LIMIT: Duration = Duration::from_secs(15);

/// A running `posthouse run` process.
pub struct Daemon {
    child: Child,
    /// Address of its HTTP endpoint.
    pub address: String,
    log: File,
}

impl Daemon {
    /// Starts it on a free port with `topics` as its topics mode and a period of one second.
    /// Returns once it answers.
    ///
    /// # Errors
    /// Fails if the process ends at once or doesn't answer.
    pub fn start(site: &mut Site<'_>, topics: &str) -> anyhow::Result<Self> {
        let address = free_address()?;
        site.set("daemon", "listen", address.as_str()).set("topics", "reconcile", topics);
        site.set("topics", "interval", "1s");
        Self::with(&site.write_config()?, address)
    }

    /// Starts it with a config whose HTTP endpoint is `address`, and waits until it answers.
    ///
    /// # Errors
    /// Fails if the process ends at once or doesn't answer.
    pub fn with(config: &Path, address: String) -> anyhow::Result<Self> {
        Self::command(config, &["run"], address)
    }

    /// Starts another command that serves the same endpoints at `address`, and waits until it
    /// answers.
    ///
    /// # Errors
    /// Fails if the process ends at once or doesn't answer.
    pub fn command(config: &Path, arguments: &[&str], address: String) -> anyhow::Result<Self> {
        let log = tempfile::tempfile()?;
        let mut daemon = Self::spawn(log.try_clone()?, config, arguments, address)?;
        daemon.log = log;
        Ok(daemon)
    }

    /// Like [`Daemon::with`], but logs to `stderr` only.
    ///
    /// # Errors
    /// Fails if the process ends at once or doesn't answer.
    pub fn logging_to(stderr: impl Into<Stdio>, config: &Path, address: String) -> anyhow::Result<Self> {
        Self::spawn(stderr, config, &["run"], address)
    }

    fn spawn(
        stderr: impl Into<Stdio>,
        config: &Path,
        arguments: &[&str],
        address: String,
    ) -> anyhow::Result<Self> {
        let child = site::spawn(config, arguments, stderr)?;
        let mut daemon = Self { child, address, log: tempfile::tempfile()? };
        wait_until("posthouse to answer", LIMIT, || match (daemon.child.try_wait(), daemon.get("live")) {
            (Ok(None), Ok(said)) if said == "alive\n" => ControlFlow::Break(Ok(())),
            (Ok(None), said) => ControlFlow::Continue(anyhow!("{said:?}")),
            (ended, _) => ControlFlow::Break(Err(anyhow!("it ended: {ended:?}"))),
        })?;
        Ok(daemon)
    }

    /// Returns the body of the answer to a GET.
    ///
    /// # Errors
    /// Fails without an answer, or on another status than 200.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let (status, body) = self.answer(path)?;
        ensure!(status == 200, "{status}: {body}");
        Ok(body)
    }

    /// Returns the status and body of the answer to a GET.
    ///
    /// # Errors
    /// Fails without an answer.
    pub fn answer(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // In HTTP/1.0 the answer ends with the connection.
        write!(stream, "GET /{path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
        secrets::search(&format!("the answer of /{path}"), &answer);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.with_context(|| answer.clone())?, body.to_owned()))
    }

    /// Returns the value of a metric; `None` before its first measurement.
    ///
    /// # Errors
    /// Fails without an answer.
    pub fn metric(&self, name: &str) -> anyhow::Result<Option<u64>> {
        let all = self.get("metrics")?;
        let mut lines = all.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.next().map(|value| value.parse().context(all.clone())).transpose()
    }

    /// Waits until a metric's value satisfies `is`.
    ///
    /// # Errors
    /// Fails after the time limit, with the last value and the log.
    pub fn wait(&self, name: &str, is: impl Fn(u64) -> bool) -> anyhow::Result<()> {
        wait_until(name, LIMIT, || match self.metric(name) {
            Ok(Some(value)) if is(value) => ControlFlow::Break(Ok(())),
            Ok(value) => ControlFlow::Continue(anyhow!("{value:?}")),
            Err(error) => ControlFlow::Break(Err(error)),
        })
        .with_context(|| self.log().unwrap_or_default())
    }

    /// Waits until it isn't ready for a reason that contains `text`, and returns the whole reason.
    ///
    /// # Errors
    /// Fails after the time limit, with the last answer.
    pub fn is_not_ready(&self, text: &str) -> anyhow::Result<String> {
        wait_until(&format!("posthouse not to be ready because {text:?}"), LIMIT, || {
            match self.answer("ready") {
                Ok((503, reason)) if reason.contains(text) => ControlFlow::Break(Ok(reason)),
                said => ControlFlow::Continue(anyhow!("{said:?}")),
            }
        })
        .with_context(|| self.log().unwrap_or_default())
    }

    /// Waits until all of its tasks are ready.
    ///
    /// # Errors
    /// Fails after the time limit, with the reason.
    pub fn is_ready(&self) -> anyhow::Result<()> {
        wait_until("posthouse to be ready", LIMIT, || match self.answer("ready") {
            Ok((200, _)) => ControlFlow::Break(Ok(())),
            said => ControlFlow::Continue(anyhow!("{said:?}")),
        })
        .with_context(|| self.log().unwrap_or_default())
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns the whole log.
    ///
    /// # Errors
    /// Fails if the log can't be read.
    pub fn log(&self) -> anyhow::Result<String> {
        site::whole(&mut self.log.try_clone()?)
    }

    /// Waits until the log contains `text`, and returns the whole log.
    ///
    /// # Errors
    /// Fails after the time limit, with the log.
    pub fn says(&self, text: &str) -> anyhow::Result<String> {
        wait_until(&format!("posthouse to log {text:?}"), LIMIT, || match self.log() {
            Ok(log) if log.contains(text) => ControlFlow::Break(Ok(log)),
            Ok(log) => ControlFlow::Continue(anyhow!("{log}")),
            Err(error) => ControlFlow::Break(Err(error)),
        })
    }

    /// Whether the process runs.
    ///
    /// # Errors
    /// Fails if the system doesn't report it.
    pub fn lives(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends the process with SIGTERM, as a service manager does, and returns its exit code.
    ///
    /// # Errors
    /// Fails if it doesn't end, or ends by a signal.
    pub fn end(self) -> anyhow::Result<i32> {
        self.end_by(Signal::TERM)
    }

    /// Ends the process with `signal` and returns its exit code.
    ///
    /// # Errors
    /// Fails if it doesn't end in time, with its log, or if the signal itself ends it.
    pub fn end_by(mut self, signal: Signal) -> anyhow::Result<i32> {
        kill_process(self.pid(), signal)?;
        let log = || self.log.try_clone().map(|mut log| site::whole(&mut log).unwrap_or_default());
        let status = wait_until("the end of posthouse", END_LIMIT, || match self.child.try_wait() {
            Ok(Some(status)) => ControlFlow::Break(Ok(status)),
            Ok(None) => ControlFlow::Continue(anyhow!("it still runs")),
            Err(error) => ControlFlow::Break(Err(error.into())),
        })
        .with_context(|| log().unwrap_or_default())?;
        status.code().with_context(|| format!("{status}"))
    }
}

/// Returns a free loopback address.
///
/// # Errors
/// Fails if the system has no free port.
pub fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

impl Drop for Daemon {
    /// Sends SIGKILL. Errors are ignored, because the process may have ended already.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
