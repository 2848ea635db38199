//! Kill test of a squash: the command, and the nodes whose events it writes.
//!
//! Persons change meanwhile, and events carry the person of their time. At the end every event has
//! the current person of its distinct id, by overrides and then by itself.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use postgres::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use uuid::{Builder, Uuid};

use super::Report;
use crate::daemon::Daemon;
use crate::events::Kind;
use crate::load::{Produced, Producer};
use crate::people::{PersonDatabase, PersonWorkload, Rules, on_nodes};
use crate::site::Site;
use crate::stack::{Progress, Stack, StackSpec, wait_until};

/// Changes before posthouse starts.
const COPIED: u64 = 300;
/// Pause between two transactions of a connection.
const PACE: Duration = Duration::from_millis(40);
/// Pause between two lookups of the persons of some distinct ids, and events of each.
const EVENTS_PACE: Duration = Duration::from_millis(50);
const EVENTS_EACH: usize = 2;
/// Time until a squash or a node is killed, which is longer than a dead holder keeps the lock, and
/// the length of an outage.
const UNTIL_KILL_MS: std::ops::Range<u64> = 100..12_000;
const OUTAGE_MS: std::ops::Range<u64> = 200..2_000;
/// Age of the changes that are squashed meanwhile. Half of it covers the time from the lookup of a
/// person until its event can be read.
const AGE: &str = "4s";
/// Limit for everything to arrive at the end.
const END_LIMIT: Duration = Duration::from_secs(300);

/// Some distinct ids with their persons of now.
const PERSONS: &str = "SELECT ids.team_id::bigint, ids.distinct_id, persons.uuid::text
    FROM posthog_persondistinctid AS ids JOIN posthog_person AS persons ON persons.id = ids.person_id
    ORDER BY random() LIMIT 10";

/// Events whose person is not that of their distinct id: by overrides, and alone.
const WRONG: &str = "SELECT
        countIf(if(notEmpty(overrides.distinct_id), overrides.person_id, events.person_id) != live.person_id),
        countIf(events.person_id != live.person_id)
    FROM {db}.events AS events
    INNER JOIN
    (
        SELECT ids.team_id AS team_id, ids.distinct_id AS distinct_id, argMax(ids.person_id, ids.version) AS person_id
        FROM {db}.person_distinct_id2 AS ids
        GROUP BY team_id, distinct_id HAVING argMax(ids.is_deleted, ids.version) = 0
    ) AS live ON (live.team_id = events.team_id) AND (live.distinct_id = events.distinct_id)
    LEFT JOIN
    (
        SELECT ids.team_id AS team_id, ids.distinct_id AS distinct_id, argMax(ids.person_id, ids.version) AS person_id
        FROM {db}.person_distinct_id_overrides AS ids
        GROUP BY team_id, distinct_id HAVING argMax(ids.is_deleted, ids.version) = 0
    ) AS overrides ON (overrides.team_id = events.team_id) AND (overrides.distinct_id = events.distinct_id)";

/// Starts the stack for this test.
///
/// # Errors
/// Fails if the stack doesn't start.
pub fn stack(progress: &Progress) -> anyhow::Result<Stack> {
    Stack::start(StackSpec::default().postgres(), progress)
}

/// Runs `rounds` squashes on a site of `stack`, each with a kill, and reports each to `say`.
///
/// # Errors
/// Fails if a server doesn't restart, or if the last squash fails. Events with a wrong person are
/// counted.
pub fn run(stack: &Stack, rounds: u32, seed: u64, say: &dyn Fn(String)) -> anyhow::Result<Report> {
    let mut site = Site::new(stack, "torture_squash")?;
    site.set("events", "profile", "posthog");
    let person_db = PersonDatabase::with(stack.postgres()?, site.name(), Rules::default())?;
    person_db.configure(&mut site)?;
    site.apply()?;
    let workload = PersonWorkload::new(seed, COPIED);
    workload.run(&person_db, &AtomicBool::new(false))?;
    let daemon = Daemon::start(&mut site, "off")?;
    daemon.says("streaming changes")?;
    let workload = PersonWorkload { changes: u64::MAX, pace: PACE, seed: !seed, ..workload };
    let stop = AtomicBool::new(false);
    let (tortured, changed, produced) = thread::scope(|scope| {
        let changes = scope.spawn(|| workload.run(&person_db, &stop));
        let events = scope.spawn(|| events(&site, person_db.admin()?, seed, &stop));
        let tortured = torture(&site, rounds, seed, say);
        stop.store(true, Ordering::Relaxed);
        (tortured, changes.join(), events.join())
    });
    let kills = tortured.with_context(|| daemon.log().unwrap_or_default())?;
    changed.map_err(|_| anyhow!("the workload panicked"))??;
    let produced = produced.map_err(|_| anyhow!("the producer panicked"))??;
    let (rows, lost) = settled(&site, &person_db, produced, say)?;
    drop(daemon);
    site.remove()?;
    Ok(Report {
        name: "squash".to_owned(),
        rounds,
        kills,
        produced: produced.events,
        stored: rows,
        lost,
        twice: rows.saturating_sub(produced.events),
        seed,
    })
}

/// Produces events that carry the persons of now, until `stop`.
fn events(site: &Site<'_>, mut client: Client, seed: u64, stop: &AtomicBool) -> anyhow::Result<Produced> {
    let producer = Producer::new(&site.brokers(), site.name())?;
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        for row in client.query(PERSONS, &[])? {
            let (team, distinct_id, person): (i64, String, String) = (row.get(0), row.get(1), row.get(2));
            for _ in 0..EVENTS_EACH {
                let uuid: Uuid = Builder::from_random_bytes(random.random()).into_uuid();
                let day = random.random_range(1..=28);
                let event = json!({"uuid": uuid, "event": "$pageview", "properties": "{}", "team_id": team,
                    "timestamp": format!("2026-{:02}-{day:02} 10:42:06", random.random_range(1..=3)),
                    "distinct_id": distinct_id, "person_id": person});
                producer.send(&uuid.to_string(), event.to_string().as_bytes(), Kind::New)?;
            }
        }
        thread::sleep(EVENTS_PACE);
    }
    producer.flush()
}

/// Starts squashes, and kills each or a node beside it. Returns the number of kills.
fn torture(site: &Site<'_>, rounds: u32, seed: u64, say: &dyn Fn(String)) -> anyhow::Result<u32> {
    let mut random = StdRng::seed_from_u64(seed);
    for round in 1..=rounds {
        accepted(site)?;
        let begin = Instant::now();
        let mut squash =
            site.spawn(&["persons", "squash", "--apply", "--older-than", AGE, "--ids-per-round", "50"])?;
        thread::sleep(Duration::from_millis(random.random_range(UNTIL_KILL_MS)));
        let what = if random.random_bool(0.75) {
            squash.kill()?;
            "the squash"
        } else {
            let node = &site.stack.nodes()[random.random_range(0..site.stack.nodes().len())];
            node.kill();
            thread::sleep(Duration::from_millis(random.random_range(OUTAGE_MS)));
            node.start()?;
            "a node"
        };
        let ended = squash.wait()?;
        let seconds = begin.elapsed().as_secs_f32();
        say(format!(
            "squash round {round}/{rounds}: {what} killed, the squash ended with {ended}, {seconds:.1} s"
        ));
    }
    Ok(rounds)
}

/// Waits until the events are read that a squash wants to be stored, so that it is not refused.
fn accepted(site: &Site<'_>) -> anyhow::Result<()> {
    wait_until("a plan of a squash", END_LIMIT, || {
        match site.posthouse(&["persons", "squash", "--older-than", AGE]) {
            Ok(plan) if plan.code != 1 => ControlFlow::Break(Ok(())),
            Ok(plan) => ControlFlow::Continue(anyhow!("{plan}")),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    })
}

/// Waits until everything has arrived, squashes the rest, and returns the rows of events and the
/// number of those with a wrong person.
fn settled(
    site: &Site<'_>,
    person_db: &PersonDatabase<'_>,
    produced: Produced,
    say: &dyn Fn(String),
) -> anyhow::Result<(u64, u64)> {
    let stored = site.drained(produced, END_LIMIT, END_LIMIT)?;
    wait_until("the nodes to match PostgreSQL", END_LIMIT, || match on_nodes(site, person_db) {
        Ok(left) if left.is_empty() => ControlFlow::Break(Ok(())),
        Ok(left) => ControlFlow::Continue(anyhow!("{left}")),
        Err(error) => ControlFlow::Continue(error),
    })?;
    let before = wrong(site)?;
    say(format!("squash: {before:?} events with another person, by overrides and alone"));
    // The changes of this second are squashed by a later one.
    thread::sleep(Duration::from_secs(2));
    let last = site.posthouse(&["persons", "squash", "--apply", "--older-than", "0s"])?;
    ensure!(last.code == 0, "{last}");
    let after = wrong(site)?;
    say(format!("squash: {after:?} after the last one: {}", last.stdout.trim()));
    Ok((stored.rows, before[0].max(after[0]).max(after[1])))
}

/// The greatest counts of any node.
fn wrong(site: &Site<'_>) -> anyhow::Result<[u64; 2]> {
    let mut greatest = [0; 2];
    for node in 0..site.stack.nodes().len() {
        let answer = site.query_on(node, WRONG)?;
        let counts: Vec<u64> = answer.split('\t').map(str::parse).collect::<Result<_, _>>()?;
        let [overridden, alone] = counts[..] else { return Err(anyhow!("{answer}")) };
        greatest = [overridden.max(greatest[0]), alone.max(greatest[1])];
    }
    Ok(greatest)
}
