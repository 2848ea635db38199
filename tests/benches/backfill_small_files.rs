//! Backfill benchmarks of many small files, as the product exports them by the hour or by five
//! minutes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthouse_tests::history::{Files, History};
use posthouse_tests::site::{Site, binary};
use posthouse_tests::stack::{Progress, Readers, S3Server, Stack, StackSpec};
use serde_json::{Value, json};

use crate::backfill::{empty, parts, peak_rss_mib};
use crate::report::{Report, median};

/// Figures with a peer, and figures of larger sets without one.
pub(crate) const HOURLY: &str = "backfill_small_files_hourly";
pub(crate) const FIVE_MINUTES: &str = "backfill_small_files_year";
pub(crate) const STORE: &str = "backfill_small_files_s3";

const RUNS: usize = 3;
/// The latest timestamp: 2026-11-10 12:00:00 UTC in µs.
const UNTIL: i64 = 1_794_312_000_000_000;
const OURS: &str = "posthouse backfill run, proof included";

fn history(rows: usize, minutes: u32, days: u32) -> History {
    History {
        rows,
        files: Files::Spans(minutes),
        row_group: 100_000,
        days,
        until: UNTIL,
        people: 20_000,
        seed: 1,
    }
}

/// One load of a set of files.
struct Run {
    seconds: f64,
    /// As the plan predicted.
    predicted: f64,
    parts: u64,
    peak_mib: u64,
}

/// Loads 1,440 files of an hour each, against the server's own load of the same files.
pub(crate) fn hourly() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default(), &Progress::on_stderr())?;
    let site = Site::new(&stack, "small_files")?;
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let rows = 432_000;
    let files = history(rows, 60, 60).write(folder.path())?.len();
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..RUNS {
        ours.push(load(&site, &folder.path().to_string_lossy(), &[], rows)?);
        peer.push(serve(&site, folder.path(), rows)?);
        eprintln!(
            "{HOURLY}: round {}/{RUNS}: {:.2} s, {:.2} s",
            round + 1,
            ours[round].seconds,
            peer[round].0
        );
    }
    let peer_s = median(peer.iter().map(|(seconds, _)| *seconds).collect());
    let report = Report {
        what: format!(
            "{files} files of an hour: {OURS}, against INSERT INTO writable_events SELECT … FROM file(…)"
        ),
        peer_s,
        limit: "one thread that opens and decodes files; the peer reads them with all of its threads"
            .to_owned(),
        ..report(HOURLY, files, rows, &ours)
    };
    let peer_parts = peer.iter().map(|(_, parts)| *parts as f64).collect();
    Ok(vec![Report {
        ratio: peer_s / report.ours_s,
        details: with(report.details.clone(), "peer_parts", json!(median(peer_parts))),
        ..report
    }])
}

/// Loads a year of files of five minutes each.
pub(crate) fn year() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default(), &Progress::on_stderr())?;
    let site = Site::new(&stack, "small_files_year")?;
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let rows = 3_000_000;
    let files = history(rows, 5, 365).write(folder.path())?.len();
    let run = load(&site, &folder.path().to_string_lossy(), &[], rows)?;
    let begin = Instant::now();
    let again = site.must(&arguments("run", &folder.path().to_string_lossy()))?;
    let again_s = begin.elapsed().as_secs_f64();
    let again: Value = serde_json::from_str(&again.stdout)?;
    ensure!(again["stored"] == 0, "{again}");
    let report = report(FIVE_MINUTES, files, rows, &[run]);
    Ok(vec![Report {
        what: format!("{files} files of five minutes: {OURS}; there is no peer"),
        details: with(report.details.clone(), "same_command_again_s", json!(again_s)),
        ..report
    }])
}

/// Loads 10,000 files from a local S3 server.
pub(crate) fn store() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default(), &Progress::on_stderr())?;
    let site = Site::new(&stack, "small_files_s3")?;
    site.apply()?;
    let server = S3Server::start(Readers::Signed)?;
    let rows = 300_000;
    let files = history(rows, 60, 416).write(&server.root().join("exports"))?.len();
    let before = server.requests();
    let run = load(&site, "s3://exports/", &server.environment(server.address()), rows)?;
    let requests = server.requests() - before;
    let report = report(STORE, files, rows, &[run]);
    Ok(vec![Report {
        what: format!("{files} files of a local S3 server: {OURS}; there is no peer"),
        details: with(report.details.clone(), "requests", json!(requests)),
        ..report
    }])
}

fn report(name: &str, files: usize, rows: usize, runs: &[Run]) -> Report {
    let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
    let seconds = of(|run| run.seconds);
    Report {
        name: name.to_owned(),
        what: String::new(),
        ours_s: seconds,
        peer_s: seconds,
        ratio: 1.0,
        rows: rows as u64,
        runs: runs.len(),
        limit: "one thread that opens and decodes files".to_owned(),
        details: json!({
            "files": files,
            "files_a_second": files as f64 / seconds,
            "predicted_s": of(|run| run.predicted),
            "parts": of(|run| run.parts as f64),
            "peak_rss_mib": of(|run| run.peak_mib as f64),
        }),
    }
}

fn with(mut details: Value, name: &str, value: Value) -> Value {
    details[name] = value;
    details
}

fn arguments<'a>(verb: &'a str, source: &'a str) -> [&'a str; 8] {
    ["backfill", verb, source, "--mapping", "posthog-export", "--team-id", "1", "--json"]
}

fn spawn(site: &Site<'_>, verb: &str, source: &str, settings: &[(String, String)]) -> anyhow::Result<Child> {
    let mut command = Command::new(binary("posthouse")?);
    command.arg("--config").arg(site.write_config()?).args(arguments(verb, source));
    Ok(command.envs(settings.iter().cloned()).stdout(Stdio::piped()).spawn()?)
}

/// Plans and loads all files of `source`.
fn load(site: &Site<'_>, source: &str, settings: &[(String, String)], rows: usize) -> anyhow::Result<Run> {
    empty(site)?;
    let planned = spawn(site, "plan", source, settings)?.wait_with_output()?;
    let plan: Value = serde_json::from_slice(&planned.stdout)?;
    let predicted = plan["seconds"].as_f64().context("a prediction")?;
    let begin = Instant::now();
    let mut child = spawn(site, "run", source, settings)?;
    let mut peak_mib = 0;
    let ended = loop {
        peak_mib = peak_mib.max(peak_rss_mib(child.id()).unwrap_or_default());
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(ended.success(), "the load ended with {ended}");
    let stored = site.query("SELECT count() FROM {db}.events")?;
    ensure!(stored == rows.to_string(), "{stored} rows of {rows}");
    Ok(Run { seconds, predicted, parts: parts(site)?, peak_mib })
}

/// Loads the files with the server. Returns seconds and parts.
fn serve(site: &Site<'_>, folder: &Path, rows: usize) -> anyhow::Result<(f64, u64)> {
    empty(site)?;
    let begin = Instant::now();
    site.query(&format!(
        "INSERT INTO {{db}}.writable_events \
         (uuid, event, properties, timestamp, team_id, distinct_id, created_at, _timestamp, elements_chain) \
         SELECT toUUID(uuid), event, properties, timestamp, 1, distinct_id, created_at, toUInt32(_inserted_at), \
         elements_chain FROM file('{}/*/*/*/*/*.parquet') SETTINGS distributed_foreground_insert = 1",
        folder.display()
    ))?;
    let seconds = begin.elapsed().as_secs_f64();
    let stored = site.query("SELECT count() FROM {db}.events")?;
    ensure!(stored == rows.to_string(), "{stored} rows of {rows}");
    Ok((seconds, parts(site)?))
}
