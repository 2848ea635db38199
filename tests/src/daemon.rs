//! A running `posthouse run`: where it answers, what it measures, what it has logged; killed when it is dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::site::{self, Site};
use crate::stack::wait_until;

/// For what it does by itself, and for the process to come and go: many times what it takes.
const LIMIT: Duration = Duration::from_secs(60);

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
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        site.set("daemon", "listen", address.as_str()).set("daemon", "topics", topics);
        site.set("daemon", "topics_period_s", 1);
        let log = tempfile::tempfile()?;
        let child = site::spawn(&site.write_config()?, &["run"], log.try_clone()?)?;
        let mut daemon = Self { child, address, log };
        wait_until("posthouse to answer", LIMIT, || match (daemon.child.try_wait(), daemon.get("health")) {
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
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // In HTTP/1.0 the answer ends with the connection.
        write!(stream, "GET /{path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
        ensure!(head.contains(" 200 "), "{answer}");
        Ok(body.to_owned())
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
    pub fn end(mut self) -> anyhow::Result<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = wait_until("the end of posthouse", LIMIT, || match self.child.try_wait() {
            Ok(Some(status)) => ControlFlow::Break(Ok(status)),
            Ok(None) => ControlFlow::Continue(anyhow!("it still runs")),
            Err(error) => ControlFlow::Break(Err(error.into())),
        })?;
        status.code().with_context(|| format!("{status}"))
    }
}

impl Drop for Daemon {
    /// SIGKILL. One that has ended already has nothing to be killed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
