//! The load itself: one thread reads, maps and cuts; each shard has a worker that stores; memory between them is bounded.

mod pass;
mod progress;
mod reader;
mod rehearse;
mod rejects;
mod shard;
mod unit;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::interval;

use self::pass::Load;
pub use self::progress::{Count, Progress, Stop};
pub use self::rehearse::{Share, rehearse};
pub use self::rejects::{RejectLimit, TooManyRejects};
pub(crate) use self::unit::Reading;
use super::insert::{Route, StoreError};
use super::ledger::{LedgerError, cancellations, record_files};
use super::map::QuarantineError;
use super::plan::{Plan, PlanError, confirm};
use super::read::{Bounds, ReadError};
use super::retry::is_passing;
use super::source::SourceError;
use crate::config::Config;

/// How often somebody's wish to cancel is looked for.
const CANCEL_PERIOD: Duration = Duration::from_secs(2);

/// How long the ledger's answer holds by default. A run that was paused for longer may have been overtaken by another one, and
/// the shards may have forgotten its tokens.
pub const DEFAULT_ANSWER_HOLDS: Duration = Duration::from_secs(60);

/// What a load keeps to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes that blocks may take which are built and not yet sent.
    pub block_bytes: u64,
    /// What may be in memory while rows are decoded.
    pub decoding: Bounds,
    /// How many rows may be rejected.
    pub rejects: RejectLimit,
    /// The folder that rejected rows go to; `None` if they are there already.
    pub quarantine: Option<PathBuf>,
    /// How long the ledger's answer holds: a block of a unit that was asked for earlier is looked for before it is sent.
    pub answer_holds: Duration,
}

/// A load that could not go on. What had been acknowledged is in the ledger, and the same command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file can't be opened, or has changed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Rows can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Rejected rows can't be put aside.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
    /// Too many rows were rejected.
    #[error(transparent)]
    Rejects(#[from] TooManyRejects),
    /// A block can't be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another run was first with another cut.
    #[error(transparent)]
    Plan(#[from] Box<PlanError>),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger does not say what is known of a unit.
    #[error(transparent)]
    Asked(LedgerError),
    /// Somebody asked for an end.
    #[error("stopped")]
    Stopped(Stop),
    /// A task ended by a fault of posthouse.
    #[error("a task of the load ended: please report this")]
    Task(#[from] JoinError),
}

impl RunError {
    /// Whether another pass over the plan may do what this one could not.
    fn is_passing(&self) -> bool {
        match self {
            Self::Store(StoreError::Gone { .. } | StoreError::Ghost { .. }) => true,
            Self::Asked(LedgerError::Node(error) | LedgerError::ShardDown(error)) => is_passing(error),
            _ => false,
        }
    }

    /// How much of an end it is: nobody's fault, one that passes, one that stays.
    fn weight(&self) -> u8 {
        match self {
            Self::Stopped(_) => 0,
            error if error.is_passing() => 1,
            _ => 2,
        }
    }
}

/// What two parts of a load came to: its worst fault, and of two alike the first.
fn worse(one: Result<(), RunError>, other: Result<(), RunError>) -> Result<(), RunError> {
    match (one, other) {
        (Err(one), Err(other)) => Err(if other.weight() > one.weight() { other } else { one }),
        (one, other) => one.and(other),
    }
}

/// Loads what the plan has and earlier runs have not done. Returns why it ended early, if somebody wanted that.
///
/// # Errors
/// See [`RunError`]; never [`RunError::Stopped`].
pub async fn run(
    config: &Config,
    route: &Route,
    plan: Arc<Plan>,
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
    let canceller = tokio::spawn(watch);
    let (database, ghosts) = (&config.database, Arc::default());
    let load = Load { database, route, plan, limits, progress: progress.clone(), ghosts };
    let loaded = load.passes().await;
    canceller.abort();
    loaded.map(|()| progress.stopped())
}

/// Stops the load when somebody has cancelled the job, from any machine, more often than when it began.
async fn watch_for_cancel(database: String, route: Route, job: String, before: u64, progress: Arc<Progress>) {
    let mut ticks = interval(CANCEL_PERIOD);
    for node in route.nodes.iter().cycle() {
        ticks.tick().await;
        // A node that does not answer is passed over.
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
