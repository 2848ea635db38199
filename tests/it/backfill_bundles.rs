//! Many small files, which are loaded as one.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::history::{Files, History};
use posthouse_tests::site::{Outcome, Site, binary, whole};
use posthouse_tests::stack::{Readers, S3Server, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::backfill::STORED;
use crate::schema::json;
use crate::seed;

tests! {
    Shared small_files_are_loaded_as_one_and_once,
    Shared a_bundle_that_was_begun_is_finished_with_all_of_its_files,
    Shared a_bundle_that_another_load_has_overtaken_holds_no_file,
    Shared a_chain_of_overtaken_bundles_loads_every_row_once,
    Shared runs_that_begin_at_once_with_other_bundles_load_every_row_once,
    Shared files_are_bundled_by_the_values_of_their_paths_and_found_again,
    Shared some_files_of_a_bundle_are_proven_after_merges,
    Shared rejected_rows_of_small_files_name_their_file,
    Shared every_broken_file_is_reported_at_once,
}

/// 2026-03-15 00:00:00 UTC in µs.
const UNTIL: i64 = 1_773_532_800_000_000;
const DAY: i64 = 86_400_000_000;
const ROWS: usize = 5_000;
const LIMIT: Duration = Duration::from_secs(10);

/// Writes files of an hour each, over ten days until `until`. Returns their number.
fn hourly(name: &str, folder: &TempDir, until: i64) -> anyhow::Result<usize> {
    let history = History {
        rows: ROWS,
        files: Files::Spans(60),
        row_group: 100,
        days: 10,
        until,
        people: 500,
        seed: seed(name)?,
    };
    Ok(history.write(folder.path())?.len())
}

fn run(site: &Site<'_>, source: &Path) -> anyhow::Result<Outcome> {
    run_all(site, &[source])
}

fn run_all(site: &Site<'_>, sources: &[&Path]) -> anyhow::Result<Outcome> {
    let sources: Vec<_> = sources.iter().map(|source| source.to_string_lossy()).collect();
    let mut arguments = vec!["backfill", "run", "--mapping", "posthog-export", "--team-id", "7", "--json"];
    arguments.extend(sources.iter().map(|source| &**source));
    site.posthouse(&arguments)
}

fn loaded(site: &Site<'_>, source: &Path) -> anyhow::Result<Value> {
    all_loaded(site, &[source])
}

fn all_loaded(site: &Site<'_>, sources: &[&Path]) -> anyhow::Result<Value> {
    let outcome = run_all(site, sources)?;
    ensure!(outcome.code == 0, "{outcome}");
    json(&outcome)
}

fn has_rows(site: &Site<'_>, rows: usize) -> anyhow::Result<()> {
    site.answers(STORED, &format!("{rows}\t{rows}\t0"), LIMIT)
}

fn small_files_are_loaded_as_one_and_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN some hundred files of an hour each
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let files = hourly(site.name(), &folder, UNTIL)?;
    ensure!(files > 200, "{files} files");
    // WHEN they are loaded THEN they make as few parts and records as one file, and are proven
    let first = loaded(site, folder.path())?;
    ensure!(first["stored"] == ROWS && first["proof"]["found"] == ROWS, "{first:#}");
    ensure!(first["blocks"].as_u64().is_some_and(|blocks| blocks <= 4), "{first:#}");
    ensure!(site.query("SELECT uniqExact(unit) FROM {db}.backfill_ledger WHERE unit != ''")? == "1");
    has_rows(site, ROWS)?;
    // WHEN the same command is repeated THEN no row is stored, and the job is the same
    let again = loaded(site, folder.path())?;
    ensure!(again["stored"] == 0 && again["before"] == ROWS && again["job"] == first["job"], "{again:#}");
    // WHEN some of them are named THEN no row is stored, and all that were loaded with them are
    // proven
    let some = loaded(site, &folder.path().join("2026/03/10"))?;
    ensure!(some["stored"] == 0 && some["proof"]["found"] == ROWS, "{some:#}");
    // WHEN files have come THEN only these are loaded
    hourly(&format!("{}_later", site.name()), &folder, UNTIL + 11 * DAY)?;
    let grown = loaded(site, folder.path())?;
    ensure!(grown["stored"] == ROWS && grown["proof"]["found"] == 2 * ROWS, "{grown:#}");
    has_rows(site, 2 * ROWS)?;
    // THEN each job is proven from its record alone, and its files are counted
    ensure!(proven_jobs(site)?[0]["files"] == files, "other files");
    // WHEN one of the files changes THEN it is refused, and named
    let changed = folder.path().join("2026/03/10/07/00.parquet");
    std::fs::copy(folder.path().join("2026/03/10/08/00.parquet"), &changed)?;
    let refused = run(site, folder.path())?;
    ensure!(refused.code == 1 && refused.stderr.contains("its bytes have changed since job"), "{refused}");
    ensure!(refused.stderr.contains("2026/03/10/07/00.parquet"), "{refused}");
    has_rows(site, 2 * ROWS)
}

/// Verifies all jobs, and returns them.
fn proven_jobs(site: &Site<'_>) -> anyhow::Result<Value> {
    let jobs = json(&site.must(&["backfill", "list", "--json"])?)?;
    for job in jobs.as_array().context("jobs")? {
        let name = job["job"].as_str().context("a job")?;
        site.must(&["backfill", "verify", name])?;
        ensure!(job["stored"] == job["rows"] && job["proven_at"] != "", "{job:#}");
    }
    Ok(jobs)
}

fn everywhere(site: &Site<'_>, sql: &str) -> anyhow::Result<()> {
    for node in 0..site.stack.nodes().len() {
        site.query_on(node, &format!("{sql} SETTINGS mutations_sync = 2"))?;
    }
    Ok(())
}

fn a_bundle_that_was_begun_is_finished_with_all_of_its_files(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a load of small files that was killed before the shards were done
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let files = hourly(site.name(), &folder, UNTIL)?;
    loaded(site, folder.path())?;
    everywhere(site, "ALTER TABLE {db}.sharded_backfill_ledger DELETE WHERE state IN ('done', 'proven')")?;
    // WHEN only some of the files are named THEN the load is refused
    let refused = run(site, &folder.path().join("2026/03/10"))?;
    let others = format!("started to load it together with {} files", files - 1);
    ensure!(refused.code == 1 && refused.stderr.contains(&others), "{refused}");
    // WHEN all are named THEN it is finished
    let done = loaded(site, folder.path())?;
    ensure!(done["stored"] == 0 && done["before"] == ROWS, "{done:#}");
    has_rows(site, ROWS)?;
    // GIVEN a load that was killed while it recorded its files
    for table in ["sharded_events", "sharded_backfill_ledger"] {
        everywhere(site, &format!("ALTER TABLE {{db}}.{table} DELETE WHERE 1"))?;
    }
    everywhere(
        site,
        "ALTER TABLE {db}.sharded_backfill_files DELETE WHERE location LIKE '%2026/03/10/%' AND sipHash64(location) % 2",
    )?;
    // WHEN a load begins with more files, which are bundled otherwise THEN each row is stored once
    let earlier = tempfile::tempdir()?;
    hourly(&format!("{}_earlier", site.name()), &earlier, UNTIL - 11 * DAY)?;
    let grown = all_loaded(site, &[earlier.path(), folder.path()])?;
    ensure!(grown["proof"]["found"] == 2 * ROWS, "{grown:#}");
    has_rows(site, 2 * ROWS)?;
    // WHEN the first load is repeated THEN it stores nothing, and each job is proven
    ensure!(loaded(site, folder.path())?["stored"] == 0, "rows were stored again");
    has_rows(site, 2 * ROWS)?;
    proven_jobs(site).map(drop)
}

fn a_bundle_that_another_load_has_overtaken_holds_no_file(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN loaded files, and a file apart
    site.apply()?;
    let (folder, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    hourly(site.name(), &folder, UNTIL)?;
    let [first, single] =
        ["08", "09"].map(|hour| folder.path().join(format!("2026/03/10/{hour}/00.parquet")));
    let apart = other.path().join("apart.parquet");
    std::fs::rename(&single, &apart)?;
    loaded(site, folder.path())?;
    let source = apart.to_string_lossy();
    let arguments = ["backfill", "run", &source, "--mapping", "posthog-export", "--team-id", "7", "--json"];
    let rows = json(&site.must(&[&arguments[..], &["--slice", "2"]].concat())?)?["stored"].clone();
    // GIVEN a run that has recorded it together with one of the loaded files, and found itself late
    let of_apart = format!("uuid IN (SELECT toUUID(uuid) FROM file('{source}'))");
    everywhere(site, &format!("ALTER TABLE {{db}}.sharded_events DELETE WHERE {of_apart}"))?;
    let locations = format!("'{}', '{source}'", first.display());
    site.query(&format!(
        "INSERT INTO {{db}}.backfill_files SELECT * REPLACE ('late' AS file, 2 AS bundle_files, now64(3) AS at) \
         FROM {{db}}.backfill_files WHERE location IN ({locations}) SETTINGS distributed_foreground_insert = 1"
    ))?;
    let own = format!("location = '{source}' AND file != 'late'");
    let id = site.query(&format!("SELECT any(file) FROM {{db}}.backfill_files WHERE {own}"))?;
    everywhere(site, &format!("ALTER TABLE {{db}}.sharded_backfill_files DELETE WHERE {own}"))?;
    everywhere(site, &format!("ALTER TABLE {{db}}.sharded_backfill_ledger DELETE WHERE file = '{id}'"))?;
    // WHEN it is loaded, with the others and alone THEN its rows are stored once
    let done = all_loaded(site, &[&apart, folder.path()])?;
    ensure!(done["stored"] == rows && done["proof"]["found"] == ROWS, "{done:#}");
    ensure!(loaded(site, &apart)?["stored"] == 0, "rows were stored again");
    has_rows(site, ROWS)
}

/// Starts a load of two keys in the background, with its stderr.
fn start(site: &Site<'_>, server: &S3Server, keys: [&str; 2]) -> anyhow::Result<(Child, File)> {
    let keys = keys.map(|key| format!("s3://exports/{key}"));
    let log = tempfile::tempfile()?;
    let mut command = Command::new(binary("posthouse")?);
    command.arg("--config").arg(site.write_config()?).args(["backfill", "run", &keys[0], &keys[1]]);
    command.args(["--mapping", "posthog-export", "--team-id", "7"]);
    command.envs(server.environment(server.address())).stdin(Stdio::null()).stdout(Stdio::null());
    Ok((command.stderr(log.try_clone()?).spawn()?, log))
}

/// Waits for the end of a load. Returns whether it has loaded its files, and its stderr.
fn end((mut load, mut log): (Child, File)) -> anyhow::Result<(bool, String)> {
    let ended = wait_until("the end of a load", Duration::from_secs(120), || match load.try_wait() {
        Ok(Some(status)) => ControlFlow::Break(Ok(status)),
        ended => ControlFlow::Continue(anyhow!("{ended:?}")),
    });
    if ended.is_err() {
        load.kill()?;
        load.wait()?;
    }
    Ok((ended?.success(), whole(&mut log)?))
}

fn is_held(server: &S3Server, key: &str, reads: u64) -> anyhow::Result<()> {
    wait_until(&format!("{reads} reads of {key}"), Duration::from_secs(60), || match server.held_reads(key) {
        held if held >= reads => ControlFlow::Break(Ok(())),
        held => ControlFlow::Continue(anyhow!("{held}")),
    })
}

fn a_chain_of_overtaken_bundles_loads_every_row_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN four small files in a store, and two loads that share one of them. Both have looked at
    // the empty ledger, and wait for footers.
    site.apply()?;
    let server = S3Server::start(Readers::Signed)?;
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|key| format!("{key}.parquet"));
    store_files(site, &server, &[a.clone(), b.clone(), c.clone(), d.clone()])?;
    server.hold(&c);
    server.hold(&d);
    let second = start(site, &server, [&b, &c])?;
    is_held(&server, &c, 1)?;
    let third = start(site, &server, [&c, &d])?;
    is_held(&server, &d, 1)?;
    // WHEN a load of the first two files overtakes the second load
    let (is_loaded, log) = end(start(site, &server, [&a, &b])?)?;
    ensure!(is_loaded, "{log}");
    let first = site.query("SELECT count() FROM {db}.events")?;
    // THEN the second one stores no row, and names the reason
    server.release(&c);
    let (is_loaded, log) = end(second)?;
    ensure!(!is_loaded && log.contains("has just started it with other weights, slices or files"), "{log}");
    ensure!(site.query("SELECT count() FROM {db}.events")? == first, "the overtaken load has stored rows");
    // THEN its record does not hold up the third load, with which it shares a file
    server.release(&d);
    let (is_loaded, log) = end(third)?;
    ensure!(is_loaded, "{log}");
    has_rows(site, ROWS)?;
    ensure!(site.query("SELECT uniqExact(file) FROM {db}.backfill_files")? == "3", "no overtaken bundle");
    // WHEN any of them is repeated THEN it stores no row
    for keys in [[&b, &c], [&c, &d], [&a, &d]] {
        let (is_loaded, log) = end(start(site, &server, keys.map(String::as_str))?)?;
        ensure!(is_loaded, "{keys:?}: {log}");
    }
    has_rows(site, ROWS)
}

/// Writes files of equal size to a store, with these keys.
fn store_files(site: &Site<'_>, server: &S3Server, keys: &[String]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let history = History {
        rows: ROWS,
        files: Files::Equal(keys.len()),
        row_group: 1_000,
        days: 10,
        until: UNTIL,
        people: 500,
        seed: seed(site.name())?,
    };
    for (path, key) in history.write(folder.path())?.iter().zip(keys) {
        server.put("exports", key, &std::fs::read(path)?)?;
    }
    Ok(())
}

/// Lets each node wait for three seconds before it stores a row of the table, until
/// [`store_at_once`]. Inserts that run by then wait to their end.
fn store_late(site: &Site<'_>, table: &str) -> anyhow::Result<()> {
    everywhere(site, &format!("ALTER TABLE {{db}}.{table} ADD CONSTRAINT late CHECK sleepEachRow(3) = 0"))
}

fn store_at_once(site: &Site<'_>, table: &str) -> anyhow::Result<()> {
    everywhere(site, &format!("ALTER TABLE {{db}}.{table} DROP CONSTRAINT late"))
}

fn runs_that_begin_at_once_with_other_bundles_load_every_row_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN three small files in a store, and a load of the last two that has looked at the empty
    // ledger
    site.apply()?;
    let server = S3Server::start(Readers::Signed)?;
    let [a, b, c] = ["a", "b", "c"].map(|key| format!("{key}.parquet"));
    store_files(site, &server, &[a.clone(), b.clone(), c.clone()])?;
    server.hold(&c);
    let second = start(site, &server, [&b, &c])?;
    is_held(&server, &c, 1)?;
    // GIVEN a load of the first two, whose record is on its way to the ledger
    store_late(site, "sharded_backfill_files")?;
    let first = start(site, &server, [&a, &b])?;
    let recorded = "SELECT count() FROM {db}.backfill_files";
    let last_is_sent = || -> anyhow::Result<bool> {
        let mut inserts = 0;
        for node in 0..site.stack.nodes().len() {
            let running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND query LIKE '%{db}.backfill_files%'";
            inserts += site.query_on(node, running)?.parse::<u64>()?;
        }
        Ok(site.query(recorded)? == "1" && inserts > 0)
    };
    wait_until("the record of the last file", Duration::from_secs(60), || match last_is_sent() {
        Ok(true) => ControlFlow::Break(Ok(())),
        Ok(false) => ControlFlow::Continue(anyhow!("{:?} recorded", site.query(recorded))),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    store_at_once(site, "sharded_backfill_files")?;
    // WHEN the second load goes on, and does not see the first one
    store_late(site, "sharded_backfill_ledger")?;
    server.release(&c);
    site.answers(recorded, "4", Duration::from_secs(60))?;
    store_at_once(site, "sharded_backfill_ledger")?;
    // THEN no row is stored twice, and a load that stores none says why
    let ended = [end(first)?, end(second)?];
    ensure!(ended.iter().any(|(is_loaded, _)| !is_loaded), "both loads have gone on: {ended:?}");
    for (_, log) in ended.iter().filter(|(is_loaded, _)| !is_loaded) {
        ensure!(log.contains("has just started it with other weights, slices or files"), "{log}");
    }
    let twice = "SELECT count() - uniqExact(uuid) FROM {db}.events";
    ensure!(site.query(twice)? == "0", "rows were stored twice");
    // WHEN both are repeated THEN each row is stored once
    for keys in [[&a, &b], [&b, &c], [&a, &c]] {
        let (is_loaded, log) = end(start(site, &server, keys.map(String::as_str))?)?;
        ensure!(is_loaded, "{keys:?}: {log}");
    }
    has_rows(site, ROWS)
}

fn files_are_bundled_by_the_values_of_their_paths_and_found_again(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN small files of two teams, which only their paths name
    site.apply()?;
    let (folder, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let write = |team: u32, number: u32| -> anyhow::Result<()> {
        let path = folder.path().join(format!("team_id={team}/{number}.parquet"));
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        site.query(&format!(
            "INSERT INTO FUNCTION file('{}', Parquet) SELECT toString(generateUUIDv4()) AS id, 'd' || toString(number) AS user, \
             toDateTime64('2026-01-20 00:00:00', 6, 'UTC') + number AS at FROM numbers(100)",
            path.display()
        ))?;
        Ok(())
    };
    for (team, number) in [(7, 1), (7, 2), (8, 1), (8, 2)] {
        write(team, number)?;
    }
    let mapping = other.path().join("mapping.toml");
    std::fs::write(
        &mapping,
        "uuid = \"id\"\nevent = { constant = \"e\" }\ntimestamp = \"at\"\ndistinct_id = \"user\"\n",
    )?;
    let load = || -> anyhow::Result<Value> {
        let (source, mapping) = (folder.path().to_string_lossy(), mapping.to_string_lossy());
        json(&site.must(&["backfill", "run", &source, "--mapping", &mapping, "--json"])?)
    };
    // WHEN they are loaded THEN each row has its team, and files of one team are one unit
    let first = load()?;
    ensure!(first["stored"] == 400 && first["proof"]["found"] == 400, "{first:#}");
    let teams = "SELECT arraySort(groupArray((team_id, rows))) FROM (SELECT team_id, count() AS rows FROM {db}.events GROUP BY team_id)";
    ensure!(site.query(teams)? == "[(7,200),(8,200)]", "{}", site.query(teams)?);
    let units = "SELECT uniqExact(unit) FROM {db}.backfill_ledger WHERE unit != ''";
    ensure!(site.query(units)? == "2", "{} units", site.query(units)?);
    // WHEN the load is repeated THEN the bundles are recalled, and no row is stored
    let again = load()?;
    ensure!(again["stored"] == 0 && again["before"] == 400, "{again:#}");
    // WHEN a file of one team comes THEN only its rows are stored
    write(8, 3)?;
    let grown = load()?;
    ensure!(grown["stored"] == 100 && grown["before"] == 400, "{grown:#}");
    // WHEN a loaded file moves to the folder of another team THEN it is another file, and its
    // bundle is recalled without it
    std::fs::rename(folder.path().join("team_id=7/2.parquet"), folder.path().join("team_id=8/4.parquet"))?;
    let moved = load()?;
    ensure!(moved["stored"] == 100 && moved["before"] == 400, "{moved:#}");
    ensure!(site.query(teams)? == "[(7,200),(8,400)]", "{}", site.query(teams)?);
    Ok(())
}

fn some_files_of_a_bundle_are_proven_after_merges(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN small files, one of which is there twice, and merges that have removed the second rows
    site.apply()?;
    let folder = tempfile::tempdir()?;
    hourly(site.name(), &folder, UNTIL)?;
    let day = folder.path().join("2026/03/10");
    std::fs::copy(day.join("08/00.parquet"), day.join("08/twice.parquet"))?;
    let first = loaded(site, folder.path())?;
    everywhere(site, "OPTIMIZE TABLE {db}.sharded_events FINAL")?;
    has_rows(site, ROWS)?;
    // WHEN some of the files are named again THEN the merged rows are found in all of them
    let some = loaded(site, &day.join("11"))?;
    ensure!(some["stored"] == 0 && some["proof"]["found"] == ROWS, "{some:#}");
    let twice = first["stored"].as_u64().context("rows")? - ROWS as u64;
    ensure!(twice > 0 && some["proof"]["merged"] == twice, "{some:#}");
    // THEN a dry run reads nothing of them
    let source = day.join("11").to_string_lossy().into_owned();
    let arguments = ["backfill", "run", &source, "--mapping", "posthog-export", "--team-id", "7"];
    let dry = site.must(&[&arguments[..], &["--dry-run"]].concat())?;
    ensure!(dry.stdout.contains("0 rows read"), "{dry}");
    Ok(())
}

fn rejected_rows_of_small_files_name_their_file(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN small files, two of which have a row without a uuid
    site.apply()?;
    let folder = tempfile::tempdir()?;
    hourly(site.name(), &folder, UNTIL)?;
    for name in ["a", "b"] {
        site.query(&format!(
            "INSERT INTO FUNCTION file('{}', Parquet) SELECT * REPLACE('no uuid' AS uuid) FROM file('{}') LIMIT 1",
            folder.path().join(format!("{name}.parquet")).display(),
            folder.path().join("2026/03/10/08/00.parquet").display(),
        ))?;
    }
    // WHEN they are loaded THEN each row that was put aside names its file
    let (source, aside) = (folder.path().to_string_lossy(), tempfile::tempdir()?);
    let arguments = ["backfill", "run", &source, "--mapping", "posthog-export", "--team-id", "7"];
    let quarantine = aside.path().to_string_lossy();
    site.must(&[&arguments[..], &["--max-rejects", "2", "--quarantine", &quarantine]].concat())?;
    let names = format!(
        "SELECT arraySort(groupArray(extract(_file, '[ab].parquet$'))) FROM file('{quarantine}/*/*.parquet')"
    );
    ensure!(site.query(&names)? == "['a.parquet','b.parquet']", "{}", site.query(&names)?);
    has_rows(site, ROWS)
}

fn every_broken_file_is_reported_at_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN good files, four that end too early, and two of other columns
    site.apply()?;
    let folder = tempfile::tempdir()?;
    hourly(site.name(), &folder, UNTIL)?;
    let good = folder.path().join("2026/03/10/08/00.parquet");
    for name in ["a", "b", "c", "d"] {
        std::fs::write(folder.path().join(format!("{name}.parquet")), &std::fs::read(&good)?[..200])?;
    }
    for name in ["e", "f"] {
        site.query(&format!(
            "INSERT INTO FUNCTION file('{}', Parquet) SELECT * EXCEPT timestamp FROM file('{}')",
            folder.path().join(format!("{name}.parquet")).display(),
            good.display(),
        ))?;
    }
    // WHEN a load is planned or begun THEN all of them are reported by kind, and nothing is written
    for verb in ["plan", "run"] {
        let source = folder.path().to_string_lossy();
        let arguments = ["backfill", verb, &source, "--mapping", "posthog-export", "--team-id", "7"];
        let refused = site.posthouse(&arguments)?;
        let says = |text: &str| refused.stderr.contains(text);
        ensure!(refused.code == 1 && says("6 files can't be loaded; nothing was written"), "{refused}");
        ensure!(says("4 files: ") && says("does not end with PAR1") && says("and 1 more"), "{refused}");
        ensure!(says("2 files: ") && says("timestamp") && says("e.parquet, "), "{refused}");
    }
    ensure!(site.query("SELECT count() FROM {db}.backfill_files")? == "0", "a file was recorded");
    has_rows(site, 0)
}
