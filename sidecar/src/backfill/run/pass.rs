//! Passes over the plan.
//!
//! One pass is enough, unless a shard fails during an insert whose rows are no longer in memory.
//! The next pass works as a run of the same command would: it skips stored blocks, looks up blocks
//! that may be stored, and reads the rest a second time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::Instrument;

use super::claims::BundleClaims;
use super::progress::{Progress, Stop};
use super::reader::UnitDispatcher;
use super::shard::ShardWorker;
use super::unit::UnitReader;
use super::{Limits, LoadPlan, RunError, is_stop, is_temporary, worse};
use crate::backfill::insert::{Route, StaleTokens};
use crate::backfill::retry::{PATIENCE, backoff};
use crate::node::Node;
use crate::span;

/// Steps that wait for a shard's worker. The memory of blocks has a separate limit.
const INBOX: usize = 4;

/// Inputs of every pass.
pub(super) struct PassContext<'a> {
    pub(super) database: &'a str,
    /// Whether the cluster's tables are replicated.
    pub(super) replicated: bool,
    pub(super) route: &'a Route,
    pub(super) plan: Arc<LoadPlan>,
    pub(super) limits: &'a Limits,
    pub(super) progress: Arc<Progress>,
    /// Shared by all passes.
    pub(super) stale_tokens: Arc<StaleTokens>,
}

impl PassContext<'_> {
    /// Repeats passes over the plan until all blocks are stored or a stop is requested.
    ///
    /// # Errors
    /// A permanent fault, or a temporary one that persists for [`PATIENCE`] without a stored block.
    pub(super) async fn passes(&self) -> anyhow::Result<()> {
        let begun = Arc::new(AtomicUsize::new(0));
        // Faults in a row, without a block stored since the first.
        let (mut tries, mut first, mut blocks, mut backoff) = (0, Instant::now(), 0, backoff());
        loop {
            let node = self.route.nodes[tries as usize % self.route.nodes.len()].clone();
            let fault = match self.pass(node, begun.clone()).await {
                // The reason is known to the requester of the stop.
                Ok(()) => return Ok(()),
                Err(fault) if is_stop(&fault) => return Ok(()),
                Err(fault) => fault,
            };
            if tries == 0 || self.progress.blocks.get() > blocks {
                (tries, first, blocks) = (0, Instant::now(), self.progress.blocks.get());
                backoff.reset();
            }
            if !is_temporary(&fault) || first.elapsed() > PATIENCE {
                return Err(fault);
            }
            tries += 1;
            let pause = backoff.wait();
            if let Some(RunError::Asked(error)) = fault.downcast_ref() {
                tracing::warn!(error = %error, retry_in = ?pause, "ledger query failed, retrying");
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.progress.until_stopped() => return Ok(()),
            }
        }
    }

    /// Makes one pass over the plan, and queries `node` for the ledger. Earlier passes may have
    /// sent blocks of the first `begun` units.
    async fn pass(&self, node: Node, begun: Arc<AtomicUsize>) -> anyhow::Result<()> {
        self.progress.begin_pass();
        let mut tasks = JoinSet::new();
        let mut shards = BTreeMap::new();
        for destination in &self.route.destinations {
            let (inbox, work) = mpsc::channel(INBOX);
            shards.insert(destination.shard, inbox);
            let shard = Arc::new(ShardWorker {
                job: self.plan.job.clone(),
                database: self.database.to_owned(),
                destination: destination.clone(),
                progress: self.progress.clone(),
                stale_tokens: self.stale_tokens.clone(),
            });
            tasks.spawn(shard.work(work).in_current_span());
        }
        let reading = UnitReader::new(self.route, self.plan.clone(), self.limits, self.progress.clone());
        let claims = BundleClaims {
            route: self.route.clone(),
            database: self.database.to_owned(),
            job: self.plan.job.clone(),
            replicated: self.replicated,
        };
        let reader =
            UnitDispatcher { reading, shards, database: self.database.to_owned(), node, claims, begun };
        tasks.spawn_blocking(span::in_current(move || reader.read()));
        let mut passed = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.map_err(|error| RunError::from(error).into()).flatten();
            match &ended {
                Ok(()) => {}
                Err(fault) if is_stop(fault) => {}
                Err(fault) if is_temporary(fault) => self.progress.end_pass(),
                Err(_) => self.progress.stop(Stop::Failed),
            }
            passed = worse(passed, ended);
        }
        passed
    }
}
