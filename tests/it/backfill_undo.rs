//! Loads that are taken back: rows, refusals, kills, reloads.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::events::event;
use crate::produce::{LIMIT, consumed, produce};
use crate::schema::json;
use crate::seed;

tests! {
    Shared takes_back_the_rows_of_a_load_and_no_others,
    Shared refuses_to_delete_the_kept_row_of_a_collapsed_event,
    Own finishes_an_undo_that_was_killed,
    Shared excludes_loads_while_an_undo_is_not_finished,
    Shared finds_blocks_that_were_stored_and_not_recorded,
    Shared waits_for_a_load_that_has_recorded_its_files_and_begun_no_unit,
    Shared asks_how_to_treat_files_of_other_jobs,
    Shared upgrades_a_ledger_from_before_undo,
    Shared a_stored_load_stays_known_when_another_record_of_its_file_is_undone,
    Shared a_file_that_was_undone_before_its_load_began_is_loaded_once,
}

const ROWS: usize = 20_000;
/// Option that shortens the wait for loads that may still send blocks.
const SOON: [&str; 2] = ["--recheck-after", "300ms"];
/// Count and checksum of all rows but those of a team.
const OTHERS: &str = "SELECT count(), sum(cityHash64(*)) FROM {db}.events WHERE team_id != 7";

/// Writes a file of events of one team over three months, with `_timestamp` in `second`.
fn write(site: &Site<'_>, path: &Path, team: u32, rows: usize, second: &str) -> anyhow::Result<()> {
    site.query(&format!(
        "INSERT INTO FUNCTION file('{}', Parquet) SELECT toString(generateUUIDv4()) AS uuid, 'e' AS event, '{{}}' AS properties, \
         toDateTime64('2026-01-20 00:00:00', 6, 'UTC') + number % 60 * 86400 AS timestamp, {team} AS team_id, \
         toString(number) AS distinct_id, timestamp AS created_at, toDateTime({second}, 'UTC') AS _timestamp FROM numbers({rows})",
        path.display()
    ))?;
    Ok(())
}

/// Arguments that load a path.
fn loading(path: &Path) -> Vec<String> {
    ["backfill", "run", &path.to_string_lossy(), "--mapping", "identity", "--json"]
        .map(str::to_owned)
        .to_vec()
}

fn load(site: &Site<'_>, path: &Path) -> anyhow::Result<Outcome> {
    site.posthouse(&loading(path).iter().map(String::as_str).collect::<Vec<_>>())
}

fn loaded(site: &Site<'_>, path: &Path) -> anyhow::Result<Value> {
    let outcome = load(site, path)?;
    ensure!(outcome.code == 0, "{outcome}");
    json(&outcome)
}

/// Starts a load of small slices.
fn start(site: &Site<'_>, path: &Path) -> anyhow::Result<Child> {
    let arguments = [loading(path), ["--slice", "1", "--no-verify"].map(str::to_owned).to_vec()].concat();
    site.spawn(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn job(done: &Value) -> anyhow::Result<String> {
    Ok(done["job"].as_str().context("a job")?.to_owned())
}

fn only_job(site: &Site<'_>) -> anyhow::Result<String> {
    job(&json(&site.must(&["backfill", "list", "--json"])?)?[0])
}

fn undo(site: &Site<'_>, job: &str, more: &[&str]) -> anyhow::Result<Outcome> {
    site.posthouse(&[&["backfill", "undo", job, "--json"], more].concat())
}

fn undone(site: &Site<'_>, job: &str, more: &[&str]) -> anyhow::Result<Value> {
    let outcome = undo(site, job, &[&["--execute"], &SOON[..], more].concat())?;
    ensure!(outcome.code == 0, "{outcome}");
    json(&outcome)
}

fn refused(outcome: &Outcome, reason: &str) -> anyhow::Result<()> {
    ensure!(outcome.code == 1 && outcome.stderr.contains(reason), "no {reason:?} in {outcome}");
    Ok(())
}

/// Rows of the team that is taken back, on each node.
fn left(site: &Site<'_>) -> anyhow::Result<u64> {
    let mut left = 0;
    for node in 0..site.stack.nodes().len() {
        let rows = site.query_on(node, "SELECT count() FROM {db}.sharded_events WHERE team_id = 7")?;
        left += rows.parse::<u64>()?;
    }
    Ok(left)
}

fn takes_back_the_rows_of_a_load_and_no_others(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events of Kafka and of two loads in the same partitions, also merged
    site.apply()?;
    let events: Vec<Vec<u8>> = (0..500)
        .map(|number| {
            let mut event = event(number);
            event.insert("team_id".to_owned(), 9.into());
            event.insert("timestamp".to_owned(), "2026-02-01 10:00:00.000000".into());
            event.insert("distinct_id".to_owned(), format!("user-{number}").into());
            serde_json::to_vec(&event)
        })
        .collect::<Result<_, _>>()?;
    produce(site, &events.iter().map(|event| Some(event.as_slice())).collect::<Vec<_>>())?;
    consumed(site)?;
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
    write(site, &first, 7, ROWS, "0")?;
    write(site, &second, 8, ROWS, "0")?;
    let name = job(&loaded(site, &first)?)?;
    let other = job(&loaded(site, &second)?)?;
    site.query("OPTIMIZE TABLE {db}.sharded_events FINAL")?;
    let others = site.query(OTHERS)?;
    ensure!(others.starts_with(&format!("{}\t", ROWS + 500)), "{others}");
    // WHEN an undo is planned THEN no row is deleted, and the plan has the rows of both shards
    let outcome = undo(site, &name, &[])?;
    let plan = json(&outcome)?;
    ensure!(outcome.code == 3 && plan["rows"] == ROWS && plan["at_risk"] == 0, "{outcome}");
    let shards = plan["shards"].as_array().context("shards")?;
    let months = |shard: &Value| shard["partitions"].as_array().map(Vec::len);
    ensure!(shards.len() == 2 && shards.iter().all(|shard| months(shard) == Some(3)), "{plan:#}");
    ensure!(left(site)? == ROWS as u64);
    // WHEN it is executed THEN exactly the rows of the load are gone, on both shards
    let report = undone(site, &name, &[])?;
    ensure!(report["rows"] == ROWS && report["partitions"] == 6 && report["files"] == 1, "{report:#}");
    ensure!(left(site)? == 0 && site.query(OTHERS)? == others, "{others} were {}", site.query(OTHERS)?);
    // THEN list, status and verify show it
    let jobs = json(&site.must(&["backfill", "list", "--json"])?)?;
    let found = jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["job"] == name.as_str()));
    let found = found.context("the job")?;
    ensure!(found["undone_files"] == 1 && found["stored"] == 0 && found["proven_at"] == "", "{jobs:#}");
    let status = site.must(&["backfill", "status", &name])?;
    ensure!(status.stdout.contains("state      undone"), "{status}");
    let verified = json(&site.must(&["backfill", "verify", &name, "--json"])?)?;
    ensure!(verified["undone"] == true && verified["rows_left"] == 0, "{verified:#}");
    site.must(&["backfill", "verify", &other])?;
    // THEN another undo changes nothing
    undone(site, &name, &[])?;
    // WHEN the same file is loaded again THEN all of its rows are stored, and proven
    let done = loaded(site, &first)?;
    ensure!(done["job"] == name.as_str() && done["stored"] == ROWS && done["before"] == 0, "{done:#}");
    ensure!(done["proof"]["found"] == ROWS && left(site)? == ROWS as u64, "{done:#}");
    site.must(&["backfill", "verify", &name])?;
    ensure!(loaded(site, &first)?["stored"] == 0 && site.query(OTHERS)? == others);
    // WHEN that load is undone and done once more THEN it is the same
    undone(site, &name, &[])?;
    ensure!(left(site)? == 0);
    loaded(site, &first)?;
    ensure!(left(site)? == ROWS as u64 && site.query(OTHERS)? == others);
    // WHEN a row of a former load comes back THEN the verification finds it
    // Without LIMIT, which leaves a part of a node's answer unread. libchdb may abort then.
    site.query(
        "INSERT INTO {db}.sharded_events (uuid, event, timestamp, team_id, distinct_id, _offset) \
         SELECT generateUUIDv4(), 'back', toDateTime64('2026-01-20', 6, 'UTC'), 7, 'x', bitOr(bitShiftLeft(min(slice), 20), 0x8000000000000000) \
         FROM {db}.backfill_ledger WHERE (state = 'stored') AND (file IN (SELECT file FROM {db}.backfill_ledger WHERE state = 'undone'))",
    )?;
    let found = site.posthouse(&["backfill", "verify", &name])?;
    ensure!(found.code == 3 && found.stdout.contains("although they are undone"), "{found}");
    // WHEN these are undone THEN the rows of the last load stay
    let report = undone(site, &name, &["--files", "undone"])?;
    ensure!(report["rows"].as_u64() > Some(0) && left(site)? == ROWS as u64, "{report:#}");
    site.must(&["backfill", "verify", &name])?;
    Ok(())
}

fn refuses_to_delete_the_kept_row_of_a_collapsed_event(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN an event of Kafka, one of a load, and a load that has both with a later _timestamp
    site.apply()?;
    let mut sent = event(1);
    sent.insert("timestamp".to_owned(), "2026-01-20 10:00:00.000000".into());
    produce(site, &[Some(&serde_json::to_vec(&sent)?)])?;
    consumed(site)?;
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
    write(site, &first, 8, 10, "0")?;
    let other = job(&loaded(site, &first)?)?;
    site.query(&format!(
        "INSERT INTO FUNCTION file('{}', Parquet) SELECT toString(uuid) AS uuid, event, properties, timestamp, team_id, distinct_id, \
         created_at, now('UTC') + 3600 AS _timestamp FROM {{db}}.events WHERE (team_id = 7) OR (distinct_id IN ('2', '3'))",
        second.display()
    ))?;
    let name = job(&loaded(site, &second)?)?;
    // GIVEN merges that have kept the rows of the last load
    for node in 0..site.stack.nodes().len() {
        site.query_on(node, "OPTIMIZE TABLE {db}.sharded_events FINAL")?;
    }
    let stored = "SELECT count(), sum(cityHash64(*)) FROM {db}.events";
    let before = site.query(stored)?;
    ensure!(before.starts_with("11\t"), "{before}");
    // WHEN the undo is planned or executed THEN it names shard, partition, job and event
    let plan = json(&undo(site, &name, &[])?)?;
    ensure!(plan["at_risk"] == 3, "{plan:#}");
    let outcome = undo(site, &name, &["--execute"])?;
    refused(&outcome, "up to 3 events of others would be lost")?;
    for part in [
        "partition 202601: ",
        " of Kafka",
        &format!(" of job {other}"),
        "018f5a7e-0000-4000-8000-000000000001",
    ] {
        refused(&outcome, part)?;
    }
    // THEN nothing was changed, and fewer accepted events than that are refused too
    refused(&undo(site, &name, &["--execute", "--accept-collapsed", "2"])?, "--accept-collapsed 3")?;
    ensure!(site.query(stored)? == before);
    ensure!(loaded(site, &second)?["stored"] == 0);
    // WHEN the loss is accepted THEN the rows are deleted
    let report = undone(site, &name, &["--accept-collapsed", "3"])?;
    ensure!(report["rows"] == 3, "{report:#}");
    site.answers("SELECT count() FROM {db}.events", "8", Duration::from_secs(10))?;
    // WHEN the event comes from Kafka again, a row of the load comes back, and merges keep that one
    produce(site, &[Some(&serde_json::to_vec(&sent)?)])?;
    site.answers("SELECT count() FROM {db}.events", "9", LIMIT)?;
    site.query(
        "INSERT INTO {db}.writable_events (uuid, event, properties, timestamp, team_id, distinct_id, created_at, _timestamp, _offset) \
         SELECT uuid, event, properties, timestamp, team_id, distinct_id, created_at, now('UTC') + 7200, \
         bitOr(bitShiftLeft((SELECT min(slice) FROM {db}.backfill_ledger WHERE (state = 'stored') AND (file IN (SELECT file FROM {db}.backfill_ledger WHERE state = 'undone'))), 20), 0x8000000000000000) \
         FROM {db}.events WHERE team_id = 7 SETTINGS distributed_foreground_insert = 1",
    )?;
    for node in 0..site.stack.nodes().len() {
        site.query_on(node, "OPTIMIZE TABLE {db}.sharded_events FINAL")?;
    }
    site.answers("SELECT count() FROM {db}.events", "9", LIMIT)?;
    // THEN an undo of it is refused as the first one was
    refused(
        &undo(site, &name, &["--files", "undone", "--execute"])?,
        "up to 1 events of others would be lost",
    )?;
    let report = undone(site, &name, &["--files", "undone", "--accept-collapsed", "1"])?;
    ensure!(report["rows"] == 1, "{report:#}");
    site.answers("SELECT count() FROM {db}.events", "8", LIMIT)
}

fn finishes_an_undo_that_was_killed() -> anyhow::Result<()> {
    // GIVEN two loads. The nodes are this test's own: libchdb may abort a node if the one that
    // asked it resets the connection, as after a kill.
    let stack = Stack::start(StackSpec::default(), &Progress::Silent)?;
    let site = &Site::new(&stack, "undo_killed")?;
    site.apply()?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
    write(site, &first, 7, ROWS, "0")?;
    write(site, &second, 8, ROWS, "0")?;
    loaded(site, &second)?;
    let others = site.query(OTHERS)?;
    let name = job(&loaded(site, &first)?)?;
    for _ in 0..2 {
        // WHEN an undo is killed at random times
        for _ in 0..5 {
            let mut child = site.spawn(&[&["backfill", "undo", &name, "--execute"], &SOON[..]].concat())?;
            thread::sleep(Duration::from_millis(random.random_range(50..2_500)));
            child.kill()?;
            child.wait()?;
        }
        // THEN another one finishes it, and no other row is touched
        wait_until("the end of an undo", LIMIT, || match undone(site, &name, &[]) {
            Ok(_) => ControlFlow::Break(Ok(())),
            Err(error) => ControlFlow::Continue(error),
        })?;
        ensure!(left(site)? == 0 && site.query(OTHERS)? == others);
        site.must(&["backfill", "verify", &name])?;
        // THEN the file can be loaded again
        let done = loaded(site, &first)?;
        ensure!(done["stored"] == ROWS && left(site)? == ROWS as u64, "{done:#}");
        site.must(&["backfill", "verify", &name])?;
    }
    Ok(())
}

fn excludes_loads_while_an_undo_is_not_finished(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a running load, paused so that it does not end meanwhile
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.parquet");
    write(site, &file, 7, 400_000, "0")?;
    let mut child = start(site, &file)?;
    site.answers("SELECT count() > 0 FROM {db}.events", "1", Duration::from_secs(30))?;
    let loader = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process")?;
    kill_process(loader, Signal::STOP)?;
    let name = only_job(site)?;
    // WHEN it is undone THEN the undo is refused, and the refusal has the next step
    let outcome = undo(site, &name, &["--execute"])?;
    refused(&outcome, &format!("posthouse backfill cancel {name} stops it"))?;
    // WHEN the load is cancelled, and an undo is killed after it has marked the files
    site.must(&["backfill", "cancel", &name])?;
    kill_process(loader, Signal::CONT)?;
    child.wait()?;
    let mut undoing = site.spawn(&["backfill", "undo", &name, "--execute", "--recheck-after", "60s"])?;
    site.answers(
        "SELECT uniqExact(shard) FROM {db}.backfill_ledger WHERE (state = 'undoing') AND (unit = '')",
        "2",
        Duration::from_secs(30),
    )?;
    undoing.kill()?;
    undoing.wait()?;
    // THEN loads of the file are refused, and the job is shown as being undone
    let next = format!("posthouse backfill undo {name} --execute");
    refused(&load(site, &file)?, &next)?;
    let outcome = site.posthouse(&["backfill", "plan", &file.to_string_lossy(), "--mapping", "identity"])?;
    refused(&outcome, &next)?;
    let status = site.must(&["backfill", "status", &name])?;
    ensure!(status.stdout.contains("being undone") && status.stdout.contains(&next), "{status}");
    refused(&site.posthouse(&["backfill", "verify", &name])?, &next)?;
    // WHEN the undo is finished THEN no row is left, and the file can be loaded
    undone(site, &name, &[])?;
    ensure!(left(site)? == 0);
    let done = loaded(site, &file)?;
    ensure!(done["stored"] == 400_000 && done["proof"]["found"] == 400_000, "{done:#}");
    Ok(())
}

fn finds_blocks_that_were_stored_and_not_recorded(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a load whose blocks are not in the ledger, as if it was killed before it recorded them,
    // and another load with its blocks
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
    write(site, &first, 7, ROWS, "0")?;
    write(site, &second, 8, ROWS, "0")?;
    let name = job(&loaded(site, &first)?)?;
    loaded(site, &second)?;
    let others = site.query(OTHERS)?;
    for node in 0..site.stack.nodes().len() {
        site.query_on(
            node,
            &format!(
                "ALTER TABLE {{db}}.sharded_backfill_ledger DELETE WHERE (state IN ('stored', 'done')) AND (job = '{name}') \
                 SETTINGS mutations_sync = 2"
            ),
        )?;
    }
    // WHEN it is undone THEN its rows are found
    let plan = json(&undo(site, &name, &[])?)?;
    ensure!(plan["rows"] == ROWS && plan["unrecorded_slices"] == 1, "{plan:#}");
    let report = undone(site, &name, &[])?;
    ensure!(report["rows"] == ROWS, "{report:#}");
    ensure!(left(site)? == 0 && site.query(OTHERS)? == others);
    let verified = json(&site.must(&["backfill", "verify", &name, "--json"])?)?;
    ensure!(verified["rows_left"] == 0, "{verified:#}");
    Ok(())
}

fn waits_for_a_load_that_has_recorded_its_files_and_begun_no_unit(site: &mut Site<'_>) -> anyhow::Result<()> {
    const WAIT: &str = "in which a load may still send blocks";
    // GIVEN a complete load, and one that was killed after it had recorded its file
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
    write(site, &first, 7, 1_000, "0")?;
    write(site, &second, 8, 1_000, "0")?;
    let (complete, killed) = (job(&loaded(site, &first)?)?, job(&loaded(site, &second)?)?);
    for node in 0..site.stack.nodes().len() {
        for (table, rows) in [
            ("sharded_backfill_ledger", format!("job = '{killed}'")),
            ("sharded_events", "team_id = 8".to_owned()),
        ] {
            let delete =
                format!("ALTER TABLE {{db}}.{table} DELETE WHERE {rows} SETTINGS mutations_sync = 2");
            site.query_on(node, &delete)?;
        }
    }
    // WHEN the last step of the complete load is older than the time for which a load may send
    // blocks without asking the ledger
    let is_old = "SELECT max(at) < now64(3) - toIntervalSecond(2) FROM {db}.backfill_ledger";
    site.answers(is_old, "1", Duration::from_secs(30))?;
    // THEN its undo does not wait
    let recheck = ["--execute", "--recheck-after", "2s"];
    let outcome = undo(site, &complete, &recheck)?;
    ensure!(outcome.code == 0 && !outcome.stderr.contains(WAIT), "{outcome}");
    ensure!(left(site)? == 0);
    // THEN that of the other one does, because its loader may be about to begin a unit
    let outcome = undo(site, &killed, &recheck)?;
    ensure!(outcome.code == 0 && outcome.stderr.contains(WAIT), "{outcome}");
    ensure!(json(&outcome)?["rows"] == 0, "{outcome}");
    let done = loaded(site, &second)?;
    ensure!(done["stored"] == 1_000, "{done:#}");
    Ok(())
}

fn asks_how_to_treat_files_of_other_jobs(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a folder that was loaded with one file, and later with two
    site.apply()?;
    let folder = TempDir::new()?;
    write(site, &folder.path().join("a.parquet"), 8, ROWS, "0")?;
    let first = job(&loaded(site, folder.path())?)?;
    let others = site.query(OTHERS)?;
    write(site, &folder.path().join("b.parquet"), 7, ROWS, "0")?;
    let second = job(&loaded(site, folder.path())?)?;
    // WHEN the second job is undone THEN the undo asks for the files of the first
    let outcome = undo(site, &second, &["--execute"])?;
    refused(&outcome, &format!("1 of 2 files of job {second} are also files of job {first}"))?;
    // WHEN only its own files are undone THEN the first job keeps all rows
    let report = undone(site, &second, &["--files", "own"])?;
    ensure!(report["rows"] == ROWS && report["kept_files"] == 1, "{report:#}");
    ensure!(left(site)? == 0 && site.query(OTHERS)? == others);
    site.must(&["backfill", "verify", &first])?;
    // THEN the second is not complete, and the same command loads the file again
    let verified = site.posthouse(&["backfill", "verify", &second])?;
    ensure!(verified.code == 3 && verified.stdout.starts_with("not complete"), "{verified}");
    let done = loaded(site, folder.path())?;
    ensure!(done["stored"] == ROWS && done["before"] == ROWS, "{done:#}");
    // WHEN all of its files are undone THEN both jobs have none
    let report = undone(site, &second, &["--files", "all"])?;
    ensure!(report["rows"] == 2 * ROWS, "{report:#}");
    site.answers("SELECT count() FROM {db}.events", "0", Duration::from_secs(10))?;
    for job in [&first, &second] {
        let verified = json(&site.must(&["backfill", "verify", job, "--json"])?)?;
        ensure!(verified["undone"] == true, "{verified:#}");
    }
    Ok(())
}

fn upgrades_a_ledger_from_before_undo(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a ledger with the states of before, and a load in it
    site.apply()?;
    let new = ", 'undoing' = 6, 'undone' = 7";
    for node in 0..site.stack.nodes().len() {
        for table in ["sharded_backfill_ledger", "backfill_ledger"] {
            let definition =
                site.query_on(node, &format!("SHOW CREATE TABLE {{db}}.{table} FORMAT TSVRaw"))?;
            ensure!(definition.contains(new), "{definition}");
            site.query_on(node, &format!("DROP TABLE {{db}}.{table} SYNC"))?;
            site.query_on(node, &definition.replace(new, ""))?;
        }
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.parquet");
    write(site, &file, 7, ROWS, "0")?;
    let name = job(&loaded(site, &file)?)?;
    // WHEN the schema is applied THEN the states are added, without a rewrite of the records
    let plan = site.posthouse(&["schema", "plan"])?;
    ensure!(plan.code == 3 && plan.stdout.contains("'undone' = 7"), "{plan}");
    site.must(&["schema", "apply"])?;
    let mutations = "SELECT count() FROM system.mutations WHERE (database = '{db}') AND (table = 'sharded_backfill_ledger')";
    ensure!(site.query(mutations)? == "0");
    ensure!(site.must(&["schema", "plan"])?.code == 0);
    site.must(&["backfill", "verify", &name])?;
    // THEN the load can be undone
    undone(site, &name, &[])?;
    ensure!(left(site)? == 0);
    Ok(())
}

fn a_stored_load_stays_known_when_another_record_of_its_file_is_undone(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a loaded file, and a run that was killed while it recorded the file together with
    // another
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.parquet");
    write(site, &path, 7, 1_000, "0")?;
    loaded(site, &path)?;
    site.query(
        "INSERT INTO {db}.backfill_files SELECT * REPLACE ('killed' AS job, 'part' AS file, 2 AS bundle_files) \
         FROM {db}.backfill_files SETTINGS distributed_foreground_insert = 1",
    )?;
    // WHEN the killed run is undone THEN the same load stores nothing again
    undone(site, "killed", &[])?;
    let again = loaded(site, &path)?;
    ensure!(again["stored"] == 0 && again["before"] == 1_000, "{again:#}");
    ensure!(left(site)? == 1_000, "{} rows", left(site)?);
    Ok(())
}

fn a_file_that_was_undone_before_its_load_began_is_loaded_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a load of two files that ended in the first, because of a row that is no event
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let bad = folder.path().join("a.parquet");
    write(site, &bad, 7, ROWS, "if(number = 5, 1, 0)")?;
    site.query(&format!(
        "INSERT INTO FUNCTION file('{}', Parquet) SELECT * REPLACE (if(_timestamp > 0, 'bad', uuid) AS uuid) \
         FROM file('{}', Parquet)",
        folder.path().join("b.parquet").display(),
        bad.display()
    ))?;
    std::fs::rename(folder.path().join("b.parquet"), &bad)?;
    write(site, &folder.path().join("b.parquet"), 7, ROWS, "0")?;
    let quarantine = site.folder().join("quarantine").display().to_string();
    let loading = |rejects: &str| {
        let mut arguments = loading(folder.path());
        let more = ["--slice", "1", "--max-rejects", rejects, "--quarantine", &quarantine];
        arguments.extend(more.map(str::to_owned));
        site.posthouse(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    refused(&loading("0")?, "rejected")?;
    // WHEN it is taken back and done again THEN a repetition stores nothing
    undone(site, &only_job(site)?, &[])?;
    let done = json(&loading("1")?)?;
    ensure!(done["stored"] == 2 * ROWS - 1, "{done:#}");
    let again = json(&loading("1")?)?;
    ensure!(again["stored"] == 0 && again["before"] == 2 * ROWS - 1, "{again:#}");
    ensure!(left(site)? == 2 * ROWS as u64 - 1, "{} rows", left(site)?);
    Ok(())
}
