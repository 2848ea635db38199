//! `posthouse backfill watch`: files that appear, half-written ones, kills and two watches at once.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::{Daemon, free_address};
use posthouse_tests::history::{Files, History};
use posthouse_tests::site::{Site, spawn, whole};
use posthouse_tests::stack::wait_until;
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::backfill::STORED;
use crate::seed;

tests! {
    Shared files_are_loaded_as_they_appear_and_faulty_ones_are_reported_once,
    Shared two_watches_and_a_kill_load_every_row_once,
    Shared two_watches_load_the_files_of_a_manifest_as_one,
    Shared an_undo_beside_two_watches_names_stopped_merges_and_its_files_are_loaded_again,
    Shared files_below_a_marker_are_loaded_and_a_later_one_waits,
    Shared small_files_are_gathered_and_loaded_as_one_despite_a_kill,
    Shared two_watches_that_gather_small_files_load_every_row_once,
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
    watch_with(site, folder, &[])
}

/// Starts a watch of `folder` with more options.
fn watch_with(site: &Site<'_>, folder: &TempDir, more: &[&str]) -> anyhow::Result<Daemon> {
    let (folder, address) = (folder.path().to_string_lossy(), free_address()?);
    let source = ["backfill", "watch", &folder, "--mapping", "posthog-export", "--team-id", "7"];
    // Rejected rows below the source are never loaded.
    let quarantine = format!("{folder}/quarantine");
    let paths = ["--quarantine", &quarantine, "--listen", &address];
    let options = [&["--every", "1s", "--at-rest", "2s", "--slice", "1"], &paths[..], more].concat();
    Daemon::command(&site.write_config()?, &[&source[..], &options].concat(), address.clone())
}

fn stored(site: &Site<'_>, rows: usize) -> anyhow::Result<()> {
    site.answers(STORED, &format!("{rows}\t{rows}\t0"), LIMIT)
}

/// Copies files into a folder below the watched one.
fn copy(paths: &[PathBuf], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, path) in paths.iter().enumerate() {
        std::fs::copy(path, folder.join(format!("{number}.parquet")))?;
    }
    Ok(())
}

/// The number of units that loads have begun.
const UNITS: &str = "SELECT uniqExact(unit) FROM {db}.backfill_ledger WHERE state = 'begun' AND unit != ''";

fn has_units(site: &Site<'_>, units: usize) -> anyhow::Result<()> {
    let begun = site.query(UNITS)?;
    ensure!(begun == units.to_string(), "{begun} units instead of {units}");
    Ok(())
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
    watch.says("in column uuid is not a UUID")?;
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

fn two_watches_load_the_files_of_a_manifest_as_one(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two watches that wait for manifests
    let folder = prepare(site)?;
    let (_elsewhere, sources) = files(site, "a", 6, 1_200)?;
    let options = ["--manifest", "*_manifest.json"];
    let watches = [watch_with(site, &folder, &options)?, watch_with(site, &folder, &options)?];
    // WHEN files appear without a manifest THEN their folder is counted, and no row is stored
    let export = folder.path().join("events/day=1");
    copy(&sources[..5], &export)?;
    for watch in &watches {
        watch.wait("posthouse_watch_unmarked_folders", |folders| folders == 1)?;
        watch.wait("posthouse_watch_unmarked_since_timestamp_seconds", |since| since > 1_700_000_000)?;
        watch.wait("posthouse_watch_waiting_files", |files| files == 5)?;
    }
    let status = watches[0].get("health")?;
    ensure!(status.contains("1 folder without a marker") && status.contains("events/day=1"), "{status}");
    stored(site, 0)?;
    // WHEN a manifest lists one file more THEN that is reported by name, and no row is stored
    write_manifest(&export, 6)?;
    for watch in &watches {
        watch.says("lists files that the sources don't have: events/day=1/5.parquet")?;
    }
    stored(site, 0)?;
    // WHEN that file and the manifest are written THEN each row is stored once, all in one unit
    copy(&sources, &export)?;
    write_manifest(&export, 6)?;
    stored(site, 1_200)?;
    for watch in &watches {
        watch.wait("posthouse_watch_waiting_files", |files| files == 0)?;
        watch.wait("posthouse_watch_unmarked_folders", |folders| folders == 0)?;
    }
    has_units(site, 1)?;
    for watch in watches {
        ensure!(watch.end()? == 0);
    }
    Ok(())
}

/// Adds a manifest of the folder `events/day=1` for so many files.
fn write_manifest(export: &Path, files: usize) -> anyhow::Result<()> {
    let keys: Vec<String> = (0..files).map(|number| format!("\"events/day=1/{number}.parquet\"")).collect();
    let text = format!("{{\"files\": [{}]}}", keys.join(", "));
    Ok(std::fs::write(export.join("1-2_manifest.json"), text)?)
}

fn an_undo_beside_two_watches_names_stopped_merges_and_its_files_are_loaded_again(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN two watches that have loaded the files of a manifest, and stopped merges
    let folder = prepare(site)?;
    let (_elsewhere, sources) = files(site, "a", 6, 1_200)?;
    let options = ["--manifest", "*_manifest.json"];
    let watches = [watch_with(site, &folder, &options)?, watch_with(site, &folder, &options)?];
    let export = folder.path().join("events/day=1");
    copy(&sources, &export)?;
    write_manifest(&export, sources.len())?;
    stored(site, 1_200)?;
    for watch in &watches {
        watch.wait("posthouse_watch_waiting_files", |files| files == 0)?;
    }
    has_units(site, 1)?;
    // WHEN the job is undone THEN the undo names its mutation and the statement that starts merges
    let jobs = crate::schema::json(&site.must(&["backfill", "list", "--json"])?)?;
    let job = jobs[0]["job"].as_str().context("a job")?;
    let mut log = tempfile::tempfile()?;
    // Each watch has a job of its own for the same files.
    let undo = ["backfill", "undo", job, "--execute", "--files", "all", "--recheck-after", "300ms"];
    let mut undo = spawn(&site.write_config()?, &undo, log.try_clone()?)?;
    let reason = format!("SYSTEM START MERGES {}.sharded_events", site.name());
    wait_until("the reason of the wait", LIMIT, || match whole(&mut log) {
        Ok(text) if text.contains(&reason) && text.contains("left to mutation_") => {
            ControlFlow::Break(Ok(()))
        }
        text => ControlFlow::Continue(anyhow!("{text:?}")),
    })?;
    // THEN the watches wait for its end
    has_units(site, 1)?;
    stored(site, 1_200)?;
    // WHEN merges are started THEN the undo ends
    for node in 0..site.stack.nodes().len() {
        site.query_on(node, "SYSTEM START MERGES {db}.sharded_events")?;
    }
    let ended = wait_until("the end of the undo", LIMIT, || match undo.try_wait() {
        Ok(Some(status)) => ControlFlow::Break(Ok(status)),
        ended => ControlFlow::Continue(anyhow!("{ended:?}")),
    })?;
    ensure!(ended.success(), "{}", whole(&mut log)?);
    // THEN the watches load the files a second time, without a restart and each row once
    site.answers(UNITS, "2", LIMIT)?;
    stored(site, 1_200)?;
    for watch in watches {
        watch.says("an undo has finished")?;
        watch.wait("posthouse_watch_waiting_files", |files| files == 0)?;
        ensure!(watch.end()? == 0);
    }
    site.must(&["backfill", "verify", job])?;
    let blocks = "SELECT sum(rows) FROM (SELECT DISTINCT unit, slice, month, rows FROM {db}.backfill_ledger WHERE state = 'stored')";
    ensure!(site.query(blocks)? == "2400", "blocks of {} rows", site.query(blocks)?);
    has_units(site, 2)
}

fn files_below_a_marker_are_loaded_and_a_later_one_waits(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a folder with a marker, and in it a file with an invalid row
    let folder = prepare(site)?;
    let (_elsewhere, sources) = files(site, "a", 4, 800)?;
    let (export, marker) = (folder.path().join("e"), folder.path().join("e/_SUCCESS"));
    copy(&sources[..2], &export.join("day=1"))?;
    copy(&sources[2..3], &export.join("day=2"))?;
    let bad = export.join("day=2/bad.parquet");
    site.query(&format!(
        "INSERT INTO FUNCTION file('{}', Parquet) SELECT if(number = 7, 'no', toString(generateUUIDv4())) AS uuid, \
         'e' AS event, toString(number) AS distinct_id, '{{}}' AS properties, now64(6, 'UTC') AS timestamp FROM numbers(50)",
        bad.display()
    ))?;
    std::fs::write(&marker, "")?;
    // GIVEN a link that leads nowhere
    std::os::unix::fs::symlink(folder.path().join("nowhere"), export.join("link.parquet"))?;
    // WHEN a watch begins THEN the other files are loaded, and both faults are reported
    let watch = watch_with(site, &folder, &["--manifest", "_SUCCESS"])?;
    watch.wait("posthouse_watch_failing_files", |files| files == 2)?;
    watch.says("in column uuid is not a UUID")?;
    watch.says("link.parquet")?;
    stored(site, 600)?;
    // WHEN a file comes after the marker THEN it waits for a new one
    let late = export.join("day=3");
    copy(&sources[3..], &late)?;
    watch.wait("posthouse_watch_unmarked_folders", |folders| folders == 1)?;
    ensure!(watch.get("health")?.contains("e/day=3"), "{}", watch.get("health")?);
    stored(site, 600)?;
    std::fs::write(&marker, "again")?;
    stored(site, 800)?;
    watch.wait("posthouse_watch_unmarked_folders", |folders| folders == 0)?;
    ensure!(watch.end()? == 0);
    Ok(())
}

fn small_files_are_gathered_and_loaded_as_one_despite_a_kill(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a watch that gathers files
    let folder = prepare(site)?;
    let (_elsewhere, sources) = files(site, "a", 20, 4_000)?;
    let options = ["--gather", "1s"];
    let watch = watch_with(site, &folder, &options)?;
    // WHEN files appear, and it is killed once their load has begun
    copy(&sources, folder.path())?;
    site.answers(
        "SELECT count() > 0 FROM {db}.backfill_ledger WHERE state = 'begun' AND unit != ''",
        "1",
        LIMIT,
    )?;
    kill_process(watch.pid(), Signal::KILL)?;
    drop(watch);
    // THEN another one finishes it, each row is stored once, and all of them in one unit
    let watch = watch_with(site, &folder, &options)?;
    watch.wait("posthouse_watch_waiting_files", |files| files == 0)?;
    stored(site, 4_000)?;
    has_units(site, 1)?;
    ensure!(watch.end()? == 0);
    Ok(())
}

fn two_watches_that_gather_small_files_load_every_row_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two watches of the same folder that gather files
    let folder = prepare(site)?;
    let (_elsewhere, sources) = files(site, "a", 60, 6_000)?;
    let options = ["--gather", "1s"];
    let watches = [watch_with(site, &folder, &options)?, watch_with(site, &folder, &options)?];
    // WHEN files appear one by one, so that the watches gather different ones
    for (number, source) in sources.iter().enumerate() {
        std::fs::copy(source, folder.path().join(format!("{number:02}.parquet")))?;
        std::thread::sleep(Duration::from_millis(150));
    }
    // THEN each row is stored once
    stored(site, 6_000)?;
    for watch in watches {
        watch.wait("posthouse_watch_waiting_files", |files| files == 0)?;
        ensure!(watch.end()? == 0);
    }
    stored(site, 6_000)
}
