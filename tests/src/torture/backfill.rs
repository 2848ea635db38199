//! Kill test of backfills: loader, shard or network fails during a load, or during its undo.

mod undo;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use toml::Value;

use super::Report;
use crate::history::{Files, History};
use crate::site::Site;
use crate::stack::{Proxy, Stack, wait_until};

/// Rows of a round's history.
const ROWS: usize = 60_000;
/// 2026-11-10 12:00:00 UTC in µs. The [`DAYS`] before it lie in two partitions.
const UNTIL: i64 = 1_794_312_000_000_000;
/// See [`UNTIL`].
const DAYS: u32 = 20;
/// Small, so that a round has dozens of blocks and a fault can hit any pair of steps.
const SLICE_MIB: &str = "4";
/// A quarter of it is for blocks. It is small enough that the next slice waits for bytes of the
/// last.
const MEMORY_MIB: &str = "24";
/// Approximate bytes sent by a load of [`ROWS`]. Faults occur at a random point of it.
const SENT_BYTES: u64 = 35_000_000;
/// Deduplication window, small enough that a shard has forgotten a block's token when the load
/// resumes.
const WINDOW: i64 = 10;
/// Unrelated blocks that push the tokens out of the window.
const OTHERS: usize = 12;
/// Team of the unrelated blocks.
const OTHERS_TEAM: i64 = -1;
/// Downtime of a shard or the network: a restart, not an outage on which a loader would give up.
const OUTAGE_MS: (u64, u64) = (200, 4_000);
/// Limit for a load to end after any fault.
const LOAD_LIMIT: Duration = Duration::from_secs(240);
/// Limit on attempts to repeat a failed load. A starting shard refuses the first ones.
const TRIES: u32 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Loader,
    Shard,
    Both,
    Network,
    Pause,
}

const FAULTS: [Fault; 5] = [Fault::Loader, Fault::Shard, Fault::Both, Fault::Network, Fault::Pause];
/// Time for which a loader trusts the ledger's answer: shorter than a pause, longer than any other
/// round trip.
const ANSWER_HOLDS: &str = "8s";
/// Minimum pause of a loader while another one does its work: longer than [`ANSWER_HOLDS`].
const PAUSE: Duration = Duration::from_secs(10);

/// Proxies in front of all shards' HTTP interfaces; each can be cut.
struct Lines(Vec<Proxy>);

/// Runs `rounds` loads with one fault each on a site of `stack` (made by
/// [`ingest::stack`](super::ingest::stack)), and reports each to `say`.
///
/// # Errors
/// Fails if a server doesn't restart or a load never succeeds. Lost or duplicate rows aren't an
/// error.
pub fn run(stack: &Stack, rounds: u32, seed: u64, say: &dyn Fn(String)) -> anyhow::Result<Report> {
    let mut site = Site::new(stack, "backfill")?;
    site.set("events", "deduplication_window", WINDOW);
    site.apply()?;
    let lines = Lines::lay(&mut site)?;
    let folder = tempfile::tempdir()?;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut kills, mut unproven) = (0, 0);
    for round in 0..rounds {
        let fault = FAULTS
            .get(round as usize)
            .copied()
            .unwrap_or_else(|| FAULTS[random.random_range(0..FAULTS.len())]);
        let begin = Instant::now();
        let history = folder.path().join(round.to_string());
        write(&history, files(round), seed ^ u64::from(round))?;
        let team = (round + 1).to_string();
        let history = history.to_string_lossy();
        let route = if round % 3 == 2 { "distributed" } else { "direct" };
        let arguments = [
            "backfill",
            "run",
            &history,
            "--mapping",
            "posthog-export",
            "--team-id",
            &team,
            "--slice",
            SLICE_MIB,
            "--memory",
            MEMORY_MIB,
            "--route",
            route,
        ];
        // Every other load is taken back and done again.
        let is_undone = round % 2 == 1 || fault == Fault::Pause;
        let job = undo::job(&site, &arguments)?;
        // Only a paused loader should treat the ledger's answer as outdated.
        let holds: &[&str] = if fault == Fault::Pause { &["--recheck-after", ANSWER_HOLDS] } else { &[] };
        let mut child = site.spawn(&[&arguments[..], &["--no-verify"], holds].concat())?;
        let undone = is_undone.then_some(job.as_str());
        let mut killed = inflict(&site, &lines, fault, &arguments, undone, &mut child, &mut random)?;
        // The load may succeed despite an outage of a shard or the network. It fails if its initial
        // queries met the outage.
        let alone = if child.wait()?.success() { ", continued by itself" } else { "" };
        if is_undone && fault != Fault::Pause {
            killed += undo::take_back(&site, &lines, &job, &mut random)?;
        }
        kills += killed;
        forget(&site)?;
        unproven += u32::from(!go_on(&site, &arguments)?);
        let stored = site
            .query(&format!("SELECT count(), uniqExact(uuid) FROM {{db}}.events WHERE team_id = {team}"))?;
        say(format!(
            "backfill round {}/{rounds}: {fault:?}, {:?}, {route}, {killed} killed{alone}{}, stored {} events, {:.1} s",
            round + 1,
            files(round),
            if is_undone { ", undone" } else { "" },
            stored.replace('\t', " rows of "),
            begin.elapsed().as_secs_f32()
        ));
    }
    report(&site, rounds, kills, unproven, seed)
}

/// Large files, whose units are row groups, or small ones, whose units are files.
fn files(round: u32) -> Files {
    if round.is_multiple_of(2) { Files::Equal(2) } else { Files::Spans(120) }
}

fn write(folder: &Path, files: Files, seed: u64) -> anyhow::Result<()> {
    let history =
        History { rows: ROWS, files, row_group: 7_000, days: DAYS, until: UNTIL, people: 5_000, seed };
    history.write(folder)?;
    Ok(())
}

impl Lines {
    /// Replaces each node's address in the site's config by a proxy.
    fn lay(site: &mut Site<'_>) -> anyhow::Result<Self> {
        let mut lines = Vec::new();
        let config = site.config_mut();
        let shards =
            config.get_mut("shards").and_then(Value::as_array_mut).context("the config has no shards")?;
        for shard in shards {
            let replicas =
                shard.get_mut("replicas").and_then(Value::as_array_mut).context("a shard has no replicas")?;
            for replica in replicas {
                let replica = replica.as_table_mut().context("a replica is no table")?;
                let url = replica.get("url").and_then(Value::as_str).context("a replica has no url")?;
                let address = url.trim_start_matches("http://").trim_end_matches('/');
                let line = Proxy::start(address.parse::<SocketAddr>()?)?;
                replica.insert("url".to_owned(), format!("http://{}", line.address()).into());
                lines.push(line);
            }
        }
        Ok(Self(lines))
    }

    fn carried(&self) -> u64 {
        self.0.iter().map(Proxy::carried).sum()
    }
}

/// Injects one fault at a random point of the load, and recovers from it. Returns the number of
/// processes killed.
fn inflict(
    site: &Site<'_>,
    lines: &Lines,
    fault: Fault,
    arguments: &[&str],
    undone: Option<&str>,
    child: &mut Child,
    random: &mut StdRng,
) -> anyhow::Result<u32> {
    let outage = Duration::from_millis(random.random_range(OUTAGE_MS.0..OUTAGE_MS.1));
    let victim = random.random_range(0..site.stack.nodes().len());
    let threshold = lines.carried() + random.random_range(0..SENT_BYTES);
    while lines.carried() < threshold && child.try_wait()?.is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    let node = &site.stack.nodes()[victim];
    let kills = match fault {
        Fault::Loader => {
            child.kill()?;
            1
        }
        Fault::Shard => {
            node.kill();
            thread::sleep(outage);
            node.start()?;
            1
        }
        Fault::Both => {
            node.kill();
            child.kill()?;
            thread::sleep(outage);
            node.start()?;
            2
        }
        Fault::Network => {
            lines.0[victim].cut_after(random.random_range(0..2_000_000));
            thread::sleep(outage);
            lines.0[victim].restore();
            0
        }
        Fault::Pause => {
            pause(site, arguments, undone, child)?;
            0
        }
    };
    let end = Instant::now() + LOAD_LIMIT;
    while child.try_wait()?.is_none() {
        ensure!(Instant::now() < end, "a load did not end within {} s", LOAD_LIMIT.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(kills)
}

/// Pauses the loader, takes its load back, has another loader do all of its work and the shards
/// forget it, and resumes the first.
fn pause(site: &Site<'_>, arguments: &[&str], undone: Option<&str>, child: &Child) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
    let begin = Instant::now();
    // A loader that has already ended can't be paused; the round then tests no pause.
    let _ = kill_process(pid, Signal::STOP);
    if let Some(job) = undone {
        undo::finish(site, job, undo::PAUSED_LOADER)?;
    }
    go_on(site, arguments)?;
    forget(site)?;
    thread::sleep(PAUSE.saturating_sub(begin.elapsed()));
    let _ = kill_process(pid, Signal::CONT);
    Ok(())
}

/// Pushes the load's tokens out of every shard's window. The rows are inserted as values, because
/// ClickHouse keeps no token of an `INSERT … SELECT` (26.7). A node may have ended by itself when
/// the other one was killed, and restarts. Duplicate rows after that belong to the unrelated team.
fn forget(site: &Site<'_>) -> anyhow::Result<()> {
    for node in 0..site.stack.nodes().len() {
        for _ in 0..OTHERS {
            wait_until("a node to accept a row", LOAD_LIMIT, || {
                let inserted = site.query_on(
                    node,
                    &format!(
                        "INSERT INTO {{db}}.sharded_events (uuid, event, timestamp, team_id, distinct_id) \
                         VALUES (generateUUIDv4(), 'other', toDateTime64('2026-11-01 00:00:00', 6, 'UTC'), {OTHERS_TEAM}, 'somebody')"
                    ),
                );
                inserted.map_or_else(ControlFlow::Continue, |_| ControlFlow::Break(Ok(())))
            })?;
        }
    }
    Ok(())
}

/// Repeats the command until it succeeds. Returns true if the load was then verified.
fn go_on(site: &Site<'_>, arguments: &[&str]) -> anyhow::Result<bool> {
    let mut last = None;
    for _ in 0..TRIES {
        let outcome = site.posthouse(arguments)?;
        match outcome.code {
            0 => return Ok(true),
            3 => return Ok(false),
            _ => last = Some(outcome),
        }
        thread::sleep(Duration::from_millis(500));
    }
    match last {
        Some(outcome) => bail!("the load failed {TRIES} times, the last time with {outcome}"),
        None => bail!("the load was never started"),
    }
}

fn report(site: &Site<'_>, rounds: u32, kills: u32, unproven: u32, seed: u64) -> anyhow::Result<Report> {
    let counted = site.query(&format!(
        "SELECT count(), uniqExact(uuid), uniqExact(_offset) FROM {{db}}.events WHERE team_id != {OTHERS_TEAM}"
    ))?;
    let numbers: Vec<u64> = counted.split('\t').map(str::parse).collect::<Result<_, _>>()?;
    let [rows, uuids, places] = numbers[..] else { bail!("expected three numbers, found {counted}") };
    let produced = u64::from(rounds) * ROWS as u64;
    ensure!(uuids == places, "{uuids} distinct events have {places} distinct row ids");
    // Verification and this count must agree.
    let differs = rows != produced || uuids != produced;
    ensure!(differs || unproven == 0, "{unproven} loads were not proven, but no row is lost or stored twice");
    site.remove()?;
    Ok(Report {
        name: "backfill".to_owned(),
        rounds,
        kills,
        produced,
        stored: uuids,
        lost: produced - uuids.min(produced),
        twice: rows - uuids,
        seed,
    })
}
