//! Latency from produced to queryable under load: posthouse's settings against ClickHouse's
//! defaults.
//!
//! Both are measured in one run on the same stack.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use jiff::Timestamp;
use posthouse_tests::events::{Kind, Profile};
use posthouse_tests::load::{Load, Producer};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use serde_json::json;

use crate::report::Report;

/// Name and events per second.
const RATES: [(&str, u64); 2] = [("ingest_latency", 20_000), ("ingest_latency_50k", 50_000)];
pub(crate) const FIGURES: &[&str] = &[RATES[0].0, RATES[1].0];
/// Poll timeouts to compare, in ms.
const POLL_TIMEOUTS: [i64; 4] = [100, 200, 400, 1_000];
/// A joining node gets its partitions when the other nodes check theirs, every 15 polls. Until then
/// one node has all.
const WARM_UP: Duration = Duration::from_secs(25);
const MEASURED: Duration = Duration::from_secs(30);
/// Time limit for each probe; a probe not visible by then counts with this latency.
const LATEST: Duration = Duration::from_secs(30);
/// Interval of probes and of queries for them. It is the resolution of the figures; shorter
/// intervals cost CPU time.
const EVERY: Duration = Duration::from_millis(100);
/// A separate team makes probes cheap to find.
const PROBE_TEAM: u32 = 999_999;

pub(crate) fn run() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default(), &Progress::on_stderr())?;
    let mut reports = Vec::new();
    for (name, rate) in RATES {
        let ours = measure(&stack, &format!("{name}_ours"), rate, Settings::Ours)?;
        let peer = measure(&stack, &format!("{name}_peer"), rate, Settings::Engine)?;
        eprintln!("{name}: ours {ours:?}, engine's defaults {peer:?}");
        reports.push(Report {
            name: name.to_owned(),
            what: format!("produced → queryable at {rate} events/s, 95th percentile; the peer is the engine's default settings"),
            ours_s: ours.p95,
            peer_s: peer.p95,
            ratio: peer.p95 / ours.p95,
            rows: rate * MEASURED.as_secs(),
            runs: 1,
            limit: "the poll timeout and the insert of a block; questions come every 100 ms".to_owned(),
            details: json!({ "ours": ours, "peer": peer }),
        });
    }
    Ok(reports)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settings {
    /// posthouse's settings for a config without overrides.
    Ours,
    /// posthouse's settings with another `poll_timeout`, in ms.
    PollTimeout(i64),
    /// ClickHouse's defaults.
    Engine,
}

/// Compares the cost and latency of poll timeouts at the first of [`RATES`]. The longest timeout is
/// the peer.
pub(crate) fn poll_timeouts() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default(), &Progress::on_stderr())?;
    let mut measured = Vec::new();
    for timeout in POLL_TIMEOUTS {
        let name = format!("ingest_poll_{timeout}");
        measured.push((timeout, measure(&stack, &name, RATES[0].1, Settings::PollTimeout(timeout))?));
        eprintln!("poll timeout {timeout} ms: {:?}", measured[measured.len() - 1].1);
    }
    let (shortest, longest) = (&measured[0].1, &measured[measured.len() - 1].1);
    Ok(vec![Report {
        name: "ingest_poll_timeouts".to_owned(),
        what: format!(
            "produced → queryable at {} events/s by poll timeout; ours is the shortest",
            RATES[0].1
        ),
        ours_s: shortest.p95,
        peer_s: longest.p95,
        ratio: longest.p95 / shortest.p95,
        rows: RATES[0].1 * MEASURED.as_secs(),
        runs: 1,
        limit: "the timeout itself; the price of a short one is parts".to_owned(),
        details: measured.iter().map(|(timeout, figures)| (timeout.to_string(), json!(figures))).collect(),
    }])
}

#[derive(Debug, serde::Serialize)]
struct Measured {
    p50: f64,
    p95: f64,
    max: f64,
    probes: u64,
    parts_per_minute: f64,
    active_parts_begin: u64,
    active_parts_end: u64,
}

fn measure(stack: &Stack, name: &str, rate: u64, settings: Settings) -> anyhow::Result<Measured> {
    let mut site = Site::new(stack, name)?;
    if let Settings::PollTimeout(timeout) = settings {
        site.set("events", "poll_timeout", format!("{timeout}ms"));
    }
    site.apply()?;
    if settings == Settings::Engine {
        engine_defaults(&site)?;
    }
    let until = Timestamp::now().as_microsecond();
    let profile = Profile { teams: 20, people: 100_000, days: 1, until, again: 0, broken: 0 };
    let load = Load::start(&site.brokers(), site.name(), profile, 1, rate, u64::MAX)?;
    thread::sleep(WARM_UP);
    let (parts_before, active_before) = parts(&site)?;
    let begin = Instant::now();
    let latencies = probe(&site)?;
    let (parts_after, active_after) = parts(&site)?;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    load.finish()?;
    site.remove()?;
    let seconds = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Measured {
        p50: seconds(0.5),
        p95: seconds(0.95),
        max: seconds(1.0),
        probes: latencies.len(),
        parts_per_minute: (parts_after - parts_before) as f64 / minutes,
        active_parts_begin: active_before,
        active_parts_end: active_after,
    })
}

/// Recreates the table with only the settings that ClickHouse requires: group offsets, one
/// consumer, 7.5 s flush.
fn engine_defaults(site: &Site<'_>) -> anyhow::Result<()> {
    for node in 0..site.stack.nodes().len() {
        site.query_on(node, "DROP TABLE {db}.kafka_events SYNC")?;
        let sql = format!(
            "CREATE TABLE {{db}}.kafka_events (message String) ENGINE = Kafka SETTINGS kafka_broker_list = '{}', \
             kafka_topic_list = '{{db}}', kafka_group_name = '{{db}}_defaults', kafka_format = 'RawBLOB'",
            site.brokers()
        );
        site.query_on(node, &sql)?;
    }
    Ok(())
}

/// Sends probes during the load and queries until each is visible. Latencies are in ms.
fn probe(site: &Site<'_>) -> anyhow::Result<Histogram<u64>> {
    let producer = Producer::new(&site.brokers(), site.name())?;
    let mut waiting: HashMap<u64, Instant> = HashMap::new();
    let mut latencies = Histogram::new(3)?;
    let (begin, mut number) = (Instant::now(), 0);
    let mut seen_until = 0;
    while begin.elapsed() < MEASURED || (!waiting.is_empty() && begin.elapsed() < MEASURED + LATEST) {
        let tick = Instant::now();
        if begin.elapsed() < MEASURED {
            number += 1;
            let key = uuid::Uuid::from_u128(u128::from(number)).to_string();
            let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S.%6f");
            let payload = format!(
                r#"{{"uuid":"{key}","event":"probe","properties":"{{}}","timestamp":"{now}","team_id":{PROBE_TEAM},"distinct_id":"probe-{number}"}}"#
            );
            waiting.insert(number, Instant::now());
            producer.send(&key, payload.as_bytes(), Kind::New)?;
        }
        let sql = format!(
            "SELECT toUInt64OrZero(substring(distinct_id, 7)) AS n FROM {{db}}.events \
             WHERE team_id = {PROBE_TEAM} AND n > {seen_until} SETTINGS max_threads = 1"
        );
        for line in site.query(&sql)?.lines() {
            if let Some(sent) = waiting.remove(&line.parse().context("a probe's number")?) {
                latencies.record(sent.elapsed().as_millis() as u64)?;
            }
        }
        seen_until = waiting.keys().min().map_or(number, |oldest| oldest - 1);
        thread::sleep(EVERY.saturating_sub(tick.elapsed()));
    }
    for _ in waiting {
        latencies.record(LATEST.as_millis() as u64)?;
    }
    Ok(latencies)
}

/// Returns the parts ever inserted and the active parts, summed over all nodes.
fn parts(site: &Site<'_>) -> anyhow::Result<(u64, u64)> {
    let mut sums = (0, 0);
    for node in 0..site.stack.nodes().len() {
        let answer = site.query_on(
            node,
            "SELECT max(max_block_number), count() FROM system.parts \
             WHERE database = '{db}' AND table = 'sharded_events' AND active",
        )?;
        let (inserted, active) = answer.split_once('\t').context("two numbers")?;
        sums = (sums.0 + inserted.parse::<u64>()?, sums.1 + active.parse::<u64>()?);
    }
    Ok(sums)
}
