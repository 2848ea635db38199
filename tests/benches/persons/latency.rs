//! Latency from COMMIT in PostgreSQL to visible on every node, by stage.
//!
//! Measured under a load of 500 changes per second.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use hdrhistogram::Histogram;
use postgres::Client;
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::PersonDatabase;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use serde::Serialize;

use super::cpu;
use super::probes::{self, Times};
use super::topics::{self, Passed};
use crate::report::Report;

const CHANGES_A_SECOND: u64 = 500;
pub(crate) const CONNECTIONS: u64 = 4;
/// Persons of the load, each with one distinct id. The initial snapshot reads them before the
/// measurement.
pub(crate) const PERSONS: u64 = 50_000;
/// Caches, consumers and connections are new.
const WARM_UP: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(30);
/// Time for the last probes to become visible, many times their usual latency.
const LATEST: Duration = Duration::from_secs(15);
/// Acceptable delay for a user who has just identified a person.
const PATIENCE_S: f64 = 3.0;

pub(crate) fn run() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default().postgres(), &Progress::on_stderr())?;
    let mut site = Site::new(&stack, "persons_latency")?;
    let person_db = PersonDatabase::new(stack.postgres()?, site.name())?;
    person_db.configure(&mut site)?;
    people(&person_db)?;
    probes::prepare(&person_db, 2 * (WARM_UP + MEASURED).as_secs() * 20)?;
    site.apply()?;
    let daemon = Daemon::start(&mut site, "off")?;
    daemon.says("streaming changes")?;
    let measured = measure(&stack, &site, &person_db)?;
    ensure!(daemon.end()? == 0, "posthouse did not end well");

    let total = &measured.stages["commit to every node"];
    let shares: Vec<String> = STAGES
        .iter()
        .map(|stage| format!("{stage} {:.0} %", 100.0 * measured.stages[*stage].mean / total.mean))
        .collect();
    Ok(vec![Report {
        name: "persons_latency".to_owned(),
        what: format!(
            "COMMIT in PostgreSQL → visible in the views of every node at {:.0} changes/s, 95th percentile, against a patience \
             of {PATIENCE_S} s; there is no peer on this machine: what is published of pipelines between the two is tens of seconds",
            measured.changes_per_s
        ),
        ours_s: total.p95,
        peer_s: PATIENCE_S,
        ratio: PATIENCE_S / total.p95,
        rows: measured.probes,
        runs: 1,
        limit: format!(
            "of the mean: {}; the last is flush_interval (500ms) and the insert, and the slower of two nodes; questions come every 50 ms",
            shares.join(", ")
        ),
        details: serde_json::to_value(&measured)?,
    }])
}

/// Stages of a change, in order. Their times add up to the total latency.
const STAGES: [&str; 3] =
    ["commit to handed over", "handed over to readable in Kafka", "readable to every node"];

#[derive(Serialize)]
struct Measured {
    probes: u64,
    changes_per_s: f64,
    stages: BTreeMap<&'static str, Spread>,
    cpu_s: cpu::Cpu,
}

/// Statistics in seconds.
#[derive(Serialize)]
pub(crate) struct Spread {
    mean: f64,
    p50: f64,
    pub(crate) p95: f64,
    max: f64,
}

pub(crate) fn people(person_db: &PersonDatabase<'_>) -> anyhow::Result<()> {
    person_db.admin()?.batch_execute(&format!(
        "INSERT INTO posthog_person (uuid, team_id, properties)
         SELECT gen_random_uuid(), 1 + n % 20, jsonb_build_object('email', n || '@example.com', 'plan', 'pro', 'text', repeat(md5(n::text), 7))
         FROM generate_series(1, {PERSONS}) AS n;
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
         SELECT team_id, 'user-' || id, id FROM posthog_person;"
    ))?;
    Ok(())
}

fn measure(stack: &Stack, site: &Site<'_>, person_db: &PersonDatabase<'_>) -> anyhow::Result<Measured> {
    let (changing, asking) = (AtomicBool::new(true), AtomicBool::new(false));
    let (changes, made) = (AtomicU64::new(0), AtomicU64::new(0));
    let seen: Vec<Mutex<Times>> = stack.nodes().iter().map(|_| Mutex::default()).collect();
    let before = cpu::used(stack)?;
    thread::scope(|scope| {
        let changers: Vec<_> = (0..CONNECTIONS)
            .map(|connection| (connection, &changing, &changes))
            .map(|(connection, changing, changes)| {
                scope.spawn(move || change(person_db, connection, changing, changes))
            })
            .collect();
        let reader = scope.spawn(|| topics::watch(site, &asking));
        let askers: Vec<_> = seen
            .iter()
            .enumerate()
            .map(|(index, seen)| (index, seen, &asking))
            .map(|(index, seen, asking)| scope.spawn(move || probes::ask(site, index, asking, seen)))
            .collect();
        let begin = Instant::now();
        let committed = probes::make(person_db, WARM_UP + MEASURED, &made);
        let seconds = begin.elapsed().as_secs_f64();
        changing.store(false, Ordering::Relaxed);
        let deadline = Instant::now() + LATEST;
        let all = |seen: &Mutex<Times>| {
            let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            seen.len() as u64 >= made.load(Ordering::Relaxed)
        };
        while !seen.iter().all(all) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(100));
        }
        asking.store(true, Ordering::Relaxed);
        let ended = |name| anyhow!("the thread of {name} panicked");
        changers.into_iter().try_for_each(|thread| thread.join().map_err(|_| ended("changes"))?)?;
        askers.into_iter().try_for_each(|thread| thread.join().map_err(|_| ended("questions"))?)?;
        let passed = reader.join().map_err(|_| ended("the topics"))??;
        let (cpu_s, changes_per_s) =
            (cpu::between(&before, &cpu::used(stack)?), changes.load(Ordering::Relaxed) as f64 / seconds);
        let seen = seen.iter().map(|seen| seen.lock().map(|seen| seen.clone()).unwrap_or_default());
        let stages = stages(&committed?, &passed, &seen.collect::<Vec<_>>())?;
        Ok(Measured { probes: stages.1, changes_per_s, stages: stages.0, cpu_s })
    })
}

/// Runs one connection's share of the load, one transaction per change. Most update properties,
/// some move distinct ids, some insert a person with a distinct id.
pub(crate) fn change(
    person_db: &PersonDatabase<'_>,
    connection: u64,
    changing: &AtomicBool,
    changes: &AtomicU64,
) -> anyhow::Result<()> {
    let mut client: Client = person_db.admin()?;
    let update = client.prepare(
        "UPDATE posthog_person SET properties = properties || jsonb_build_object('logins', $2::bigint), \
         version = coalesce(version, 0) + 1 WHERE id = $1",
    )?;
    let moves = client.prepare(
        "UPDATE posthog_persondistinctid SET person_id = $2, version = coalesce(version, 0) + 1 WHERE id = $1",
    )?;
    let insert = client.prepare(
        "WITH made AS (INSERT INTO posthog_person (uuid, team_id, properties) VALUES (gen_random_uuid(), 1 + $1::bigint % 20, \
             jsonb_build_object('plan', 'free', 'text', repeat(md5($1::text), 7))) RETURNING id, team_id) \
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) SELECT team_id, 'new-' || $1::text, id FROM made",
    )?;
    let (begin, mut done) = (Instant::now(), 0);
    while changing.load(Ordering::Relaxed) {
        let due = (begin.elapsed().as_secs_f64() * (CHANGES_A_SECOND / CONNECTIONS) as f64) as u64;
        for number in done..due {
            let number = i64::try_from(number * CONNECTIONS + connection)?;
            // The step is coprime to the number of persons, so all are visited in turn, and
            // consecutive ones are far apart.
            let id = 1 + number * 7_919 % i64::try_from(PERSONS)?;
            match number / i64::try_from(CONNECTIONS)? % 10 {
                0..=5 => client.execute(&update, &[&id, &number])?,
                // Teams are assigned in turn too, so the person at this distance has the same team.
                6 | 7 => client.execute(&moves, &[&id, &(1 + (id + 739) % i64::try_from(PERSONS)?)])?,
                _ => client.execute(&insert, &[&number])?,
            };
            changes.fetch_add(1, Ordering::Relaxed);
        }
        done = due;
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Returns statistics of the probes after the warm-up. Fails if a probe isn't visible on every
/// node.
fn stages(
    committed: &Times,
    passed: &BTreeMap<u64, Passed>,
    seen: &[Times],
) -> anyhow::Result<(BTreeMap<&'static str, Spread>, u64)> {
    let first = committed.values().next().context("no probe was made")?;
    let from = first + i64::try_from(WARM_UP.as_millis())?;
    let mut times: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (number, &commit) in committed.iter().filter(|(_, commit)| **commit >= from) {
        let passed = passed.get(number).with_context(|| format!("probe {number} was not in the topics"))?;
        let missing = || format!("probe {number} was not seen by every node within {LATEST:?}");
        let nodes = seen.iter().map(|seen| seen.get(number).copied());
        let nodes = nodes.collect::<Option<Vec<i64>>>().with_context(missing)?;
        let (first, last) =
            (nodes.iter().min().copied().unwrap_or(commit), nodes.iter().max().copied().unwrap_or(commit));
        let whole = ["commit to first node", "commit to every node"];
        let ways = STAGES.into_iter().chain(whole).zip([
            passed.handed_over - commit,
            passed.readable - passed.handed_over,
            last - passed.readable,
            first - commit,
            last - commit,
        ]);
        ways.for_each(|(stage, ms)| times.entry(stage).or_default().push(ms));
    }
    let count = times.values().next().map_or(0, Vec::len);
    let spreads = times.into_iter().map(|(stage, times)| Ok((stage, spread(&times)?)));
    Ok((spreads.collect::<anyhow::Result<_>>()?, count as u64))
}

pub(crate) fn spread(times: &[i64]) -> anyhow::Result<Spread> {
    let mut histogram = Histogram::<u64>::new(3)?;
    // Clocks of one machine may still differ by the rounding to a millisecond.
    times.iter().try_for_each(|&ms| histogram.record(u64::try_from(ms).unwrap_or(0)))?;
    let seconds = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Spread { mean: histogram.mean() / 1e3, p50: seconds(0.5), p95: seconds(0.95), max: seconds(1.0) })
}
