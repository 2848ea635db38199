//! Kill test of person sync: leader, broker, node and PostgreSQL.
//!
//! A workload changes persons meanwhile. At the end every node is compared with PostgreSQL.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::Report;
use super::ingest::unmerged;
use crate::daemon::Daemon;
use crate::people::{Differences, PersonDatabase, PersonWorkload, Rules, Tally, on_nodes};
use crate::site::Site;
use crate::stack::{Progress, Stack, StackSpec, wait_until};

/// Changes before the first posthouse starts. They arrive by the initial snapshot, not by
/// streaming.
const COPIED: u64 = 2_000;
/// Pause between two transactions of a connection. It gives a few hundred changes per second,
/// 50,000 and more in 30 rounds, and leaves two cores enough time to run restarting servers.
const PACE: Duration = Duration::from_millis(12);
/// A short outage ends before any session. A long one outlasts the broker's (6 s).
const SHORT_MS: (u64, u64) = (200, 3_000);
/// See [`SHORT_MS`].
const LONG_MS: (u64, u64) = (7_000, 10_000);
/// Time between a recovery and the next fault.
const BETWEEN_MS: (u64, u64) = (500, 6_000);
/// Limit for one of two posthouse processes to become leader.
const LEADER_LIMIT: Duration = Duration::from_secs(180);
/// Differences unchanged for this time are final. It is longer than every session, retry and
/// backoff.
const QUIET: Duration = Duration::from_secs(90);
/// Limit for the nodes to catch up at the end.
const END_LIMIT: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Leader,
    Broker,
    Node,
    Postgres,
}

const FAULTS: [Fault; 4] = [Fault::Leader, Fault::Broker, Fault::Node, Fault::Postgres];

/// Starts the stack for this test. Merges are off, so that every version that arrived stays visible
/// next to the current one.
///
/// # Errors
/// Fails if the stack doesn't start.
pub fn stack(progress: &Progress) -> anyhow::Result<Stack> {
    Stack::start(StackSpec::default().postgres().nodes(unmerged()), progress)
}

/// Runs `rounds` faults on a site of `stack`, and reports each to `say`.
///
/// # Errors
/// Fails if a server doesn't restart, if there is no leader, or if the audit reports differences
/// that the count misses. Counted differences aren't an error.
pub fn run(stack: &Stack, rounds: u32, seed: u64, say: &dyn Fn(String)) -> anyhow::Result<Report> {
    let mut site = Site::new(stack, "torture_persons")?;
    let rules = Rules::of(seed);
    say(format!("persons: {rules:?}"));
    let person_db = PersonDatabase::with(stack.postgres()?, site.name(), rules)?;
    person_db.configure(&mut site)?;
    site.apply()?;
    let workload = PersonWorkload {
        teams: 3,
        persons: 200,
        distinct_ids: 600,
        connections: 4,
        ..PersonWorkload::new(seed, COPIED)
    };
    workload.run(&person_db, &AtomicBool::new(false))?;
    let workload = PersonWorkload { changes: u64::MAX, pace: PACE, seed: !seed, ..workload };
    let mut daemons = vec![Daemon::start(&mut site, "off")?, Daemon::start(&mut site, "off")?];
    let stop = AtomicBool::new(false);
    let (tortured, tally) = thread::scope(|scope| {
        let living = scope.spawn(|| workload.run(&person_db, &stop));
        let tortured = torture(&mut site, &mut daemons, rounds, seed, say);
        stop.store(true, Ordering::Relaxed);
        (tortured, living.join())
    });
    let kills = tortured.with_context(|| logs(&daemons))?;
    let tally = tally.map_err(|_| anyhow!("the workload panicked"))??;
    say(format!("persons: {tally:?}"));
    let left = settled(&site, &person_db, say).with_context(|| logs(&daemons))?;
    if !left.is_empty() {
        say(format!("persons: {left}\n{}", logs(&daemons)));
    }
    let audit = site.posthouse(&["persons", "audit"])?;
    ensure!(
        audit.code == 0 || !left.is_empty(),
        "the audit reports differences that the count misses: {audit}"
    );
    drop(daemons);
    site.remove()?;
    let (produced, lost) = (committed(&tally), left.missing + left.stale);
    Ok(Report {
        name: "persons".to_owned(),
        rounds,
        kills,
        produced,
        stored: produced - lost.min(produced),
        lost,
        twice: left.extra,
        seed,
    })
}

/// Injects the faults in sequence. Returns the number of processes killed.
fn torture(
    site: &mut Site<'_>,
    daemons: &mut Vec<Daemon>,
    rounds: u32,
    seed: u64,
    say: &dyn Fn(String),
) -> anyhow::Result<u32> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    let mut faults = Vec::new();
    for round in 1..=rounds {
        if faults.is_empty() {
            // Each kind once per cycle, in random order.
            faults = FAULTS.to_vec();
            faults.shuffle(&mut random);
        }
        let fault = faults.pop().unwrap_or(Fault::Leader);
        thread::sleep(milliseconds(BETWEEN_MS, &mut random));
        let begin = Instant::now();
        inflict(site, daemons, fault, &mut random)?;
        kills += 1;
        say(format!("persons round {round}/{rounds}: {fault:?}, {:.1} s", begin.elapsed().as_secs_f32()));
    }
    Ok(kills)
}

fn inflict(
    site: &mut Site<'_>,
    daemons: &mut Vec<Daemon>,
    fault: Fault,
    random: &mut StdRng,
) -> anyhow::Result<()> {
    let stack = site.stack;
    let outage = milliseconds(if random.random_bool(0.25) { LONG_MS } else { SHORT_MS }, random);
    let node = &stack.nodes()[random.random_range(0..stack.nodes().len())];
    match fault {
        Fault::Leader => drop(daemons.remove(leader(daemons)?)),
        Fault::Broker => stack.broker().kill(),
        Fault::Node => node.kill(),
        Fault::Postgres => stack.postgres()?.kill()?,
    }
    thread::sleep(outage);
    match fault {
        Fault::Leader => daemons.push(Daemon::start(site, "off")?),
        Fault::Broker => stack.broker().start()?,
        Fault::Node => node.start()?,
        Fault::Postgres => stack.postgres()?.start()?,
    }
    Ok(())
}

/// Waits for a leader among the daemons, and returns its index.
fn leader(daemons: &[Daemon]) -> anyhow::Result<usize> {
    wait_until("one posthouse to be leader", LEADER_LIMIT, || {
        let leads = |daemon: &Daemon| matches!(daemon.metric("posthouse_persons_leader"), Ok(Some(1)));
        match daemons.iter().position(leads) {
            Some(leader) => ControlFlow::Break(Ok(leader)),
            None => ControlFlow::Continue(anyhow!("no leader")),
        }
    })
}

/// Returns the differences that remain when they no longer change.
fn settled(
    site: &Site<'_>,
    person_db: &PersonDatabase<'_>,
    say: &dyn Fn(String),
) -> anyhow::Result<Differences> {
    let mut last = (None, Instant::now());
    wait_until("the nodes to match PostgreSQL", END_LIMIT, || match on_nodes(site, person_db) {
        Ok(left) => {
            if last.0.as_ref() != Some(&left) {
                say(format!("persons: {} rows differ", left.count()));
                last = (Some(left.clone()), Instant::now());
            }
            if left.is_empty() || last.1.elapsed() > QUIET {
                return ControlFlow::Break(Ok(left));
            }
            thread::sleep(Duration::from_millis(500));
            ControlFlow::Continue(anyhow!("{left}"))
        }
        Err(error) => ControlFlow::Continue(error),
    })
}

fn committed(tally: &Tally) -> u64 {
    tally.committed.values().sum()
}

fn milliseconds((least, most): (u64, u64), random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(least..most))
}

fn logs(daemons: &[Daemon]) -> String {
    daemons.iter().map(|daemon| daemon.log().unwrap_or_else(|error| format!("{error:#}\n"))).collect()
}
