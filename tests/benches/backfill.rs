//! Backfill benchmark against ClickHouse's own loads of the same Parquet file.
//!
//! The peers are ClickHouse's `file()` through `writable_events`, and a plain HTTP insert.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use parquet::file::reader::{FileReader, SerializedFileReader};
use posthouse_tests::history::{Files, History};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Node, Progress, Stack, StackSpec};
use serde_json::json;

use crate::report::{Report, median};

/// Events of about 390 bytes.
const ROWS: u64 = 2_000_000;
const RUNS: usize = 5;

/// Figures of one run of all load paths.
pub(crate) const FIGURES: &[&str] =
    &["backfill_direct", "backfill_distributed", "backfill_unproven", "backfill_vs_http"];

/// Columns in the order of the file and of the peers' inserts.
const COLUMNS: &str =
    "uuid, event, properties, timestamp, team_id, distinct_id, elements_hash, created_at, elements_chain";

/// Cost of loading the file once.
struct Run {
    seconds: f64,
    /// CPU seconds of the posthouse command; 0 for ClickHouse's own loads.
    own_cpu: f64,
    /// CPU seconds of all nodes.
    server_cpu: f64,
    /// Parts created by inserts on all nodes.
    parts: u64,
}

pub(crate) fn run() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default(), &Progress::on_stderr())?;
    let site = Site::new(&stack, "backfill_bench")?;
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events.parquet");
    write(&site, &file)?;
    let mut runs: Vec<(&str, Vec<Run>)> = ["direct", "distributed", "unverified", "server", "http"]
        .into_iter()
        .map(|way| (way, Vec::new()))
        .collect();
    for round in 0..RUNS {
        for (way, runs) in &mut runs {
            runs.push(load(&site, &file, way)?);
            eprintln!("backfill: round {}/{RUNS}, {way}: {:.2} s", round + 1, runs[round].seconds);
        }
    }
    let of = |way: &str| -> &[Run] {
        runs.iter().find(|(name, _)| *name == way).map_or(&[], |(_, runs)| runs.as_slice())
    };
    let server = "INSERT INTO writable_events SELECT … FROM file(…), foreground distribution";
    Ok(vec![
        compare(
            "backfill_direct",
            "posthouse backfill run, straight into the shards, proof included",
            of("direct"),
            server,
            of("server"),
        ),
        compare(
            "backfill_distributed",
            "the same through writable_events",
            of("distributed"),
            server,
            of("server"),
        ),
        compare(
            "backfill_unproven",
            "the same straight into the shards, without the proof",
            of("unverified"),
            server,
            of("server"),
        ),
        compare(
            "backfill_vs_http",
            "posthouse backfill run, straight into the shards, proof included",
            of("direct"),
            "an HTTP INSERT INTO writable_events FORMAT Parquet of the same file",
            of("http"),
        ),
    ])
}

/// Writes realistic product events with the server, because the benchmark compares loading, not
/// generating.
fn write(site: &Site<'_>, file: &Path) -> anyhow::Result<()> {
    site.query(&format!(
        "INSERT INTO FUNCTION file('{}', Parquet) SELECT generateUUIDv4() AS uuid, \
         ['$pageview', '$autocapture', '$identify', 'purchase'][number % 4 + 1] AS event, \
         concat('{{\"$current_url\":\"https://example.com/', toString(sipHash64(number) % 1000), '\",\"$browser\":\"', \
         ['Chrome', 'Firefox', 'Safari'][number % 3 + 1], '\",\"$session_id\":\"', toString(reinterpretAsUUID(sipHash128(intDiv(number, 20)))), \
         '\",\"$lib\":\"web\",\"$screen_height\":1080,\"$screen_width\":1920,\"token\":\"', hex(sipHash128(number % 50)), \
         '\",\"utm_source\":\"', ['google', 'bing', 'direct'][sipHash64(number, 1) % 3 + 1], '\",\"trace\":\"', hex(sipHash128(number)), \
         '\"}}') AS properties, \
         toDateTime64('2025-03-01 00:00:00', 6, 'UTC') + toIntervalMicrosecond(number * 1300000 % 2600000000000) AS timestamp, \
         toInt64(number % 3 + 1) AS team_id, concat('user-', toString(reinterpretAsUUID(sipHash128(sipHash64(number) % 100000)))) AS distinct_id, \
         '' AS elements_hash, timestamp AS created_at, '' AS elements_chain FROM numbers({ROWS})",
        file.display()
    ))?;
    Ok(())
}

fn load(site: &Site<'_>, file: &Path, way: &str) -> anyhow::Result<Run> {
    empty(site)?;
    let (before, begin) = (server_cpu(site.stack)?, Instant::now());
    let own_cpu = match way {
        "server" => {
            site.query(&format!(
                "INSERT INTO {{db}}.writable_events ({COLUMNS}) SELECT {COLUMNS} FROM file('{}') SETTINGS distributed_foreground_insert = 1",
                file.display()
            ))?;
            0.0
        }
        "http" => {
            post(site, file)?;
            0.0
        }
        _ => backfill(site, file, way)?,
    };
    let seconds = begin.elapsed().as_secs_f64();
    let server_cpu = server_cpu(site.stack)? - before;
    let rows = site.query("SELECT count() FROM {db}.events")?;
    ensure!(rows == ROWS.to_string(), "{way} left {rows} rows");
    Ok(Run { seconds, own_cpu, server_cpu, parts: parts(site)? })
}

/// Removes all rows and backfill records of earlier loads, and waits for merges to end.
pub(crate) fn empty(site: &Site<'_>) -> anyhow::Result<()> {
    for node in 0..site.stack.nodes().len() {
        for table in ["sharded_events", "sharded_backfill_files", "sharded_backfill_ledger"] {
            site.query_on(node, &format!("TRUNCATE TABLE {{db}}.{table} SYNC"))?;
        }
    }
    Ok(())
}

/// Counts parts created by inserts, including parts merged since. Each part takes the next block
/// number of its partition.
pub(crate) fn parts(site: &Site<'_>) -> anyhow::Result<u64> {
    let mut parts = 0;
    for node in 0..site.stack.nodes().len() {
        parts += site
            .query_on(
                node,
                "SELECT toUInt64(sum(made)) FROM (SELECT max(max_block_number) - min(min_block_number) + 1 AS made FROM system.parts \
                 WHERE database = '{db}' AND table = 'sharded_events' AND active GROUP BY partition_id)",
            )?
            .parse::<u64>()?;
    }
    Ok(parts)
}

/// Runs the command and returns its CPU seconds.
fn backfill(site: &Site<'_>, file: &Path, way: &str) -> anyhow::Result<f64> {
    let (file, route) = (file.to_string_lossy(), if way == "distributed" { "distributed" } else { "direct" });
    let mut arguments = vec!["backfill", "run", &file, "--mapping", "identity", "--route", route];
    if way == "unverified" {
        arguments.push("--no-verify");
    }
    let before = cpu("/proc/self/stat", CHILDREN)?;
    site.must(&arguments)?;
    Ok(cpu("/proc/self/stat", CHILDREN)? - before)
}

/// Sends the same insert as `curl --data-binary @file`.
fn post(site: &Site<'_>, path: &Path) -> anyhow::Result<()> {
    let url = site.stack.nodes()[0].http_url();
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(&address)?;
    let query = format!(
        "INSERT INTO {}.writable_events ({COLUMNS}) SETTINGS distributed_foreground_insert = 1 FORMAT Parquet",
        site.name()
    );
    let query = query.replace(' ', "%20").replace(',', "%2C");
    let mut file = File::open(path)?;
    write!(
        stream,
        "POST /?wait_end_of_query=1&query={query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        file.metadata()?.len()
    )?;
    std::io::copy(&mut file, &mut stream)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// Returns the CPU seconds of all nodes so far.
fn server_cpu(stack: &Stack) -> anyhow::Result<f64> {
    let node = |node: &Node| cpu(&format!("/proc/{}/stat", node.pid().context("a node is down")?), ITSELF);
    stack.nodes().iter().map(node).sum()
}

/// Field of a process's own CPU time in `/proc/PID/stat`. Fields are counted after the process
/// name, because a name may contain any character.
const ITSELF: usize = 11;
/// Field of the CPU time of ended child processes.
const CHILDREN: usize = 13;

/// Returns user plus system seconds.
fn cpu(path: &str, field: usize) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(path)?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(field).take(2).map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn compare(name: &str, ours: &str, our_runs: &[Run], peer: &str, peer_runs: &[Run]) -> Report {
    let seconds = |runs: &[Run]| runs.iter().map(|run| run.seconds).collect::<Vec<_>>();
    let middle = |runs: &[Run], value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
    let (ours_s, peer_s) = (median(seconds(our_runs)), median(seconds(peer_runs)));
    Report {
        name: name.to_owned(),
        what: format!("{ours}, against {peer}"),
        ours_s,
        peer_s,
        ratio: peer_s / ours_s,
        rows: ROWS,
        runs: RUNS,
        limit: "the processors: sorting and compressing on both shards, which share them with whoever reads the file".to_owned(),
        details: json!({
            "ours_s": seconds(our_runs),
            "peer_s": seconds(peer_runs),
            "own_cpu_s": middle(our_runs, |run| run.own_cpu),
            "our_servers_cpu_s": middle(our_runs, |run| run.server_cpu),
            "peer_servers_cpu_s": middle(peer_runs, |run| run.server_cpu),
            "our_parts": middle(our_runs, |run| run.parts as f64),
            "peer_parts": middle(peer_runs, |run| run.parts as f64),
        }),
    }
}

/// Events in one row group: five gigabytes of values.
const LARGE_ROWS: usize = 8_500_000;
/// Default memory limit of the command.
const MEMORY_MIB: u64 = 512;

/// Loads one row group far larger than the loader's memory limit, and measures the peak memory.
pub(crate) fn memory() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default(), &Progress::on_stderr())?;
    let site = Site::new(&stack, "backfill_memory")?;
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let history = History {
        rows: LARGE_ROWS,
        files: Files::Equal(1),
        row_group: LARGE_ROWS,
        days: 60,
        until: 1_794_312_000_000_000,
        people: 100_000,
        seed: 1,
    };
    let file = history.write(folder.path())?.pop().context("a file")?;
    let bytes = row_group_bytes(&file)?;
    let file = file.to_string_lossy();
    let begin = Instant::now();
    let mut child = site.spawn(&[
        "backfill",
        "run",
        &file,
        "--mapping",
        "posthog-export",
        "--team-id",
        "1",
        "--no-verify",
    ])?;
    let mut peak = 0;
    let ended = loop {
        peak = peak.max(peak_rss_mib(child.id()).unwrap_or_default());
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        thread::sleep(Duration::from_millis(20));
    };
    ensure!(ended.success(), "the load ended with {ended}");
    ensure!(peak <= MEMORY_MIB, "{peak} MiB were used, of {MEMORY_MIB}");
    let seconds = begin.elapsed().as_secs_f64();
    Ok(vec![Report {
        name: "backfill_memory".to_owned(),
        what: format!("one row group of {} MiB, loaded with --memory {MEMORY_MIB}", bytes >> 20),
        ours_s: seconds,
        peer_s: seconds,
        ratio: 1.0,
        rows: LARGE_ROWS as u64,
        runs: 1,
        limit: "the shards; what is measured is memory, and there is no peer".to_owned(),
        details: json!({ "peak_rss_mib": peak, "memory_mib": MEMORY_MIB, "row_group_mib": bytes >> 20 }),
    }])
}

/// Returns the uncompressed bytes of a file's only row group.
fn row_group_bytes(file: &Path) -> anyhow::Result<u64> {
    let reader = SerializedFileReader::new(File::open(file)?)?;
    let groups = reader.metadata().row_groups();
    ensure!(groups.len() == 1, "{} row groups", groups.len());
    Ok(u64::try_from(groups[0].total_byte_size())?)
}

/// Returns the peak resident memory of a process so far.
pub(crate) fn peak_rss_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? >> 10)
}
