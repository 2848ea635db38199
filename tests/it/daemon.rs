//! `posthouse run`: automatic changes of topics, changes left to operators, exit.

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

/// Waits for two more successful checks, so that all automatic changes are made.
fn look_again(running: &Daemon) -> anyhow::Result<()> {
    running.wait(LOOK, |_| true)?;
    let before = running.metric(LOOK)?.context("no look")?;
    running.wait(LOOK, |now| now > before + 1)
}

/// Writes a topics file with the site's own topic and another one with this retention.
fn write(site: &mut Site<'_>, file: &Path, retention: u32) -> anyhow::Result<()> {
    let name = site.name().to_owned();
    let text = format!(
        "[defaults]\npartitions = 1\nreplication_factor = 1\n[topics.{name}]\n[topics.{name}_old]\n\
         config = {{ \"retention.ms\" = {retention} }}\n"
    );
    std::fs::write(file, text)?;
    site.set("kafka", "topics_file", file.display().to_string());
    Ok(())
}

fn a_running_posthouse_makes_what_is_missing_and_leaves_what_deletes(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a topic that is missing, and one whose retention the file reduces
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let old = format!("{name}_old");
    broker.create(&old, 1, &[("retention.ms", "7200000")])?;
    write(site, &folder.path().join("topics.toml"), 3_600_000)?;
    // WHEN posthouse runs and may apply
    let running = Daemon::start(site, "apply")?;
    // THEN the first is created and counted, once
    running.wait("posthouse_topics_changes_total", |changes| changes > 0)?;
    look_again(&running)?;
    ensure!(running.metric("posthouse_topics_changes_total")? == Some(1), "{}", running.get("metrics")?);
    ensure!(broker.topic(&name)? == Some((1, vec![])), "{:?}", broker.topic(&name)?);
    // THEN the other waits for an operator, and is counted as a difference
    ensure!(running.metric("posthouse_topics_differences")? == Some(1), "{}", running.get("metrics")?);
    ensure!(running.metric("posthouse_topics_failures_total")? == Some(0), "{}", running.get("metrics")?);
    let kept = broker.topic(&old)?;
    ensure!(kept == Some((1, vec![own("retention.ms", "7200000")])), "{kept:?}");
    // WHEN an operator applies it THEN no difference is left
    site.must(&["topics", "apply"])?;
    running.wait("posthouse_topics_differences", |differences| differences == 0)?;
    // WHEN posthouse is terminated THEN it exits with code 0
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
    // THEN they are counted as differences and as findings, and not created
    ensure!(running.metric("posthouse_topics_differences")? == Some(2), "{}", running.get("metrics")?);
    let faults = running.metric("posthouse_topics_findings{severity=\"fault\"}")?;
    ensure!(faults.is_some_and(|faults| faults > 0), "{}", running.get("metrics")?);
    ensure!(running.metric("posthouse_topics_changes_total")? == Some(0), "{}", running.get("metrics")?);
    ensure!(broker.topic(&name)?.is_none(), "it was made");
    ensure!(running.end()? == 0, "another exit code");
    Ok(())
}

fn a_running_posthouse_outlives_a_broken_topics_file(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a running posthouse with an empty plan
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let file = folder.path().join("topics.toml");
    std::fs::write(&file, "")?;
    site.set("kafka", "topics_file", file.display().to_string());
    let mut running = Daemon::start(site, "apply")?;
    look_again(&running)?;
    ensure!(running.metric("posthouse_topics_errors_total")? == Some(0), "{}", running.get("metrics")?);
    // WHEN the topics file is broken THEN each check is counted as failed, and posthouse stays
    // alive
    std::fs::write(&file, "[topics.")?;
    running.wait("posthouse_topics_errors_total", |errors| errors > 1)?;
    ensure!(running.get("live")? == "alive\n" && running.lives()?, "it does not live");
    // WHEN it is fixed THEN the next check applies it
    write(site, &file, 3_600_000)?;
    running.wait("posthouse_topics_changes_total", |changes| changes == 2)?;
    ensure!(broker.topic(&name)?.is_some(), "it was not made");
    ensure!(running.end()? == 0, "another exit code");
    Ok(())
}

fn a_second_one_on_the_same_address_is_told_so(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a running posthouse
    let running = Daemon::start(site, "off")?;
    // WHEN another one is started with the same config
    let second = site.posthouse(&["run"])?;
    // THEN it exits with an error that names the address, and the first one continues
    let said = format!("can't serve HTTP at {}: free the address", running.address);
    ensure!(second.code == 1 && second.stderr.contains(&said), "{second}");
    ensure!(running.get("live")? == "alive\n", "the first one is gone");
    // THEN a posthouse with topics = "off" exports no errors of topics
    if let Some(errors) = running.metric("posthouse_topics_errors_total")? {
        bail!("it has looked: {errors} errors");
    }
    ensure!(running.end()? == 0, "another exit code");
    Ok(())
}
