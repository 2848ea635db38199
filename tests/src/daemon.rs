//! A running `posthouse run`: where it answers, what it measures, what it has logged; killed when it is dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::site::{self, Site};
use crate::stack::wait_until;

/// For what it does by itself, and for the process to come: many times what it takes.
const LIMIT: Duration = Duration::from_secs(60);
/// For the process to go: it promises 10 s, and the system may be slow to say so.
const END_LIMIT: Duration = Duration::from_secs(15);

/// See the module.
pub struct Daemon {
    child: Child,
    /// Where it answers HTTP.
    pub address: String,
    log: File,
}

impl Daemon {
    /// Starts it on a free port, to look at topics every second as `topics` says, and waits until it answers.
    ///
    /// # Errors
    /// When it ends at once, or does not answer.
    pub fn start(site: &mut Site<'_>, topics: &str) -> anyhow::Result<Self> {
        let address = free_address()?;
        site.set("daemon", "listen", address.as_str()).set("daemon", "topics", topics);
        site.set("daemon", "topics_period_s", 1);
        Self::with(&site.write_config()?, address)
    }

    /// Starts it with a config that has it answer at `address`, and waits until it does.
    ///
    /// # Errors
    /// When it ends at once, or does not answer.
    pub fn with(config: &Path, address: String) -> anyhow::Result<Self> {
        let log = tempfile::tempfile()?;
        let mut daemon = Self::logging_to(log.try_clone()?, config, address)?;
        daemon.log = log;
        Ok(daemon)
    }

    /// The same; what it logs goes to `stderr` alone.
    ///
    /// # Errors
    /// When it ends at once, or does not answer.
    pub fn logging_to(stderr: impl Into<Stdio>, config: &Path, address: String) -> anyhow::Result<Self> {
        let child = site::spawn(config, &["run"], stderr)?;
        let mut daemon = Self { child, address, log: tempfile::tempfile()? };
        wait_until("posthouse to answer", LIMIT, || match (daemon.child.try_wait(), daemon.get("live")) {
            (Ok(None), Ok(said)) if said == "alive\n" => ControlFlow::Break(Ok(())),
            (Ok(None), said) => ControlFlow::Continue(anyhow!("{said:?}")),
            (ended, _) => ControlFlow::Break(Err(anyhow!("it ended: {ended:?}"))),
        })?;
        Ok(daemon)
    }

    /// What it answers to a GET.
    ///
    /// # Errors
    /// When it does not, or with another status than 200.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let (status, body) = self.answer(path)?;
        ensure!(status == 200, "{status}: {body}");
        Ok(body)
    }

    /// The status and the body that it answers to a GET.
    ///
    /// # Errors
    /// When it does not.
    pub fn answer(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // In HTTP/1.0 the answer ends with the connection.
        write!(stream, "GET /{path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.with_context(|| answer.clone())?, body.to_owned()))
    }

    /// The value of a metric; `None` while it was not measured.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metric(&self, name: &str) -> anyhow::Result<Option<u64>> {
        let all = self.get("metrics")?;
        let mut lines = all.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.next().map(|value| value.parse().context(all.clone())).transpose()
    }

    /// Waits until a metric has a value that is right.
    ///
    /// # Errors
    /// When it has not in time, with the last value and the log.
    pub fn wait(&self, name: &str, is: impl Fn(u64) -> bool) -> anyhow::Result<()> {
        wait_until(name, LIMIT, || match self.metric(name) {
            Ok(Some(value)) if is(value) => ControlFlow::Break(Ok(())),
            Ok(value) => ControlFlow::Continue(anyhow!("{value:?}")),
            Err(error) => ControlFlow::Break(Err(error)),
        })
        .with_context(|| self.log().unwrap_or_default())
    }

    /// Waits until it is not ready for a reason that contains `text`; returns the whole reason.
    ///
    /// # Errors
    /// When it is not in time, with what it says instead.
    pub fn is_not_ready(&self, text: &str) -> anyhow::Result<String> {
        wait_until(&format!("posthouse not to be ready because {text:?}"), LIMIT, || {
            match self.answer("ready") {
                Ok((503, reason)) if reason.contains(text) => ControlFlow::Break(Ok(reason)),
                said => ControlFlow::Continue(anyhow!("{said:?}")),
            }
        })
        .with_context(|| self.log().unwrap_or_default())
    }

    /// Waits until all of its tasks do their work.
    ///
    /// # Errors
    /// When they do not in time, with the reason.
    pub fn is_ready(&self) -> anyhow::Result<()> {
        wait_until("posthouse to be ready", LIMIT, || match self.answer("ready") {
            Ok((200, _)) => ControlFlow::Break(Ok(())),
            said => ControlFlow::Continue(anyhow!("{said:?}")),
        })
        .with_context(|| self.log().unwrap_or_default())
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// All that it has logged.
    ///
    /// # Errors
    /// When that can't be read.
    pub fn log(&self) -> anyhow::Result<String> {
        site::whole(&mut self.log.try_clone()?)
    }

    /// Waits until it has logged `text`; returns the whole log.
    ///
    /// # Errors
    /// When it has not in time, with what it has.
    pub fn says(&self, text: &str) -> anyhow::Result<String> {
        wait_until(&format!("posthouse to say {text:?}"), LIMIT, || match self.log() {
            Ok(log) if log.contains(text) => ControlFlow::Break(Ok(log)),
            Ok(log) => ControlFlow::Continue(anyhow!("{log}")),
            Err(error) => ControlFlow::Break(Err(error)),
        })
    }

    /// Whether its process runs.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn lives(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it as a service manager does; its exit code.
    ///
    /// # Errors
    /// When it does not end, or by a signal.
    pub fn end(self) -> anyhow::Result<i32> {
        self.end_by(Signal::TERM)
    }

    /// Ends it by a signal; its exit code.
    ///
    /// # Errors
    /// When it does not end in time, with its log, or by the signal itself.
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

/// An address that nobody listens on.
///
/// # Errors
/// When the system has none.
pub fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

impl Drop for Daemon {
    /// SIGKILL. One that has ended already has nothing to be killed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
