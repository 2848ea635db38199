//! Many small files, which are loaded as one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::history::{Files, History};
use posthouse_tests::site::{Outcome, Site};
use serde_json::Value;
use tempfile::TempDir;

use crate::backfill::STORED;
use crate::schema::json;
use crate::seed;

tests! {
    Shared small_files_are_loaded_as_one_and_once,
    Shared a_bundle_that_was_begun_is_finished_with_all_of_its_files,
    Shared a_bundle_that_another_load_has_overtaken_holds_no_file,
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
