//! Passes over the plan: one is enough, unless a shard fails while rows are sent that are then no longer in memory. The next
//! pass does what the same command would do: it skips what is stored, looks for what may be, and reads the rest again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::progress::{Progress, Stop};
use super::reader::Reader;
use super::shard::Shard;
use super::unit::Reading;
use super::{Limits, Plan, RunError, worse};
use crate::backfill::insert::{Ghosts, Route};
use crate::backfill::retry::{PATIENCE, wait};
use crate::backfill::shard::Memory;
use crate::node::Node;

/// Steps that wait for a shard's worker; the memory of blocks is bounded by itself.
const INBOX: usize = 4;

/// What every pass needs.
pub(super) struct Load<'a> {
    pub(super) database: &'a str,
    pub(super) route: &'a Route,
    pub(super) plan: Arc<Plan>,
    pub(super) limits: &'a Limits,
    pub(super) progress: Arc<Progress>,
    /// Of all passes.
    pub(super) ghosts: Arc<Ghosts>,
}

impl Load<'_> {
    /// Passes over the plan until everything is stored or somebody wants an end.
    ///
    /// # Errors
    /// A fault that does not pass, or one that did not while no block was stored for [`PATIENCE`].
    pub(super) async fn passes(&self) -> Result<(), RunError> {
        let begun = Arc::new(AtomicUsize::new(0));
        // Faults in a row, without a block stored since the first.
        let (mut tries, mut first, mut blocks) = (0, Instant::now(), 0);
        loop {
            let node = self.route.nodes[tries as usize % self.route.nodes.len()].clone();
            let fault = match self.pass(node, begun.clone()).await {
                // Whoever wanted the end knows why.
                Ok(()) | Err(RunError::Stopped(_)) => return Ok(()),
                Err(fault) => fault,
            };
            if tries == 0 || self.progress.blocks.get() > blocks {
                (tries, first, blocks) = (0, Instant::now(), self.progress.blocks.get());
            }
            if !fault.is_passing() || first.elapsed() > PATIENCE {
                return Err(fault);
            }
            tries += 1;
            if let RunError::Asked(error) = &fault {
                tracing::warn!("{error}; asking again");
            }
            tokio::select! {
                () = sleep(wait(tries)) => {}
                () = self.progress.until_stopped() => return Ok(()),
            }
        }
    }

    /// One pass over the plan, which asks `node` for what is known. Before the unit number `begun`, earlier passes may have
    /// sent blocks.
    async fn pass(&self, node: Node, begun: Arc<AtomicUsize>) -> Result<(), RunError> {
        self.progress.begin_pass();
        let mut tasks = JoinSet::new();
        let mut shards = BTreeMap::new();
        for destination in &self.route.destinations {
            let (inbox, work) = mpsc::channel(INBOX);
            shards.insert(destination.shard, inbox);
            let shard = Arc::new(Shard {
                job: self.plan.job.clone(),
                database: self.database.to_owned(),
                destination: destination.clone(),
                progress: self.progress.clone(),
                ghosts: self.ghosts.clone(),
            });
            tasks.spawn(shard.work(work));
        }
        let reading = Reading {
            plan: self.plan.clone(),
            rule: self.route.rule.clone(),
            memory: Memory::new(self.limits.block_bytes),
            limits: self.limits.clone(),
            progress: self.progress.clone(),
            runtime: Handle::current(),
        };
        let reader = Reader { reading, shards, database: self.database.to_owned(), node, begun };
        tasks.spawn_blocking(move || reader.read());
        let mut passed = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.map_err(RunError::from).and_then(|ended| ended);
            match &ended {
                Ok(()) | Err(RunError::Stopped(_)) => {}
                Err(fault) if fault.is_passing() => self.progress.end_pass(),
                Err(_) => self.progress.stop(Stop::Failed),
            }
            passed = worse(passed, ended);
        }
        passed
    }
}
