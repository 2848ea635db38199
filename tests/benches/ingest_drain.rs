//! Drain time of a two-million-event backlog: Keeper offsets against group offsets.
//!
//! Both read the same topic, alternately. Offsets in Keeper give exactly-once delivery.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use posthouse_tests::events::Profile;
use posthouse_tests::load::Load;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};
use serde_json::json;

use crate::report::{Report, median};

const BACKLOG: u64 = 2_000_000;
const RUNS: usize = 5;
/// Above the speed of one producer, so that the rate is unlimited.
const UNLIMITED: u64 = 10_000_000;
/// Limit on starts until the partitions are evenly distributed.
const STARTS: usize = 20;
const LIMIT: Duration = Duration::from_secs(300);
/// posthouse's defaults.
const OURS: &[(&str, &str)] = &[];
/// Best settings for group offsets: blocks may have any size, and in a backlog only their size
/// should end them.
const GROUP_AT_ITS_BEST: &[(&str, &str)] = &[("poll_timeout", "1s")];
/// 2026-11-10 12:00:00 UTC, in µs.
const UNTIL: i64 = 1_794_312_000_000_000;
const TOPIC: &str = "drain";

pub(crate) fn run() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default(), &Progress::on_stderr())?;
    Site::new(&stack, TOPIC)?.must(&["topics", "apply"])?;
    let profile = Profile { teams: 20, people: 100_000, days: 7, until: UNTIL, again: 0, broken: 0 };
    let brokers = stack.broker().address();
    let produced = Load::start(&brokers, TOPIC, profile, 1, UNLIMITED, BACKLOG)?.wait()?;
    eprintln!("drain: {} events in the topic", produced.events);
    let (mut keeper, mut group) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        keeper.push(drain(&stack, "keeper", run, OURS)?);
        group.push(drain(&stack, "group", run, GROUP_AT_ITS_BEST)?);
        eprintln!("drain: run {run}: keeper {:.1} s, group {:.1} s", keeper[run], group[run]);
    }
    let (ours_s, peer_s) = (median(keeper.clone()), median(group.clone()));
    Ok(vec![Report {
        name: "ingest_drain".to_owned(),
        what: "backlog of 2 M events through two nodes: offsets in Keeper (exactly once) against group offsets, \
               as many consumers, and the same blocks; from partitions shared out evenly"
            .to_owned(),
        ours_s,
        peer_s,
        ratio: peer_s / ours_s,
        rows: BACKLOG,
        runs: RUNS,
        limit: "the processors: parsing, sorting and compressing the events".to_owned(),
        details: json!({
            "ours_events_per_s": BACKLOG as f64 / ours_s,
            "peer_events_per_s": BACKLOG as f64 / peer_s,
            "ours_s": keeper,
            "peer_s": group,
        }),
    }])
}

/// Returns the seconds from the creation of the consumers until all events can be queried.
///
/// A start with unevenly distributed partitions is repeated and not measured. Its time would depend
/// on ClickHouse's rebalancing (15 polls), not on the speed of reading.
fn drain(stack: &Stack, offsets: &str, run: usize, settings: &[(&str, &str)]) -> anyhow::Result<f64> {
    for start in 0..STARTS {
        let mut site = Site::new(stack, &format!("drain_{offsets}_{run}_{start}"))?;
        site.set("events", "topic", TOPIC).set("events", "offsets", offsets);
        for (key, value) in settings {
            site.set("events", key, *value);
        }
        site.must(&["schema", "apply"])?;
        let begin = Instant::now();
        let seconds = if balanced(&site)? { Some(drained(&site, begin)?) } else { None };
        site.remove()?;
        if let Some(seconds) = seconds {
            return Ok(seconds);
        }
    }
    bail!("in {STARTS} starts one node always took another's partition")
}

fn drained(site: &Site<'_>, begin: Instant) -> anyhow::Result<f64> {
    wait_until("the backlog to drain", LIMIT, || match site.query("SELECT count() FROM {db}.events") {
        Ok(count) if count.parse() == Ok(BACKLOG) => ControlFlow::Break(Ok(())),
        Ok(count) => {
            std::thread::sleep(Duration::from_millis(100));
            ControlFlow::Continue(anyhow!("{count} events"))
        }
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    Ok(begin.elapsed().as_secs_f64())
}

/// Waits until every node has partitions, and returns whether all have equally many.
fn balanced(site: &Site<'_>) -> anyhow::Result<bool> {
    let sql =
        "SELECT sum(length(assignments.partition_id)) FROM system.kafka_consumers WHERE database = '{db}'";
    wait_until("partitions for every node", LIMIT, || {
        let nodes = 0..site.stack.nodes().len();
        match nodes.map(|node| site.query_on(node, sql)).collect::<anyhow::Result<Vec<_>>>() {
            Ok(held) if held.iter().all(|partitions| partitions != "0") => {
                ControlFlow::Break(Ok(held.iter().all(|partitions| *partitions == held[0])))
            }
            Ok(held) => ControlFlow::Continue(anyhow!("partitions by node: {}", held.join(", "))),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    })
}
