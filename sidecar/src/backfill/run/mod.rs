//! Execution of a load by a reader thread and shard workers.
//!
//! One thread reads, maps and cuts rows: it iterates over the plan's units, a unit's slices and a
//! slice's blocks, and each block becomes a pending insert. Each shard has a worker that stores
//! blocks. The memory between them is bounded.

mod pass;
mod progress;
mod reader;
mod dry_run;
mod rejects;
mod shard;
mod unit;
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
pub(crate) use self::rejects::{RejectLimit, TooManyRejects};
pub(crate) use self::unit::UnitReader;
use super::insert::{Route, StoreError};
use super::ledger::{LedgerError, cancellations, record_files};
use super::map::QuarantineError;
use super::plan::{LoadPlan, PlanError, confirm};
use super::read::{MemoryBounds, ReadError};
use super::retry::is_passing;
use super::source::SourceError;
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

/// A load that could not continue. Acknowledged blocks are in the ledger, and the same command
/// resumes from there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A file can't be opened, or has changed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Rows can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Rejected rows can't be written to the quarantine.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
    /// Too many rows were rejected.
    #[error(transparent)]
    Rejects(#[from] TooManyRejects),
    /// A block can't be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another run recorded the files first, with another cut.
    #[error(transparent)]
    LoadPlan(#[from] Box<PlanError>),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger can't be read for the progress of a unit.
    #[error(transparent)]
    Asked(LedgerError),
    /// A user stopped the load, or another part of it failed.
    #[error("stopped")]
    Stopped(Stop),
    /// A task panicked or was aborted, which is a bug in posthouse.
    #[error("a task of the load failed: please report this")]
    Task(#[from] JoinError),
}

impl RunError {
    /// Whether another pass over the plan may succeed.
    fn is_passing(&self) -> bool {
        match self {
            Self::Store(StoreError::Gone { .. } | StoreError::Ghost { .. }) => true,
            Self::Asked(LedgerError::Node(error) | LedgerError::ShardDown(error)) => is_passing(error),
            _ => false,
        }
    }

    /// Severity: 0 for a stop, 1 for a temporary fault, 2 for a permanent one.
    fn weight(&self) -> u8 {
        match self {
            Self::Stopped(_) => 0,
            error if error.is_passing() => 1,
            _ => 2,
        }
    }
}

/// Returns the worse fault of two parts of a load, or the first of two with equal severity.
fn worse(one: Result<(), RunError>, other: Result<(), RunError>) -> Result<(), RunError> {
    match (one, other) {
        (Err(one), Err(other)) => Err(if other.weight() > one.weight() { other } else { one }),
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
) -> Result<Option<Stop>, RunError> {
    let span = span::load(&plan.job);
    load(config, route, plan, limits, progress).instrument(span).await
}

async fn load(
    config: &Config,
    route: &Route,
    plan: Arc<LoadPlan>,
    limits: &Limits,
    progress: Arc<Progress>,
) -> Result<Option<Stop>, RunError> {
    let cancelled = cancellations(route.any(), &config.database, &plan.job).await?;
    record_files(&route.nodes, &config.database, &plan.records()).await?;
    confirm(&config.database, route, &plan).await.map_err(Box::new)?;
    let watch = watch_for_cancel(
        config.database.clone(),
        route.clone(),
        plan.job.clone(),
        cancelled,
        progress.clone(),
    );
    let canceller = tokio::spawn(watch.in_current_span());
    let (database, stale_tokens) = (&config.database, Arc::default());
    let context = PassContext { database, route, plan, limits, progress: progress.clone(), stale_tokens };
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
        let stopped = || Err(RunError::Stopped(Stop::Failed));
        let gone = || Err(StoreError::Gone { shard: 1, month: 202_601, source: unreachable() }.into());
        let stays = || {
            let (shard, month, tries) = (2, 202_601, 9);
            Err(StoreError::Refused { shard, month, tries, source: unreachable() }.into())
        };
        let weight = |ended: Result<(), RunError>| ended.err().map(|fault| fault.weight());
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
        assert!(RunError::Asked(ledger()).is_passing() && !RunError::Ledger(ledger()).is_passing());
    }
}
