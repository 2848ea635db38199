//! Kill test of ingestion: ClickHouse nodes, broker and ZooKeeper.
//!
//! Most kills come just after a part was written. Some nodes are suspended instead, and then don't
//! answer.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Report;
use crate::events::Profile;
use crate::load::Load;
use crate::site::Site;
use crate::stack::{NodeOptions, Progress, Stack, StackSpec};

/// Enough that every poll finds messages, and few enough that two cores can also run restarting
/// servers.
const EVENTS_PER_SECOND: u64 = 10_000;
/// Messages per round in the topic before the first consumer exists, so that the first kills hit
/// blocks of maximum size.
const BACKLOG_PER_ROUND: u64 = 50_000;
/// Above the speed of one producer, so that the rate is unlimited.
const UNLIMITED: u64 = 10_000_000;
/// Faults of the first rounds, in order, so that even a short run has each kind.
const FAULTS: [Fault; 8] = [
    Fault::Node,
    Fault::BothNodes,
    Fault::Broker,
    Fault::Keeper,
    Fault::NodeBeyondSession,
    Fault::BrokerBeyondSession,
    Fault::NodeSilent,
    Fault::NodeSilentBeyondSession,
];
/// A short outage ends before any session. A long one outlasts Keeper's session (10 s) and the
/// broker's (6 s).
const SHORT: (u64, u64) = (200, 3_000);
/// Suspension longer than other nodes' inserts wait, and shorter than Keeper's session.
const SILENCE: (u64, u64) = (5_000, 8_000);
/// Time an insert waits for a shard that doesn't answer. The server's default is 300 s.
const RECEIVE_TIMEOUT_S: &str = "3";
/// See [`SHORT`].
const LONG: (u64, u64) = (13_000, 16_000);
/// Time a kill waits for the next part. Without ingestion no part appears.
const PART_LIMIT: Duration = Duration::from_secs(10);
/// Maximum delay between a part's appearance and the kill: the time in which the block is committed
/// to Keeper and group.
const AFTER_PART_MS: u64 = 40;
/// Without a new row for this time the wait ends. It is longer than every session, retry and
/// backoff.
const QUIET: Duration = Duration::from_secs(75);
/// Limit for all messages to be stored at the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(600);

/// librdkafka's default of `fetch.message.max.bytes`.
const LIBRDKAFKA_FETCH_BYTES: u32 = 1 << 20;

/// Storage of the Kafka engine's offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// The default: exactly once.
    Keeper,
    /// For comparison: at least once.
    Group,
    /// For comparison: in Keeper, but with blocks larger than one poll returns after a crash.
    Hasty,
}

impl Offsets {
    /// Name of the test, its site and its report.
    pub fn test_name(self) -> &'static str {
        match self {
            Self::Keeper => "ingest",
            Self::Group => "ingest_group",
            Self::Hasty => "ingest_hasty",
        }
    }

    /// Starts the stack for this test. Its nodes wait for each other at most a few seconds.
    ///
    /// # Errors
    /// Fails if the stack doesn't start.
    pub fn stack(self, progress: &Progress) -> anyhow::Result<Stack> {
        let nodes = unmerged().setting("receive_timeout", RECEIVE_TIMEOUT_S);
        let nodes = match self {
            Self::Keeper | Self::Group => nodes,
            // librdkafka's small default for the broker's answers.
            Self::Hasty => nodes.fetch_bytes(LIBRDKAFKA_FETCH_BYTES),
        };
        Stack::start(StackSpec::default().nodes(nodes), progress)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Node,
    BothNodes,
    Broker,
    Keeper,
    NodeBeyondSession,
    BrokerBeyondSession,
    NodeSilent,
    NodeSilentBeyondSession,
}

/// Starts the stack for kill tests. Merges are off and blocks aren't collapsed on insert, so that
/// every duplicate row stays visible. (A ReplacingMergeTree would remove it sooner or later.)
///
/// # Errors
/// Fails if the stack doesn't start.
pub fn stack(progress: &Progress) -> anyhow::Result<Stack> {
    Stack::start(spec(), progress)
}

/// Returns a spec without merges, so that duplicate rows stay visible.
pub fn spec() -> StackSpec {
    StackSpec::default().nodes(unmerged())
}

/// Returns node options that keep every row as inserted.
pub(super) fn unmerged() -> NodeOptions {
    NodeOptions::default()
        .merge_tree("max_bytes_to_merge_at_max_space_in_pool", "1")
        .merge_tree("parts_to_throw_insert", "100000")
        .merge_tree("parts_to_delay_insert", "100000")
        .setting("optimize_on_insert", "0")
}

/// Runs `rounds` faults on a site of `stack`, and reports each to `say`.
///
/// # Errors
/// Fails if a server doesn't restart or the harness itself fails. Lost or duplicate rows aren't an
/// error.
pub fn run(
    stack: &Stack,
    offsets: Offsets,
    rounds: u32,
    seed: u64,
    say: &dyn Fn(String),
) -> anyhow::Result<Report> {
    let name = offsets.test_name();
    let mut site = Site::new(stack, name)?;
    match offsets {
        Offsets::Keeper | Offsets::Hasty => {}
        Offsets::Group => _ = site.set("events", "offsets", "group"),
    }
    site.must(&["topics", "apply"])?;
    let profile = Profile { teams: 20, people: 50_000, days: 2, until: NOON, again: 0, broken: 50 };
    let (brokers, backlog) = (site.brokers(), u64::from(rounds) * BACKLOG_PER_ROUND);
    let waiting = Load::start(&brokers, site.name(), profile, seed, UNLIMITED, backlog)?.wait()?;
    site.must(&["schema", "apply"])?;
    let folders = part_folders(&site)?;
    let load = Load::start(&brokers, site.name(), profile, !seed, EVENTS_PER_SECOND, u64::MAX)?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    for round in 0..rounds {
        let fault = FAULTS
            .get(round as usize)
            .copied()
            .unwrap_or_else(|| FAULTS[random.random_range(0..FAULTS.len())]);
        let begin = Instant::now();
        kills += inflict(&site, &folders, fault, &mut random)?;
        say(format!(
            "{name} round {}/{rounds}: {fault:?}, {:.1} s",
            round + 1,
            begin.elapsed().as_secs_f32()
        ));
        thread::sleep(Duration::from_millis(random.random_range(500..3_000)));
    }
    let produced = waiting + load.finish()?;
    let stored = site.drained(produced, QUIET, DRAIN_LIMIT)?;
    if stored.rows > stored.events {
        say(format!("duplicate rows, by produce time, shard and copies:\n{}", site.query(REPEATED)?));
    }
    site.remove()?;
    Ok(Report {
        name: name.to_owned(),
        rounds,
        kills,
        produced: produced.messages(),
        stored: stored.events + stored.dead,
        lost: produced.messages() - (stored.events + stored.dead),
        twice: (stored.rows - stored.events) + (stored.dead_rows - stored.dead),
        seed,
    })
}

/// Origin of duplicate rows. Their offsets and the second of production identify the fault.
const REPEATED: &str = "SELECT toString(time), shard, copies, count(), min(offset), max(offset) FROM (\
    SELECT any(_timestamp) AS time, any(_shard_num) AS shard, count() AS copies, any(_offset) AS offset \
    FROM {db}.events GROUP BY uuid HAVING copies > 1) GROUP BY time, shard, copies ORDER BY time, shard";

/// 2026-11-10 12:00:00 UTC in µs. All generated days are in one month, so that a block makes one
/// part per shard.
const NOON: i64 = 1_794_312_000_000_000;

/// Injects one fault and recovers from it. Returns the number of processes killed.
fn inflict(site: &Site<'_>, folders: &[PathBuf], fault: Fault, random: &mut StdRng) -> anyhow::Result<u32> {
    let stack = site.stack;
    let victim = random.random_range(0..stack.nodes().len());
    let (least, most) = match fault {
        Fault::NodeBeyondSession | Fault::BrokerBeyondSession | Fault::NodeSilentBeyondSession => LONG,
        Fault::NodeSilent => SILENCE,
        _ => SHORT,
    };
    let outage = Duration::from_millis(random.random_range(least..most));
    let delay = Duration::from_millis(random.random_range(0..AFTER_PART_MS));
    let watched = random.random_range(0..folders.len());
    after_a_part(&folders[watched])?;
    thread::sleep(delay);
    let kills = match fault {
        Fault::Node | Fault::NodeBeyondSession => {
            stack.nodes()[victim].kill();
            1
        }
        Fault::BothNodes => {
            thread::scope(|scope| stack.nodes().iter().for_each(|node| drop(scope.spawn(|| node.kill()))));
            stack.nodes().len() as u32
        }
        Fault::Broker | Fault::BrokerBeyondSession => {
            stack.broker().kill();
            1
        }
        Fault::Keeper => {
            stack.keeper().kill();
            1
        }
        Fault::NodeSilent | Fault::NodeSilentBeyondSession => {
            stack.nodes()[victim].suspend();
            0
        }
    };
    thread::sleep(outage);
    match fault {
        Fault::Node | Fault::NodeBeyondSession => stack.nodes()[victim].start()?,
        Fault::BothNodes => stack.nodes().iter().try_for_each(|node| node.start())?,
        Fault::Broker | Fault::BrokerBeyondSession => stack.broker().start()?,
        Fault::Keeper => stack.keeper().start()?,
        Fault::NodeSilent | Fault::NodeSilentBeyondSession => stack.nodes()[victim].resume(),
    }
    Ok(kills)
}

/// Returns the folder of `sharded_events`' parts on each node. Called once, because a node may be
/// down later.
fn part_folders(site: &Site<'_>) -> anyhow::Result<Vec<PathBuf>> {
    let sql = "SELECT data_paths[1] FROM system.tables WHERE database = '{db}' AND name = 'sharded_events'";
    (0..site.stack.nodes().len()).map(|node| Ok(PathBuf::from(site.query_on(node, sql)?))).collect()
}

/// Returns once `folder` has a new part, or after [`PART_LIMIT`].
fn after_a_part(folder: &Path) -> anyhow::Result<()> {
    let parts = || -> anyhow::Result<usize> {
        let entries = std::fs::read_dir(folder)?;
        Ok(entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("20")).count())
    };
    let (before, deadline) = (parts()?, Instant::now() + PART_LIMIT);
    while parts()? <= before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
