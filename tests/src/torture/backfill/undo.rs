//! Faults during the undo of a load.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::Value;

use super::{LOAD_LIMIT, Lines, OUTAGE_MS, TRIES};
use crate::site::Site;

/// Time until a fault, which is about the duration of an undo.
const UNTIL_FAULT_MS: (u64, u64) = (0, 2_500);
/// Time for which a load may send blocks. No loader lives when an undo begins, so only bytes in
/// buffers may still arrive.
const NO_LOADER: &str = "3s";

/// The same for a loader that is paused: a server drops its requests after 30 s.
pub(super) const PAUSED_LOADER: &str = "35s";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UndoFault {
    Command,
    Shard,
    Both,
    Network,
}

const UNDO_FAULTS: [UndoFault; 4] =
    [UndoFault::Command, UndoFault::Shard, UndoFault::Both, UndoFault::Network];

/// The id of the job of a run command, from its plan.
pub(super) fn job(site: &Site<'_>, arguments: &[&str]) -> anyhow::Result<String> {
    let mut plan = arguments.to_vec();
    plan[1] = "plan";
    plan.push("--json");
    let plan: Value = serde_json::from_str(&site.must(&plan)?.stdout)?;
    Ok(plan["job"].as_str().context("a job")?.to_owned())
}

/// Undoes a job with one fault at a random time, and then to its end. Returns the number of
/// processes killed.
pub(super) fn take_back(
    site: &Site<'_>,
    lines: &Lines,
    job: &str,
    random: &mut StdRng,
) -> anyhow::Result<u32> {
    if !stop(site, job)? {
        return Ok(0);
    }
    let fault = UNDO_FAULTS[random.random_range(0..UNDO_FAULTS.len())];
    let outage = Duration::from_millis(random.random_range(OUTAGE_MS.0..OUTAGE_MS.1));
    let until = Duration::from_millis(random.random_range(UNTIL_FAULT_MS.0..UNTIL_FAULT_MS.1));
    let victim = random.random_range(0..site.stack.nodes().len());
    let mut child = site.spawn(&["backfill", "undo", job, "--execute", "--recheck-after", NO_LOADER])?;
    thread::sleep(until);
    let node = &site.stack.nodes()[victim];
    let kills = match fault {
        UndoFault::Command => {
            child.kill()?;
            1
        }
        UndoFault::Shard => {
            node.kill();
            thread::sleep(outage);
            node.start()?;
            1
        }
        UndoFault::Both => {
            node.kill();
            child.kill()?;
            thread::sleep(outage);
            node.start()?;
            2
        }
        UndoFault::Network => {
            lines.0[victim].cut_after(random.random_range(0..20_000));
            thread::sleep(outage);
            lines.0[victim].restore();
            0
        }
    };
    let end = Instant::now() + LOAD_LIMIT;
    while child.try_wait()?.is_none() {
        ensure!(Instant::now() < end, "an undo did not end within {} s", LOAD_LIMIT.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
    finish(site, job, NO_LOADER)?;
    Ok(kills)
}

/// Undoes a job to its end, and counts that no row is left.
pub(super) fn finish(site: &Site<'_>, job: &str, answer_holds: &str) -> anyhow::Result<()> {
    if !stop(site, job)? {
        return Ok(());
    }
    let mut last = None;
    for _ in 0..TRIES {
        let outcome =
            site.posthouse(&["backfill", "undo", job, "--execute", "--recheck-after", answer_holds])?;
        if outcome.code == 0 {
            let verified = site.must(&["backfill", "verify", job])?;
            ensure!(verified.stdout.contains("is undone"), "{verified}");
            return Ok(());
        }
        ensure!(outcome.code == 1, "{outcome}");
        last = Some(outcome);
        thread::sleep(Duration::from_millis(500));
    }
    match last {
        Some(outcome) => bail!("the undo failed {TRIES} times, the last time with {outcome}"),
        None => bail!("the undo was never started"),
    }
}

/// Cancels a job. Returns whether it exists: a loader may end before it has recorded its files.
fn stop(site: &Site<'_>, job: &str) -> anyhow::Result<bool> {
    let mut last = None;
    for _ in 0..TRIES {
        let outcome = site.posthouse(&["backfill", "cancel", job])?;
        if outcome.code == 0 || outcome.stderr.contains("can't be cancelled") {
            return Ok(true);
        }
        if outcome.stderr.contains("there is no job") {
            return Ok(false);
        }
        last = Some(outcome);
        thread::sleep(Duration::from_millis(500));
    }
    bail!("can't cancel job {job}: {}", last.map_or_else(String::new, |outcome| outcome.to_string()))
}
