//! Execution of a load by a reader thread and shard workers.
//!
//! One thread reads, maps and cuts rows: it iterates over the plan's units, a unit's slices and a
//! slice's blocks, and each block becomes a pending insert. Each shard has a worker that stores
//! blocks. The memory between them is bounded.

mod claims;
mod pass;
mod progress;
mod reader;
mod dry_run;
mod reject_reasons;
mod rejects;
mod shard;
mod unit;
mod unit_files;
mod unit_quarantine;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::interval;
use tracing::Instrument;

pub(crate) use self::dry_run::{ShardMonthSummary, dry_run};
use self::pass::PassContext;
pub(crate) use self::progress::{Count, Progress, Stop};
pub(crate) use self::reject_reasons::{RejectExample, RejectReason};
pub(crate) use self::rejects::RejectLimit;
pub(crate) use self::unit::UnitReader;
use super::insert::{AFTER_UNDO, Route, StoreError, settle};
use super::ledger::{LedgerError, cancellations, record_files};
use super::plan::{LoadPlan, confirm};
use super::read::MemoryBounds;
use super::retry::is_passing;
use crate::config::Config;
use crate::span;

/// Interval of the checks for a cancellation.
const CANCEL_PERIOD: Duration = Duration::from_secs(2);

/// Default validity of the ledger's answer. During a longer pause of this run, another run may have
/// overtaken it, and the shards may have forgotten its tokens.
pub(crate) const DEFAULT_ANSWER_HOLDS: Duration = Duration::from_secs(60);

/// Limits of a load.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of blocks that are built and not yet sent.
    pub(crate) block_bytes: u64,
    /// Memory budget for decoding.
    pub(crate) decoding: MemoryBounds,
    /// Limit on rejected rows.
    pub(crate) rejects: RejectLimit,
    /// The folder for rejected rows; `None` if they are stored already.
    pub(crate) quarantine: Option<PathBuf>,
    /// Validity of the ledger's answer. If the answer for a unit is older, each of its blocks is
    /// looked up before it is sent.
    pub(crate) answer_holds: Duration,
}

/// Faults of a load that decide how it goes on. Acknowledged blocks are in the ledger, and the same
/// command resumes from there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A user stopped the load, or another part of it failed.
    #[error("stopped")]
    Stopped(Stop),
    /// The ledger can't be read for the progress of a unit.
    #[error(transparent)]
    Asked(LedgerError),
    /// An undo of the file has begun.
    #[error("its file was undone while it was loaded: {AFTER_UNDO}")]
    Undone,
    /// A task panicked or was aborted, which is a bug in posthouse.
    #[error("a task of the load failed: please report this")]
    Task(#[from] JoinError),
}

/// Whether another pass over the plan may succeed.
fn is_temporary(fault: &anyhow::Error) -> bool {
    let asked = match fault.downcast_ref() {
        Some(RunError::Asked(LedgerError::Node(error) | LedgerError::ShardDown(error))) => is_passing(error),
        _ => false,
    };
    asked || matches!(fault.downcast_ref(), Some(StoreError::Gone { .. } | StoreError::Ghost { .. }))
}

/// Whether the load was stopped, which is no fault.
fn is_stop(fault: &anyhow::Error) -> bool {
    matches!(fault.downcast_ref(), Some(RunError::Stopped(_)))
}

/// Severity: 0 for a stop, 1 for a temporary fault, 2 for a permanent one.
fn weight(fault: &anyhow::Error) -> u8 {
    match fault {
        fault if is_stop(fault) => 0,
        fault if is_temporary(fault) => 1,
        _ => 2,
    }
}

/// Returns the worse fault of two parts of a load, or the first of two with equal severity.
fn worse(one: anyhow::Result<()>, other: anyhow::Result<()>) -> anyhow::Result<()> {
    match (one, other) {
        (Err(one), Err(other)) => Err(if weight(&other) > weight(&one) { other } else { one }),
        (one, other) => one.and(other),
    }
}

/// Loads the units of the plan that earlier runs have not done. Returns the reason of an early
/// stop, if there was one.
///
/// # Errors
/// Never [`RunError::Stopped`].
pub(crate) async fn run(
    config: &Config,
    route: &Route,
    plan: Arc<LoadPlan>,
    limits: &Limits,
    progress: Arc<Progress>,
) -> anyhow::Result<Option<Stop>> {
    let span = span::load(&plan.job);
    load(config, route, plan, limits, progress).instrument(span).await
}

async fn load(
    config: &Config,
    route: &Route,
    plan: Arc<LoadPlan>,
    limits: &Limits,
    progress: Arc<Progress>,
) -> anyhow::Result<Option<Stop>> {
    let cancelled = cancellations(route.any(), &config.database, &plan.job).await?;
    for records in plan.records() {
        record_files(&route.nodes, &config.database, records).await?;
    }
    if config.replicated {
        settle(&config.database, &route.nodes, "sharded_backfill_files").await?;
    }
    confirm(&config.database, route, &plan).await?;
    let watch = watch_for_cancel(
        config.database.clone(),
        route.clone(),
        plan.job.clone(),
        cancelled,
        progress.clone(),
    );
    let canceller = tokio::spawn(watch.in_current_span());
    let (database, replicated, stale_tokens) = (&config.database, config.replicated, Arc::default());
    let context =
        PassContext { database, replicated, route, plan, limits, progress: progress.clone(), stale_tokens };
    let loaded = context.passes().await;
    canceller.abort();
    loaded.map(|()| progress.stopped())
}

/// Stops the load if the job's cancellations, from any machine, outnumber the cancellations at its
/// start.
async fn watch_for_cancel(database: String, route: Route, job: String, before: u64, progress: Arc<Progress>) {
    let mut ticks = interval(CANCEL_PERIOD);
    for node in route.nodes.iter().cycle() {
        ticks.tick().await;
        // A node that does not answer is skipped.
        if cancellations(node, &database, &job).await.is_ok_and(|now| now > before) {
            return progress.stop(Stop::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeError;

    fn unreachable() -> NodeError {
        NodeError::Unreachable { name: "n".to_owned(), url: "u".to_owned(), problem: "p".to_owned() }
    }

    #[test]
    fn what_must_be_known_is_not_hidden_by_what_passes() {
        let stopped = || Err(RunError::Stopped(Stop::Failed).into());
        let gone = || Err(StoreError::Gone { shard: 1, month: 202_601, source: unreachable() }.into());
        let stays = || {
            let (shard, month, tries) = (2, 202_601, 9);
            Err(StoreError::Refused { shard, month, tries, source: unreachable() }.into())
        };
        let weight = |ended: anyhow::Result<()>| ended.err().map(|fault| weight(&fault));
        assert_eq!(weight(worse(stopped(), gone())), Some(1));
        assert_eq!(weight(worse(gone(), stopped())), Some(1));
        assert_eq!(weight(worse(gone(), stays())), Some(2));
        assert_eq!(weight(worse(stays(), gone())), Some(2));
        assert_eq!(weight(worse(Ok(()), stopped())), Some(0));
        assert_eq!(weight(worse(Ok(()), Ok(()))), None);
    }

    #[test]
    fn a_question_to_the_ledger_is_asked_again_and_a_record_is_not() {
        let ledger = || LedgerError::from(unreachable());
        assert!(is_temporary(&RunError::Asked(ledger()).into()) && !is_temporary(&ledger().into()));
    }
}
