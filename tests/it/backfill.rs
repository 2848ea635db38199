//! Backfills from the command line to the stored rows.
//!
//! Covers both routes, resuming, refusals, partial loads, cancelling and verification.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::history::{Files, History};
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::{Progress, Proxy};
use posthouse_tests::torture::{backfill as kills, ingest};
use serde_json::Value;
use tempfile::TempDir;

use crate::schema::json;
use crate::seed;

tests! {
    Shared both_routes_store_every_row_on_its_shard_and_are_proven,
    Shared the_same_command_again_stores_nothing,
    Shared a_changed_file_another_mapping_and_another_team_are_refused,
    Shared a_plan_and_a_dry_run_write_nothing,
    Shared names_columns_that_are_not_loaded,
    Shared shares_are_loaded_apart_and_are_all_of_it,
    Shared two_that_begin_at_once_in_different_cuts_agree,
    Shared a_folder_that_grows_is_loaded_to_its_end,
    Shared a_load_through_others_reaches_a_shard_that_is_not_reached,
    Shared a_cancelled_load_stops_and_goes_on,
    Shared what_was_changed_afterwards_is_not_proven,
    Shared what_merges_take_away_is_no_loss,
    Shared bad_rows_are_put_aside_and_come_in_when_they_are_mended,
    Shared a_checksum_is_that_of_the_server_for_any_bytes,
    Own kills_and_cuts_lose_nothing_and_repeat_nothing,
}

/// 2026-03-15 00:00:00 UTC in µs.
const UNTIL: i64 = 1_773_532_800_000_000;
pub(crate) const ROWS: usize = 20_000;

/// Writes a history of two files over three months.
pub(crate) fn history(name: &str, rows: usize) -> anyhow::Result<(TempDir, Vec<PathBuf>)> {
    let folder = tempfile::tempdir()?;
    let history = History {
        rows,
        files: Files::Equal(2),
        row_group: 3_000,
        days: 60,
        until: UNTIL,
        people: 2_000,
        seed: seed(name)?,
    };
    let files = history.write(folder.path())?;
    Ok((folder, files))
}

fn load(site: &Site<'_>, folder: &TempDir, more: &[&str]) -> anyhow::Result<Outcome> {
    let folder = folder.path().to_string_lossy();
    let arguments = ["backfill", "run", &folder, "--mapping", "posthog-export", "--team-id", "7", "--json"];
    site.posthouse(&[&arguments[..], more].concat())
}

pub(crate) fn loaded(site: &Site<'_>, folder: &TempDir, more: &[&str]) -> anyhow::Result<Value> {
    let outcome = load(site, folder, more)?;
    ensure!(outcome.code == 0, "{outcome}");
    json(&outcome)
}

/// Rows, distinct events, and rows on another shard than the server's own rule chooses.
pub(crate) const STORED: &str = "SELECT count(), uniqExact(uuid), countIf(_shard_num != if(sipHash64(distinct_id) % 4 < 1, 1, 2)) FROM {db}.events";

fn both_routes_store_every_row_on_its_shard_and_are_proven(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two histories
    site.apply()?;
    for (number, route) in [(1, "direct"), (2, "distributed")] {
        let (folder, files) = history(&format!("{}_{route}", site.name()), ROWS)?;
        // WHEN each is loaded by one route
        let done = loaded(site, &folder, &["--route", route])?;
        // THEN all rows are stored once, on the shard that the server itself would choose, and
        // verified
        ensure!(done["stored"] == ROWS && done["before"] == 0 && done["proof"]["found"] == ROWS, "{done:#}");
        let expected = ROWS * number;
        site.answers(STORED, &format!("{expected}\t{expected}\t0"), Duration::from_secs(10))?;
        // THEN they equal the files' rows, column by column
        let files: Vec<String> =
            files.iter().map(|file| format!("SELECT * FROM file('{}')", file.display())).collect();
        let source = files.join(" UNION ALL ");
        let differing = site.query(&format!(
            "SELECT count() FROM (SELECT toUUID(uuid) AS uuid, event, properties, timestamp, toInt64(7) AS team_id, distinct_id, \
             created_at, toUInt32(_inserted_at) AS second, elements_chain FROM ({source}) EXCEPT \
             SELECT uuid, event, properties, timestamp, team_id, distinct_id, created_at, toUInt32(_timestamp), elements_chain \
             FROM {{db}}.events)"
        ))?;
        ensure!(differing == "0", "{differing} rows of the files are not stored as they are");
    }
    Ok(())
}

fn the_same_command_again_stores_nothing(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a loaded history
    site.apply()?;
    let (folder, _) = history(site.name(), ROWS)?;
    let first = loaded(site, &folder, &[])?;
    // WHEN the same command is repeated, also with more memory or by the other route
    for more in [&[][..], &["--memory", "64", "--slice", "5"], &["--route", "distributed"]] {
        let again = loaded(site, &folder, more)?;
        // THEN no row is stored, and the job is the same
        ensure!(again["stored"] == 0 && again["before"] == ROWS, "{more:?}: {again:#}");
        ensure!(again["job"] == first["job"], "{again:#}");
    }
    site.answers(STORED, &format!("{ROWS}\t{ROWS}\t0"), Duration::from_secs(10))?;
    // THEN list and status show the job
    let jobs = json(&site.must(&["backfill", "list", "--json"])?)?;
    let job = &jobs[0];
    ensure!(
        job["stored"] == ROWS && job["rows"] == ROWS && job["files"] == 2 && job["proven_at"] != "",
        "{jobs:#}"
    );
    let name = job["job"].as_str().context("a job")?;
    let status = site.must(&["backfill", "status", name])?;
    ensure!(
        status.stdout.contains("proven") && status.stdout.contains("20,000 stored of 20,000"),
        "{status}"
    );
    Ok(())
}

fn a_changed_file_another_mapping_and_another_team_are_refused(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a loaded history
    site.apply()?;
    let (folder, files) = history(site.name(), ROWS)?;
    loaded(site, &folder, &[])?;
    let path = folder.path().to_string_lossy();
    let refused = |arguments: &[&str], reason: &str| -> anyhow::Result<()> {
        let outcome = site.posthouse(&[&["backfill", "run"][..], arguments].concat())?;
        ensure!(outcome.code == 1 && outcome.stderr.contains(reason), "no {reason:?} in {outcome}");
        site.answers(STORED, &format!("{ROWS}\t{ROWS}\t0"), Duration::from_secs(10))
    };
    // WHEN it is to be loaded for another team THEN the load is refused
    refused(&[&path, "--mapping", "posthog-export", "--team-id", "8"], "another mapping or team")?;
    // WHEN a file has changed THEN the load is refused, and the file named
    let other = History {
        rows: 100,
        files: Files::Equal(1),
        row_group: 50,
        days: 1,
        until: UNTIL,
        people: 9,
        seed: 1,
    };
    let elsewhere = tempfile::tempdir()?;
    std::fs::copy(&other.write(elsewhere.path())?[0], &files[1])?;
    let name = files[1].file_name().context("a name")?.to_string_lossy().into_owned();
    refused(&[&path, "--mapping", "posthog-export", "--team-id", "7"], &name)?;
    refused(&[&path, "--mapping", "posthog-export", "--team-id", "7"], "its bytes have changed")?;
    // WHEN the load is forced THEN the file's rows are added
    let done = loaded(site, &folder, &["--allow-reload"])?;
    ensure!(done["stored"] == 100, "{done:#}");
    Ok(())
}

fn a_plan_and_a_dry_run_write_nothing(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN tables without rows
    site.apply()?;
    let (folder, files) = history(site.name(), ROWS)?;
    let path = folder.path().to_string_lossy();
    // WHEN a load is planned THEN the plan has the files' figures
    let arguments = ["backfill", "plan", &path, "--mapping", "posthog-export", "--team-id", "7"];
    let plan = json(&site.must(&[&arguments[..], &["--json"]].concat())?)?;
    ensure!(
        plan["files"] == 2 && plan["rows"] == ROWS && plan["months"] == 3 && plan["team_id"] == 7,
        "{plan:#}"
    );
    ensure!(plan["skipped"] == serde_json::json!([]), "{plan:#}");
    // WHEN a folder has other files THEN the plan names them
    std::fs::write(folder.path().join("notes.csv"), "a,b")?;
    let link = folder.path().join("z.parquet");
    std::os::unix::fs::symlink(&files[0], &link)?;
    let plan = json(&site.must(&[&arguments[..], &["--json"]].concat())?)?;
    let skipped =
        |reason, path: PathBuf| serde_json::json!({ "reason": reason, "files": 1, "examples": [path] });
    let expected = [skipped("link", link), skipped("other_name", folder.path().join("notes.csv"))];
    ensure!(plan["files"] == 2 && plan["skipped"] == serde_json::json!(expected), "{plan:#}");
    let shown = site.must(&arguments)?.stdout;
    ensure!(shown.contains("left out    1 linked to a file that is read: "), "{shown}");
    ensure!(shown.contains("rows        20,000") && shown.contains("partitions  3 months"), "{shown}");
    // WHEN a dry run is made THEN rows are read, and none is written
    let dry = loaded(site, &folder, &["--dry-run"])?;
    ensure!(dry["read"] == ROWS && dry["rejected"] == 0, "{dry:#}");
    site.answers("SELECT count() FROM {db}.events", "0", Duration::from_secs(10))?;
    let jobs = json(&site.must(&["backfill", "list", "--json"])?)?;
    ensure!(jobs.as_array().is_some_and(Vec::is_empty), "{jobs:#}");
    Ok(())
}

fn names_columns_that_are_not_loaded(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two files with columns that the mapping does not read: a UUID that the config's schema
    // has, a field of a struct, a whole struct, and a column of one file alone
    site.apply()?;
    let own: toml::Table = toml::from_str("columns = [{ name = 'person_id', type = 'UUID' }]")?;
    site.set("events", "columns", own["columns"].clone());
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for (file, more) in [("a.parquet", ""), ("b.parquet", ", 1 AS extra")] {
        site.query(&format!(
            "INSERT INTO FUNCTION file('{}', Parquet) SELECT toString(generateUUIDv4()) AS id, toString(number) AS who, \
             now64(6, 'UTC') AS at, CAST(('e', 'Firefox') AS Tuple(name String, browser String)) AS payload, \
             CAST((1, 2) AS Tuple(x UInt8, y UInt8)) AS spot, toString(generateUUIDv4()) AS person_id{more} FROM numbers(10)",
            place(file)
        ))?;
    }
    let mapping = place("mapping.toml");
    let text = "uuid = 'id'\nevent = 'payload.name'\ntimestamp = 'at'\ndistinct_id = 'who'\nproperties = { constant = '{}' }\n";
    std::fs::write(&mapping, text)?;
    let path = folder.path().to_string_lossy();
    let source = [&*path, "--mapping", &mapping, "--team-id", "7"];
    let expected = serde_json::json!([
        { "column": "person_id", "files": 2, "in_schema": true },
        { "column": "payload.browser", "files": 2, "in_schema": false },
        { "column": "spot", "files": 2, "in_schema": false },
        { "column": "extra", "files": 1, "in_schema": false },
    ]);
    let line = "person_id, payload.browser, spot (2 files), extra (1 of 2 files); person_id: the schema has this column, but \
                the load does not fill it";
    // WHEN the load is planned THEN the plan names them
    let plan = site.must(&[&["backfill", "plan"], &source[..]].concat())?;
    ensure!(plan.stdout.contains(&format!("not loaded  {line}\n")), "{plan}");
    let plan = json(&site.must(&[&["backfill", "plan", "--json"], &source[..]].concat())?)?;
    ensure!(plan["not_loaded"] == expected, "{plan:#}");
    // WHEN it is run, first without writing, THEN the output names them, and one warning does
    for more in [&["--dry-run"][..], &[]] {
        let outcome = site.must(&[&["backfill", "run", "--json"], &source[..], more].concat())?;
        let warnings = outcome.stderr.lines().filter(|line| line.contains("WARN"));
        let warnings: Vec<&str> = warnings.filter(|warning| warning.contains(line)).collect();
        ensure!(warnings.len() == 1, "{outcome}");
        let done = json(&outcome)?;
        ensure!(done["not_loaded"] == expected, "{done:#}");
    }
    Ok(())
}

fn shares_are_loaded_apart_and_are_all_of_it(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a history
    site.apply()?;
    let (folder, _) = history(site.name(), ROWS)?;
    // WHEN two machines each load one half, at the same time
    let (first, second) = thread::scope(|scope| {
        let share = |share| loaded(site, &folder, &["--partition", share, "--slice", "1"]);
        let first = scope.spawn(move || share("1/2"));
        (first.join(), share("2/2"))
    });
    let (first, second) = (first.map_err(|_| anyhow::anyhow!("a thread panicked"))??, second?);
    // THEN each has stored a part, and together they have stored all rows
    let rows = |done: &Value| done["stored"].as_u64().unwrap_or_default();
    ensure!(rows(&first) > 0 && rows(&second) > 0, "{first:#} {second:#}");
    ensure!(rows(&first) + rows(&second) == ROWS as u64, "{first:#} {second:#}");
    site.must(&["backfill", "verify", first["job"].as_str().context("a job")?])?;
    Ok(())
}

fn a_load_through_others_reaches_a_shard_that_is_not_reached(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a config with an unreachable HTTP interface of the second shard
    site.apply()?;
    let nowhere = Proxy::start("127.0.0.1:9".parse()?)?;
    nowhere.cut();
    let shards = site.config_mut().get_mut("shards").and_then(toml::Value::as_array_mut).context("shards")?;
    let replica =
        shards[1].get_mut("replicas").and_then(|replicas| replicas.get_mut(0)).context("a replica")?;
    let replica = replica.as_table_mut().context("a table")?;
    replica.insert("url".to_owned(), format!("http://{}", nowhere.address()).into());
    // WHEN a history is loaded THEN it goes through the first shard's node, and is verified
    let (folder, _) = history(site.name(), ROWS)?;
    let done = loaded(site, &folder, &[])?;
    ensure!(done["stored"] == ROWS && done["proof"]["found"] == ROWS, "{done:#}");
    site.answers(STORED, &format!("{ROWS}\t{ROWS}\t0"), Duration::from_secs(10))?;
    // WHEN the direct route is requested THEN it is refused, and the node named
    let refused = load(site, &folder, &["--route", "direct"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("ch2"), "{refused}");
    Ok(())
}

fn two_that_begin_at_once_in_different_cuts_agree(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a history
    site.apply()?;
    let (folder, _) = history(site.name(), ROWS)?;
    // WHEN two machines begin to load it at the same time, each with another slice size
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let begin = |slice| load(site, &folder, &["--slice", slice, "--no-verify"]);
        let begun = [scope.spawn(move || begin("1")), scope.spawn(move || begin("2"))];
        begun
            .into_iter()
            .map(|run| run.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
            .collect::<anyhow::Result<_>>()
    })?;
    // THEN the second one keeps to the slices of the first, or fails with a hint to retry
    for outcome in &outcomes {
        ensure!(outcome.code == 0 || outcome.stderr.contains("run the same command again"), "{outcome}");
    }
    // THEN every row is stored once
    loaded(site, &folder, &[])?;
    site.answers(STORED, &format!("{ROWS}\t{ROWS}\t0"), Duration::from_secs(10))
}

fn a_folder_that_grows_is_loaded_to_its_end(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a folder whose only file was loaded
    site.apply()?;
    let (folder, files) = history(site.name(), ROWS)?;
    let elsewhere = tempfile::tempdir()?;
    let later = elsewhere.path().join("later.parquet");
    std::fs::rename(&files[1], &later)?;
    loaded(site, &folder, &[])?;
    // WHEN a second file is added and the command repeated
    std::fs::rename(&later, &files[1])?;
    let done = loaded(site, &folder, &[])?;
    // THEN only its rows are stored, and both files are verified
    let (stored, before) = (ROWS / 2, ROWS / 2);
    ensure!(done["stored"] == stored && done["before"] == before, "{done:#}");
    ensure!(done["proof"]["found"] == ROWS && done["proof"]["complete"] == true, "{done:#}");
    // WHEN the newer file is removed THEN the load stores no row, and is verified too
    std::fs::remove_file(&files[1])?;
    let again = loaded(site, &folder, &[])?;
    ensure!(again["stored"] == 0 && again["proof"]["found"] == ROWS / 2, "{again:#}");
    let jobs = json(&site.must(&["backfill", "list", "--json"])?)?;
    let complete = |job: &Value| job["stored"] == job["rows"] && job["proven_at"] != "";
    let all = jobs.as_array().context("a list")?;
    ensure!(all.len() == 2 && all.iter().all(complete), "{jobs:#}");
    Ok(())
}

fn a_cancelled_load_stops_and_goes_on(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a running load, too large to complete at once
    site.apply()?;
    let rows = 400_000;
    let (folder, _) = history(site.name(), rows)?;
    let path = folder.path().to_string_lossy();
    let arguments = [
        "backfill",
        "run",
        &path,
        "--mapping",
        "posthog-export",
        "--team-id",
        "7",
        "--slice",
        "1",
        "--no-verify",
    ];
    let mut child = site.spawn(&arguments)?;
    site.answers("SELECT count() > 0 FROM {db}.events", "1", Duration::from_secs(30))?;
    let jobs = json(&site.must(&["backfill", "list", "--json"])?)?;
    let job = jobs[0]["job"].as_str().context("a job")?.to_owned();
    // WHEN it is cancelled from elsewhere
    site.must(&["backfill", "cancel", &job])?;
    let ended = child.wait()?;
    // THEN it ends before it is complete, and reports this
    ensure!(ended.code() == Some(1), "{ended:?}");
    let stored: u64 = site.query("SELECT count() FROM {db}.events")?.parse()?;
    ensure!(stored > 0 && stored < rows as u64, "{stored} rows are stored");
    // THEN stored rows stay, and the job isn't verified
    let verified = site.posthouse(&["backfill", "verify", &job])?;
    ensure!(verified.code == 3 && verified.stdout.starts_with("not complete"), "{verified}");
    // WHEN the same command is repeated THEN the load resumes
    let done = loaded(site, &folder, &[])?;
    ensure!(done["stored"].as_u64().unwrap_or_default() + stored == rows as u64, "{stored} and {done:#}");
    ensure!(done["proof"]["found"] == rows && done["proof"]["complete"] == true, "{done:#}");
    // THEN a second cancellation is refused
    let late = site.posthouse(&["backfill", "cancel", &job])?;
    ensure!(late.code == 1 && late.stderr.contains("can't be cancelled"), "{late}");
    Ok(())
}

fn what_was_changed_afterwards_is_not_proven(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a verified history
    site.apply()?;
    let (folder, _) = history(site.name(), ROWS)?;
    let job = loaded(site, &folder, &[])?["job"].as_str().context("a job")?.to_owned();
    let verify = || -> anyhow::Result<(i32, Value)> {
        let outcome = site.posthouse(&["backfill", "verify", &job, "--json"])?;
        Ok((outcome.code, json(&outcome)?))
    };
    ensure!(verify()?.0 == 0);
    // WHEN a row is deleted on one shard THEN verification finds it missing there
    site.query("DELETE FROM {db}.sharded_events WHERE uuid = (SELECT min(uuid) FROM {db}.sharded_events) SETTINGS lightweight_deletes_sync = 2")?;
    let (code, proof) = verify()?;
    let first = &proof["differences"][0];
    ensure!(code == 3 && first["shard"] == 1 && first["missing"] == 1, "{proof:#}");
    // WHEN a row is stored twice, on the other shard THEN verification finds it extra and on the
    // wrong shard
    site.query_on(
        1,
        // Without LIMIT, which leaves a part of the node's answer unread. libchdb may abort then.
        "INSERT INTO {db}.sharded_events SELECT * FROM remote('NODE', '{db}', 'sharded_events') \
         WHERE uuid = (SELECT min(uuid) FROM remote('NODE', '{db}', 'sharded_events'))"
            .replace("NODE", &site.stack.nodes()[0].native_address())
            .as_str(),
    )?;
    let (code, proof) = verify()?;
    let second = proof["differences"].as_array().and_then(|all| all.iter().find(|one| one["shard"] == 2));
    let second = second.context("a difference on shard 2")?;
    ensure!(code == 3 && second["extra"] == 1 && second["wrong_shard"] == 1, "{proof:#}");
    Ok(())
}

fn what_merges_take_away_is_no_loss(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a loaded file that holds one event in ten twice, some with ids so long that 200 of them
    // don't fit into a parameter, some on days that toDate maps to others
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("twice.parquet").to_string_lossy().into_owned();
    site.query(&format!(
        "INSERT INTO FUNCTION file('{file}', Parquet) SELECT toString(reinterpretAsUUID(sipHash128(number % 9000))) AS uuid, \
         'e' AS event, '{{}}' AS properties, toDateTime64(multiIf(number % 9000 < 500, '2026-02-03 04:05:06', \
         number % 9000 < 600, '1969-12-31 23:00:00', number % 9000 < 700, '1901-02-03 04:05:06', \
         '2250-01-01 00:00:00'), 6, 'UTC') AS timestamp, 7 AS team_id, \
         concat('it\\'s \\\\ ', toString(number % 9000), repeat('long', number % 9000 < 300 ? 2500 : 0)) AS distinct_id, now64(6, 'UTC') AS created_at FROM numbers(10000)"
    ))?;
    let done =
        json(&site.must(&["backfill", "run", &file, "--mapping", "identity", "--json", "--no-verify"])?)?;
    ensure!(done["stored"] == 10_000, "{done:#}");
    let job = done["job"].as_str().context("a job")?;
    // WHEN merges have removed the second ones THEN they are counted as merged, and all rows are
    // verified
    for node in 0..site.stack.nodes().len() {
        site.query_on(node, "OPTIMIZE TABLE {db}.sharded_events FINAL")?;
    }
    site.answers("SELECT count() FROM {db}.events", "9000", Duration::from_secs(10))?;
    let proof = json(&site.must(&["backfill", "verify", job, "--json"])?)?;
    ensure!(proof["rows"] == 10_000 && proof["found"] == 9_000 && proof["merged"] == 1_000, "{proof:#}");
    // WHEN the last row of an event is deleted too THEN that is a loss
    site.query("DELETE FROM {db}.sharded_events WHERE uuid IN (SELECT uuid FROM {db}.sharded_events LIMIT 1) SETTINGS lightweight_deletes_sync = 2")?;
    let outcome = site.posthouse(&["backfill", "verify", job, "--json"])?;
    let proof = json(&outcome)?;
    ensure!(outcome.code == 3 && proof["differences"][0]["missing"].as_u64() > Some(0), "{proof:#}");
    Ok(())
}

fn bad_rows_are_put_aside_and_come_in_when_they_are_mended(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a file in which every hundredth uuid is invalid and every thousandth distinct id is
    // null
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (file, mended, quarantine) = (place("bad.parquet"), place("mended.parquet"), place("quarantine"));
    site.query(&format!(
        "INSERT INTO FUNCTION file('{file}', Parquet) SELECT if(number % 100 = 7, concat('no-', toString(number)), \
         toString(generateUUIDv4())) AS uuid, 'e' AS event, '{{}}' AS properties, now64(6, 'UTC') AS timestamp, 7 AS team_id, \
         if(number % 1000 = 5, NULL, toString(number)) AS distinct_id, '' AS elements_hash, now64(6, 'UTC') AS created_at, \
         '' AS elements_chain FROM numbers(10000)"
    ))?;
    let load = |file: &str, more: &[&str]| {
        let arguments =
            ["backfill", "run", file, "--mapping", "identity", "--json", "--quarantine", &quarantine];
        site.posthouse(&[&arguments[..], more].concat())
    };
    // WHEN a dry run is made THEN it counts the rows by reason, with an example of each
    let dry = json(&load(&file, &["--dry-run"])?)?;
    let expected = serde_json::json!([
        {
            "reason": "uuid … in column uuid is not a UUID",
            "rows": 100,
            "example": {
                "location": file, "row_group": 0, "row": 7, "reason": "uuid \"no-7\" in column uuid is not a UUID"
            },
        },
        {
            "reason": "distinct_id is null (column distinct_id)",
            "rows": 10,
            "example": {
                "location": file, "row_group": 0, "row": 5, "reason": "distinct_id is null (column distinct_id)"
            },
        },
    ]);
    ensure!(dry["rejected"] == 110 && dry["reasons"] == expected, "{dry:#}");
    // WHEN it is loaded without options THEN the load stops, and names the invalid row and the
    // reason
    let stopped = load(&file, &[])?;
    ensure!(stopped.code == 1 && stopped.stderr.contains("row 5 of row group 0"), "{stopped}");
    ensure!(stopped.stderr.contains("distinct_id") && stopped.stderr.contains(&quarantine), "{stopped}");
    // WHEN rejected rows are allowed THEN the others are stored, and the rejected ones are in
    // quarantine with file, row number and reason
    let done = json(&load(&file, &["--max-rejects", "2%"])?)?;
    ensure!(done["stored"] == 9_890 && done["rejected"] == 110, "{done:#}");
    let aside = format!("{quarantine}/*/*.parquet");
    let seen = site.query(&format!(
        "SELECT count(), countIf(_reason LIKE '%uuid%'), countIf(_reason LIKE '%distinct_id%'), uniqExact(_row), any(_file) FROM \
         file('{aside}')"
    ))?;
    ensure!(seen == format!("110\t100\t10\t110\t{file}"), "{seen}");
    // WHEN they are fixed and loaded with the same mapping THEN every row is stored once
    site.query(&format!(
        "INSERT INTO FUNCTION file('{mended}', Parquet) SELECT * REPLACE (if(uuid LIKE 'no-%', toString(generateUUIDv4()), uuid) AS \
         uuid, ifNull(distinct_id, 'mended') AS distinct_id) FROM file('{aside}')"
    ))?;
    let replayed = json(&load(&mended, &[])?)?;
    ensure!(replayed["stored"] == 110 && replayed["proof"]["found"] == 110, "{replayed:#}");
    site.answers("SELECT count(), uniqExact(uuid) FROM {db}.events", "10000\t10000", Duration::from_secs(10))
}

fn a_checksum_is_that_of_the_server_for_any_bytes(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a file written by the server, with random bytes in its strings and random timestamps
    site.apply()?;
    let seed = seed(site.name())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("any.parquet");
    let any = |salt: u32, most: u32| {
        format!(
            "substringUTF8(repeat(['a', 'ß', '\\0', '€', '😀', '\\n'][sipHash64({seed}, number, {salt}) % 6 + 1], {most}), 1, sipHash64({seed}, number, {salt} + 100) % {most})"
        )
    };
    let moment = |salt: u32| {
        format!(
            "fromUnixTimestamp64Micro(toInt64(sipHash64({seed}, number, {salt}) % 12000000000000000) - 2000000000000000, 'UTC')"
        )
    };
    site.query(&format!(
        "INSERT INTO FUNCTION file('{}', Parquet) SELECT reinterpretAsUUID(sipHash128({seed}, number)) AS uuid, {} AS event, \
         {} AS properties, {} AS timestamp, toInt64(sipHash64({seed}, number, 1)) AS team_id, {} AS distinct_id, {} AS elements_hash, \
         {} AS created_at, toDateTime(sipHash64({seed}, number, 2) % 4294967296, 'UTC') AS _timestamp, {} AS elements_chain \
         FROM numbers(30000) SETTINGS output_format_parquet_string_as_string = 0",
        file.display(),
        any(1, 300),
        any(2, 20_000),
        moment(3),
        any(4, 130),
        any(5, 3),
        moment(6),
        any(7, 200),
    ))?;
    // WHEN it is loaded THEN the server computes the same sums from the stored rows
    let path = file.to_string_lossy();
    // Some seeds make pages that exceed the default's share for decoding.
    let load = ["backfill", "run", &path, "--mapping", "identity", "--memory", "1GiB", "--json"];
    let done = json(&site.must(&load)?)?;
    ensure!(done["stored"] == 30_000 && done["proof"]["found"] == 30_000, "{done:#}");
    Ok(())
}

fn kills_and_cuts_lose_nothing_and_repeat_nothing() -> anyhow::Result<()> {
    // One fault of each kind, on a table that merges no rows and forgets tokens at once.
    let stack = ingest::stack(&Progress::Silent)?;
    let report = kills::run(&stack, 5, seed("backfill")?, &|line| eprintln!("backfill: {line}"))?;
    eprintln!("backfill: {report:?}");
    ensure!(report.kills >= 4 && report.produced > 0 && (report.lost, report.twice) == (0, 0), "{report:?}");
    Ok(())
}
