//! `posthouse run`: what it does by itself, what it leaves to people, and how it ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use crate::topics::{Broker, own};

tests! {
    Shared a_running_posthouse_makes_what_is_missing_and_leaves_what_deletes,
    Shared a_running_posthouse_that_checks_changes_nothing,
    Shared a_running_posthouse_outlives_a_broken_topics_file,
    Shared a_second_one_on_the_same_address_is_told_so,
}

/// For a look at the topics, and for the process to come and go.
const LIMIT: Duration = Duration::from_secs(60);

/// A running posthouse; killed when its test ends, however it ends.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    /// Starts it on a free port, to look every second, and waits until it answers.
    fn start(site: &mut Site<'_>, topics: &str) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        site.set("daemon", "listen", address.as_str()).set("daemon", "topics", topics);
        site.set("daemon", "topics_period_s", 1);
        let mut running = Self { child: site.spawn(&["run"])?, address };
        wait_until("posthouse to answer", LIMIT, || {
            match (running.child.try_wait(), running.get("health")) {
                (Ok(None), Ok(said)) if said == "alive\n" => ControlFlow::Break(Ok(())),
                (Ok(None), said) => ControlFlow::Continue(anyhow!("{said:?}")),
                (ended, _) => ControlFlow::Break(Err(anyhow!("it ended: {ended:?}"))),
            }
        })?;
        Ok(running)
    }

    fn get(&self, path: &str) -> anyhow::Result<String> {
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
    fn metric(&self, name: &str) -> anyhow::Result<Option<u64>> {
        let all = self.get("metrics")?;
        let mut lines = all.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.next().map(|value| value.parse().context(all.clone())).transpose()
    }

    /// Waits until a metric has a value that is right.
    fn wait(&self, name: &str, is: impl Fn(u64) -> bool) -> anyhow::Result<()> {
        wait_until(name, LIMIT, || match self.metric(name) {
            Ok(Some(value)) if is(value) => ControlFlow::Break(Ok(())),
            Ok(value) => ControlFlow::Continue(anyhow!("{value:?}")),
            Err(error) => ControlFlow::Break(Err(error)),
        })
    }

    /// Waits for two more looks that succeed: what it does by itself it has done by then.
    fn look_again(&self) -> anyhow::Result<()> {
        const LOOK: &str = "posthouse_topics_last_success_timestamp_seconds";
        self.wait(LOOK, |_| true)?;
        let before = self.metric(LOOK)?.context("no look")?;
        self.wait(LOOK, |now| now > before + 1)
    }

    /// Ends it as a service manager does; its exit code.
    fn end(mut self) -> anyhow::Result<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let status = wait_until("the end of posthouse", LIMIT, || match self.child.try_wait() {
            Ok(Some(status)) => ControlFlow::Break(Ok(status)),
            Ok(None) => ControlFlow::Continue(anyhow!("it still runs")),
            Err(error) => ControlFlow::Break(Err(error.into())),
        })?;
        status.code().with_context(|| format!("{status}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already has nothing to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A topics file with the site's own topic and another one with this retention.
fn write(site: &mut Site<'_>, file: &Path, retention: u32) -> anyhow::Result<()> {
    let name = site.name().to_owned();
    let text = format!(
        "[defaults]\npartitions = 1\nreplication_factor = 1\n[topics.{name}]\n[topics.{name}_old]\n\
         config = {{ \"retention.ms\" = {retention} }}\n"
    );
    std::fs::write(file, text)?;
    site.set("kafka", "topics", file.display().to_string());
    Ok(())
}

fn a_running_posthouse_makes_what_is_missing_and_leaves_what_deletes(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a topic that is missing, and one that is to keep less
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let old = format!("{name}_old");
    broker.create(&old, 1, &[("retention.ms", "7200000")])?;
    write(site, &folder.path().join("topics.toml"), 3_600_000)?;
    // WHEN posthouse runs and may apply
    let running = Running::start(site, "apply")?;
    // THEN the first is made and counted, once
    running.wait("posthouse_topics_changes_total", |changes| changes > 0)?;
    running.look_again()?;
    ensure!(running.metric("posthouse_topics_changes_total")? == Some(1), "{}", running.get("metrics")?);
    ensure!(broker.topic(&name)? == Some((1, vec![])), "{:?}", broker.topic(&name)?);
    // THEN the other waits for somebody, and is counted as a difference
    ensure!(running.metric("posthouse_topics_differences")? == Some(1), "{}", running.get("metrics")?);
    ensure!(running.metric("posthouse_topics_failures_total")? == Some(0), "{}", running.get("metrics")?);
    let kept = broker.topic(&old)?;
    ensure!(kept == Some((1, vec![own("retention.ms", "7200000")])), "{kept:?}");
    // WHEN somebody applies it THEN nothing is left
    site.must(&["topics", "apply"])?;
    running.wait("posthouse_topics_differences", |differences| differences == 0)?;
    // WHEN it is told to end THEN it does so with code 0
    ensure!(running.end()? == 0, "another exit code");
    Ok(())
}

fn a_running_posthouse_that_checks_changes_nothing(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two topics that are missing
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    write(site, &folder.path().join("topics.toml"), 3_600_000)?;
    // WHEN posthouse runs and may only check
    let running = Running::start(site, "check")?;
    running.look_again()?;
    // THEN they are counted as differences and as findings, and not made
    ensure!(running.metric("posthouse_topics_differences")? == Some(2), "{}", running.get("metrics")?);
    let faults = running.metric("posthouse_topics_findings{severity=\"fault\"}")?;
    ensure!(faults.is_some_and(|faults| faults > 0), "{}", running.get("metrics")?);
    ensure!(running.metric("posthouse_topics_changes_total")? == Some(0), "{}", running.get("metrics")?);
    ensure!(broker.topic(&name)?.is_none(), "it was made");
    ensure!(running.end()? == 0, "another exit code");
    Ok(())
}

fn a_running_posthouse_outlives_a_broken_topics_file(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a posthouse that runs and has nothing to do
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let file = folder.path().join("topics.toml");
    std::fs::write(&file, "")?;
    site.set("kafka", "topics", file.display().to_string());
    let mut running = Running::start(site, "apply")?;
    running.look_again()?;
    ensure!(running.metric("posthouse_topics_errors_total")? == Some(0), "{}", running.get("metrics")?);
    // WHEN the topics file is broken THEN each look is counted as failed, and it lives
    std::fs::write(&file, "[topics.")?;
    running.wait("posthouse_topics_errors_total", |errors| errors > 1)?;
    ensure!(running.get("health")? == "alive\n" && running.child.try_wait()?.is_none(), "it does not live");
    // WHEN it is mended THEN the next look does what it says
    write(site, &file, 3_600_000)?;
    running.wait("posthouse_topics_changes_total", |changes| changes == 2)?;
    ensure!(broker.topic(&name)?.is_some(), "it was not made");
    ensure!(running.end()? == 0, "another exit code");
    Ok(())
}

fn a_second_one_on_the_same_address_is_told_so(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a posthouse that runs
    let running = Running::start(site, "off")?;
    // WHEN another one is started with the same config
    let second = site.posthouse(&["run"])?;
    // THEN it ends and names the address, and the first one goes on
    let said = format!("can't answer HTTP at {}: free the address", running.address);
    ensure!(second.code == 1 && second.stderr.contains(&said), "{second}");
    ensure!(running.get("health")? == "alive\n", "the first one is gone");
    // THEN one that is to leave topics alone says nothing about them
    if let Some(errors) = running.metric("posthouse_topics_errors_total")? {
        bail!("it has looked: {errors} errors");
    }
    ensure!(running.end()? == 0, "another exit code");
    Ok(())
}
