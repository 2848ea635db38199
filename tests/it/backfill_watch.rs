//! `posthouse backfill watch`: files that appear, half-written ones, kills and two watches at once.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::{Daemon, free_address};
use posthouse_tests::history::{Files, History};
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::backfill::STORED;
use crate::seed;

tests! {
    Shared files_are_loaded_as_they_appear_and_faulty_ones_are_reported_once,
    Shared two_watches_and_a_kill_load_every_row_once,
}

/// 2026-03-15 00:00:00 UTC in µs.
const UNTIL: i64 = 1_773_532_800_000_000;
/// Limit for files to be found and loaded.
const LIMIT: Duration = Duration::from_secs(90);

/// Writes `files` files with `rows` rows in all, outside of the watched folder.
fn files(site: &Site<'_>, name: &str, files: usize, rows: usize) -> anyhow::Result<(TempDir, Vec<PathBuf>)> {
    let folder = tempfile::tempdir()?;
    let history = History {
        rows,
        files: Files::Equal(files),
        row_group: 3_000,
        days: 20,
        until: UNTIL,
        people: 2_000,
        seed: seed(&format!("{}_{name}", site.name()))?,
    };
    let paths = history.write(folder.path())?;
    Ok((folder, paths))
}

/// Creates the tables, and keeps duplicate rows apart.
fn prepare(site: &Site<'_>) -> anyhow::Result<TempDir> {
    site.apply()?;
    for node in 0..site.stack.nodes().len() {
        site.query_on(node, "SYSTEM STOP MERGES {db}.sharded_events")?;
    }
    Ok(tempfile::tempdir()?)
}

/// Starts a watch of `folder`.
fn watch(site: &Site<'_>, folder: &TempDir) -> anyhow::Result<Daemon> {
    let (folder, address) = (folder.path().to_string_lossy(), free_address()?);
    let source = ["backfill", "watch", &folder, "--mapping", "posthog-export", "--team-id", "7"];
    // Rejected rows below the source are never loaded.
    let quarantine = format!("{folder}/quarantine");
    let paths = ["--quarantine", &quarantine, "--listen", &address];
    let options = [&["--every", "1s", "--at-rest", "2s", "--slice", "1"], &paths[..]].concat();
    Daemon::command(&site.write_config()?, &[&source[..], &options].concat(), address.clone())
}

fn stored(site: &Site<'_>, rows: usize) -> anyhow::Result<()> {
    site.answers(STORED, &format!("{rows}\t{rows}\t0"), LIMIT)
}

fn files_are_loaded_as_they_appear_and_faulty_ones_are_reported_once(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a watch of a folder without files
    let folder = prepare(site)?;
    let place = |name: &str| folder.path().join(name);
    let (elsewhere, sources) = files(site, "a", 4, 8_000)?;
    let watch = watch(site, &folder)?;
    watch.is_ready()?;
    // WHEN files appear, one in a new folder THEN they are loaded
    std::fs::copy(&sources[0], place("0.parquet"))?;
    std::fs::create_dir(place("later"))?;
    std::fs::copy(&sources[1], place("later/1.parquet"))?;
    watch.wait("posthouse_watch_loaded_files_total", |files| files == 2)?;
    stored(site, 4_000)?;
    // WHEN half of a file is at rest THEN none of it is loaded, and the fault is reported once
    let bytes = std::fs::read(&sources[2])?;
    let (half, whole) = (&bytes[..bytes.len() / 2], &bytes);
    std::fs::write(place("2.parquet"), half)?;
    watch.says("is not a complete Parquet file")?;
    watch.wait("posthouse_watch_failing_files", |files| files == 1)?;
    // AND another file appears beside one with an invalid row THEN that one is loaded
    let bad = elsewhere.path().join("bad.parquet");
    site.query(&format!(
        "INSERT INTO FUNCTION file('{}', Parquet) SELECT if(number = 7, 'no', toString(generateUUIDv4())) AS uuid, \
         'e' AS event, toString(number) AS distinct_id, '{{}}' AS properties, now64(6, 'UTC') AS timestamp FROM numbers(50)",
        bad.display()
    ))?;
    std::fs::copy(&bad, place("bad.parquet"))?;
    std::fs::copy(&sources[3], place("later/3.parquet"))?;
    watch.wait("posthouse_watch_loaded_files_total", |files| files == 3)?;
    watch.says("uuid \"no\" in column uuid is not a UUID")?;
    watch.wait("posthouse_watch_failing_files", |files| files == 2)?;
    stored(site, 6_000)?;
    // WHEN the rest is written THEN the file is loaded
    std::fs::write(place("2.parquet"), whole)?;
    watch.wait("posthouse_watch_loaded_files_total", |files| files == 4)?;
    stored(site, 8_000)?;
    // WHEN a file changes after its load THEN it is not loaded again
    std::fs::copy(&sources[1], place("0.parquet"))?;
    watch.says("its bytes have changed")?;
    watch.wait("posthouse_watch_failing_files", |files| files == 2)?;
    stored(site, 8_000)?;
    // THEN the watch is ready all the same, and each fault was counted and logged once
    watch.is_ready()?;
    ensure!(watch.metric("posthouse_watch_failed_files_total")? == Some(3), "{}", watch.get("metrics")?);
    ensure!(watch.metric("posthouse_watch_rows_total")? == Some(8_000), "{}", watch.get("metrics")?);
    let log = watch.log()?;
    ensure!(log.matches(" WARN ").count() == 3, "{log}");
    // WHEN a watch begins over loaded files THEN it finds them in the ledger
    ensure!(watch.end()? == 0);
    let again = self::watch(site, &folder)?;
    again.wait("posthouse_watch_waiting_files", |files| files == 0)?;
    again.says("its bytes have changed")?;
    ensure!(again.metric("posthouse_watch_rows_total")? == Some(0), "{}", again.get("metrics")?);
    ensure!(again.end()? == 0);
    stored(site, 8_000)
}

fn two_watches_and_a_kill_load_every_row_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two watches of the same folder
    let folder = prepare(site)?;
    let (_few, few) = files(site, "few", 6, 12_000)?;
    let (_large, large) = files(site, "large", 2, 120_000)?;
    let watches = [watch(site, &folder)?, watch(site, &folder)?];
    let add = |path: &Path, name: &str| std::fs::copy(path, folder.path().join(name));
    // WHEN files appear for both at once
    for (number, path) in few.iter().enumerate() {
        add(path, &format!("few-{number}.parquet"))?;
    }
    // THEN each row is stored once
    stored(site, 12_000)?;
    // WHEN both are killed in the middle of a load
    for (number, path) in large.iter().enumerate() {
        add(path, &format!("large-{number}.parquet"))?;
    }
    let rows = wait_until("a part of the load", LIMIT, || {
        match site.query("SELECT count() FROM {db}.events").map(|count| count.trim().parse::<usize>()) {
            Ok(Ok(rows)) if rows > 12_000 => ControlFlow::Break(Ok(rows)),
            other => ControlFlow::Continue(anyhow!("{other:?}")),
        }
    })?;
    for watch in &watches {
        kill_process(watch.pid(), Signal::KILL)?;
    }
    ensure!(rows < 132_000, "the load was over before the kill");
    drop(watches);
    // THEN two new ones load the rest, each row once
    let watches = [watch(site, &folder)?, watch(site, &folder)?];
    stored(site, 132_000)?;
    // WHEN they are stopped THEN they end in order, and all jobs that have loaded files are whole
    for watch in watches {
        watch.wait("posthouse_watch_waiting_files", |files| files == 0)?;
        ensure!(watch.end()? == 0);
    }
    let job = crate::schema::json(&site.must(&["backfill", "list", "--json"])?)?;
    let jobs = job.as_array().context("a list")?;
    ensure!(jobs.iter().all(|job| job["stored"] == job["rows"]), "{jobs:#?}");
    for job in jobs {
        site.must(&["backfill", "verify", job["job"].as_str().context("a job")?])?;
    }
    stored(site, 132_000)
}
