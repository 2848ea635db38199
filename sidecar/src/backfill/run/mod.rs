//! The load itself: one thread reads, maps and cuts; each shard has a worker that stores; memory between them is bounded.

mod progress;
mod reader;
mod rehearse;
mod rejects;
mod shard;
mod unit;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::interval;

pub use self::progress::{Progress, Stop};
use self::reader::{Memory, Reader};
pub use self::rehearse::{Share, rehearse};
pub use self::rejects::{RejectLimit, TooManyRejects};
use self::shard::Shard;
pub(crate) use self::unit::Reading;
use super::insert::{Route, StoreError};
use super::ledger::{LedgerError, cancellations, record_files};
use super::map::QuarantineError;
use super::plan::{Plan, PlanError, confirm};
use super::read::{Bounds, ReadError};
use super::source::SourceError;
use crate::config::Config;

/// Steps that wait for a shard's worker; the memory of blocks is bounded by itself.
const INBOX: usize = 4;
/// How often somebody's wish to cancel is looked for.
const CANCEL_PERIOD: Duration = Duration::from_secs(2);

/// What a load keeps to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes that blocks may take which are read and not yet stored.
    pub block_bytes: u64,
    /// What may be in memory while rows are decoded.
    pub decoding: Bounds,
    /// How many rows may be rejected.
    pub rejects: RejectLimit,
    /// The folder that rejected rows go to; `None` if they are there already.
    pub quarantine: Option<PathBuf>,
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
    /// Somebody asked for an end.
    #[error("stopped")]
    Stopped(Stop),
    /// A task ended by a fault of posthouse.
    #[error("a task of the load ended: please report this")]
    Task(#[from] JoinError),
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
    let mut tasks = JoinSet::new();
    let mut shards = BTreeMap::new();
    for destination in &route.destinations {
        let (inbox, work) = mpsc::channel(INBOX);
        shards.insert(destination.shard, inbox);
        let shard = Arc::new(Shard {
            job: plan.job.clone(),
            database: config.database.clone(),
            destination: destination.clone(),
            progress: progress.clone(),
        });
        tasks.spawn(shard.work(work));
    }
    let runtime = Handle::current();
    let memory = Memory::new(limits.block_bytes, runtime.clone());
    let (rule, limits) = (route.rule.clone(), limits.clone());
    let reading = Reading { plan, rule, limits, progress: progress.clone(), runtime };
    let (database, node) = (config.database.clone(), route.any().clone());
    let reader = Reader { reading, shards, memory, database, node };
    tasks.spawn_blocking(move || reader.read());
    let mut fault = None;
    while let Some(ended) = tasks.join_next().await {
        match ended.map_err(RunError::from).and_then(|ended| ended) {
            Ok(()) | Err(RunError::Stopped(_)) => {}
            Err(error) => {
                progress.stop(Stop::Failed);
                fault.get_or_insert(error);
            }
        }
    }
    canceller.abort();
    fault.map_or_else(|| Ok(progress.stopped()), Err)
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
