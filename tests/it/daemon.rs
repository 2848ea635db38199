//! `posthouse run`: what it does by itself, what it leaves to people, and how it ends.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::site::Site;

use crate::topics::{Broker, own};

tests! {
    Shared a_running_posthouse_makes_what_is_missing_and_leaves_what_deletes,
    Shared a_running_posthouse_that_checks_changes_nothing,
    Shared a_running_posthouse_outlives_a_broken_topics_file,
    Shared a_second_one_on_the_same_address_is_told_so,
}

const LOOK: &str = "posthouse_topics_last_success_timestamp_seconds";

/// Waits for two more looks that succeed: what it does by itself it has done by then.
fn look_again(running: &Daemon) -> anyhow::Result<()> {
    running.wait(LOOK, |_| true)?;
    let before = running.metric(LOOK)?.context("no look")?;
    running.wait(LOOK, |now| now > before + 1)
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
    let running = Daemon::start(site, "apply")?;
    // THEN the first is made and counted, once
    running.wait("posthouse_topics_changes_total", |changes| changes > 0)?;
    look_again(&running)?;
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
    let running = Daemon::start(site, "check")?;
    look_again(&running)?;
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
    let mut running = Daemon::start(site, "apply")?;
    look_again(&running)?;
    ensure!(running.metric("posthouse_topics_errors_total")? == Some(0), "{}", running.get("metrics")?);
    // WHEN the topics file is broken THEN each look is counted as failed, and it lives
    std::fs::write(&file, "[topics.")?;
    running.wait("posthouse_topics_errors_total", |errors| errors > 1)?;
    ensure!(running.get("live")? == "alive\n" && running.lives()?, "it does not live");
    // WHEN it is mended THEN the next look does what it says
    write(site, &file, 3_600_000)?;
    running.wait("posthouse_topics_changes_total", |changes| changes == 2)?;
    ensure!(broker.topic(&name)?.is_some(), "it was not made");
    ensure!(running.end()? == 0, "another exit code");
    Ok(())
}

fn a_second_one_on_the_same_address_is_told_so(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a posthouse that runs
    let running = Daemon::start(site, "off")?;
    // WHEN another one is started with the same config
    let second = site.posthouse(&["run"])?;
    // THEN it ends and names the address, and the first one goes on
    let said = format!("can't answer HTTP at {}: free the address", running.address);
    ensure!(second.code == 1 && second.stderr.contains(&said), "{second}");
    ensure!(running.get("live")? == "alive\n", "the first one is gone");
    // THEN one that is to leave topics alone says nothing about them
    if let Some(errors) = running.metric("posthouse_topics_errors_total")? {
        bail!("it has looked: {errors} errors");
    }
    ensure!(running.end()? == 0, "another exit code");
    Ok(())
}
