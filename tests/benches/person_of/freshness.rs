//! Latency from COMMIT in PostgreSQL to `personOf` on every node, against the view of distinct ids.
//!
//! Both are asked for the same probes in one run, under a load of 500 changes per second.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use jiff::Timestamp;
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::PersonDatabase;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use serde_json::json;

use super::wait::wait_for_ids;
use crate::persons::latency::{self, Spread, spread};
use crate::persons::probes::{self, EVERY, PREFIX, TEAM, Times};
use crate::report::Report;

/// Caches, consumers and connections are new.
const WARM_UP: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(30);
/// Time for the last probes to become visible, many times their usual latency.
const LATEST: Duration = Duration::from_secs(15);
/// The person that moved ids have before.
const BEFORE: &str = "00000000-0000-4000-8000-000000000000";

/// A way to see a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    PersonOf,
    View,
}

pub(crate) fn run() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default().postgres(), &Progress::on_stderr())?;
    let mut site = Site::new(&stack, "person_of_freshness")?;
    let person_db = PersonDatabase::new(stack.postgres()?, site.name())?;
    person_db.configure(&mut site)?;
    site.set("persons", "index", "keep");
    latency::people(&person_db)?;
    probes::prepare(&person_db, 2 * (WARM_UP + MEASURED).as_secs() * 20)?;
    site.apply()?;
    site.must(&["udf", "install"])?;
    let daemon = Daemon::start(&mut site, "off")?;
    wait_for_ids(&site, latency::PERSONS)?;
    daemon.says("streaming changes")?;
    let [ours, view] = measure(&site, &person_db)?;
    ensure!(daemon.end()? == 0, "posthouse did not end well");
    Ok(vec![Report {
        name: "person_of_freshness".to_owned(),
        what: "COMMIT in PostgreSQL → the person of a distinct id by personOf on every node, 95th percentile at 500 \
               changes/s, against the view person_distinct_ids in the same run"
            .to_owned(),
        ours_s: ours.p95,
        peer_s: view.p95,
        ratio: view.p95 / ours.p95,
        rows: (MEASURED.as_millis() / EVERY.as_millis()) as u64 * 2 / 3,
        runs: 1,
        limit: "the interval at which the index is published; questions come every 50 ms".to_owned(),
        details: json!({ "person_of": ours, "view": view }),
    }])
}

/// Makes probes under the load, and returns the latencies of both sights.
fn measure(site: &Site<'_>, person_db: &PersonDatabase<'_>) -> anyhow::Result<[Spread; 2]> {
    let (changing, stop) = (AtomicBool::new(true), AtomicBool::new(false));
    let (changes, made) = (AtomicU64::new(0), AtomicU64::new(0));
    let asked: Vec<(usize, Sight, Mutex<Times>)> = (0..site.stack.nodes().len())
        .flat_map(|node| [Sight::PersonOf, Sight::View].map(|sight| (node, sight, Mutex::default())))
        .collect();
    thread::scope(|scope| {
        let changers: Vec<_> = (0..latency::CONNECTIONS)
            .map(|connection| (connection, &changing, &changes))
            .map(|(connection, changing, changes)| {
                scope.spawn(move || latency::change(person_db, connection, changing, changes))
            })
            .collect();
        let askers: Vec<_> = asked
            .iter()
            .map(|asked| (asked, &stop, &made))
            .map(|((node, sight, seen), stop, made)| {
                scope.spawn(move || ask(site, *node, *sight, stop, made, seen))
            })
            .collect();
        let committed = probes::make(person_db, WARM_UP + MEASURED, &made);
        changing.store(false, Ordering::Relaxed);
        thread::sleep(LATEST);
        stop.store(true, Ordering::Relaxed);
        let ended = || anyhow!("a thread of the measurement panicked");
        changers.into_iter().try_for_each(|thread| thread.join().map_err(|_| ended())?)?;
        askers.into_iter().try_for_each(|thread| thread.join().map_err(|_| ended())?)?;
        let committed = committed?;
        let times = |sight| {
            let seen = asked.iter().filter(|(_, asked, _)| *asked == sight);
            let seen = seen.map(|(_, _, seen)| seen.lock().unwrap_or_else(PoisonError::into_inner).clone());
            latencies(&committed, &seen.collect::<Vec<_>>())
        };
        Ok([spread(&times(Sight::PersonOf)?)?, spread(&times(Sight::View)?)?])
    })
}

/// Asks a node for probes that were not seen yet, and records when each was.
fn ask(
    site: &Site<'_>,
    node: usize,
    sight: Sight,
    stop: &AtomicBool,
    made: &AtomicU64,
    seen: &Mutex<Times>,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let tick = Instant::now();
        let last = made.load(Ordering::Relaxed);
        let first = oldest_unseen(&seen.lock().unwrap_or_else(PoisonError::into_inner), last);
        let answer = site.query_on(node, &visible(sight, first, last))?;
        let now = Timestamp::now().as_millisecond();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for line in answer.lines() {
            seen.entry(line.parse().context("a probe's number")?).or_insert(now);
        }
        drop(seen);
        thread::sleep(EVERY.saturating_sub(tick.elapsed()));
    }
    Ok(())
}

/// Whether a probe changes a distinct id. Each third changes a person's properties alone.
fn has_id(probe: u64) -> bool {
    !probe.is_multiple_of(3)
}

fn oldest_unseen(seen: &Times, last: u64) -> u64 {
    (1..=last).find(|probe| has_id(*probe) && !seen.contains_key(probe)).unwrap_or(last)
}

/// Selects the numbers of visible probes from `first` to `last`, one more than those that are
/// committed for sure.
fn visible(sight: Sight, first: u64, last: u64) -> String {
    match sight {
        Sight::PersonOf => format!(
            "SELECT number FROM numbers({first}, {count}) WHERE number % 3 != 0 AND \
             personOf(toInt64({TEAM}), concat('{PREFIX}', toString(number))) NOT IN \
             (toUUID('{BEFORE}'), toUUID('00000000-0000-0000-0000-000000000000')) SETTINGS max_threads = 1",
            count = last + 2 - first
        ),
        Sight::View => format!(
            "SELECT toUInt64OrZero(substring(distinct_id, {from})) AS number FROM {{db}}.person_distinct_ids(team_id = {TEAM}) \
             WHERE person_id != '{BEFORE}' AND number >= {first} SETTINGS max_threads = 1",
            from = PREFIX.len() + 1
        ),
    }
}

/// Returns the milliseconds from each COMMIT after the warm-up until the last node saw the probe.
fn latencies(committed: &Times, nodes: &[Times]) -> anyhow::Result<Vec<i64>> {
    let first = committed.values().next().context("no probe was made")?;
    let from = first + i64::try_from(WARM_UP.as_millis())?;
    let measured: BTreeMap<_, _> =
        committed.iter().filter(|(probe, commit)| has_id(**probe) && **commit >= from).collect();
    let latency = |(probe, commit): (&u64, &i64)| {
        let last = nodes.iter().map(|seen| seen.get(probe).copied()).collect::<Option<Vec<i64>>>();
        let last = last.and_then(|seen| seen.into_iter().max());
        Ok(last.with_context(|| format!("probe {probe} was not seen by every node"))? - commit)
    };
    measured.into_iter().map(latency).collect()
}
