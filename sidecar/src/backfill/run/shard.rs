//! Worker of one shard: inserts, throttle and ledger.
//!
//! Blocks are stored in order, at most a few at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tracing::Instrument;

use super::progress::Progress;
use super::work::{BlockWork, End, ShardWork, UnitOnShard};
use super::{RunError, worse};
use crate::backfill::insert::{Destination, StaleTokens, StoreError, Stored, Throttle, observe, store};
use crate::backfill::ledger::{Record, State, record};
use crate::node::NodeError;
use crate::span;

/// Inserts in flight per shard: while one is written, the next is being sent.
const INSERTS_A_SHARD: usize = 2;
/// Interval of the pressure measurements on a shard's nodes.
const PRESSURE_PERIOD: Duration = Duration::from_secs(1);

/// One shard, with the inputs of its worker.
#[derive(Debug)]
pub(super) struct ShardWorker {
    pub(super) job: String,
    pub(super) database: String,
    pub(super) destination: Destination,
    pub(super) progress: Arc<Progress>,
    pub(super) stale_tokens: Arc<StaleTokens>,
}

impl ShardWorker {
    /// Carries out all steps from the reader until its channel closes.
    ///
    /// # Errors
    /// The first block or record that can't be stored. Acknowledged blocks are in the ledger.
    pub(super) async fn work(self: Arc<Self>, mut inbox: mpsc::Receiver<ShardWork>) -> anyhow::Result<()> {
        let (throttle, mut allowed) = watch::channel(Throttle::None);
        let watcher = tokio::spawn(self.clone().watch(throttle).in_current_span());
        let mut under_way = JoinSet::new();
        let mut worked = Ok(());
        while let Some(work) = inbox.recv().await {
            worked = self.step(work, &mut under_way, &mut allowed).await;
            if worked.is_err() {
                break;
            }
        }
        // Blocks in flight are finished even after a fault, so that the ledger records them.
        let finished = finish(&mut under_way).await;
        watcher.abort();
        worse(worked, finished)
    }

    async fn step(
        self: &Arc<Self>,
        work: ShardWork,
        under_way: &mut JoinSet<anyhow::Result<()>>,
        allowed: &mut watch::Receiver<Throttle>,
    ) -> anyhow::Result<()> {
        match work {
            ShardWork::Begin(unit) if unit.begun => Ok(()),
            ShardWork::Begin(unit) => self.record(&unit, State::Begun, |_| ()).await,
            ShardWork::Block(block) => {
                while under_way.len() >= INSERTS_A_SHARD {
                    under_way.join_next().await.transpose().map_err(RunError::from)?.transpose()?;
                }
                self.wait(allowed).await?;
                let span = span::unit(&self.job, &block.unit.id);
                under_way.spawn(self.clone().store(block).instrument(span));
                Ok(())
            }
            ShardWork::End(unit, End { rows, rejected }) => {
                finish(under_way).await?;
                let fill = |record: &mut Record| (record.rows, record.rejected) = (rows, rejected);
                self.record(&unit, State::Done, fill).await
            }
        }
    }

    async fn store(self: Arc<Self>, mut block: Box<BlockWork>) -> anyhow::Result<()> {
        let shard = self.destination.shard;
        let unit = block.unit.clone();
        // Reports the cause of the wait. Returns whether to retry.
        let again = |error: &NodeError| {
            tracing::warn!(shard, error = %error, "insert failed, retrying");
            self.progress.slow(shard, Some(format!("retrying: {error}")));
            self.progress.ending().is_none()
        };
        let stored = store(
            &self.database,
            &self.destination,
            &mut block.pending_insert,
            &self.stale_tokens,
            &unit.answer,
            again,
        )
        .await;
        let stored = match (stored, self.progress.ending()) {
            (Err(_), Some(stop)) => return Err(RunError::Stopped(stop).into()),
            (stored, _) => stored.inspect_err(|error| self.gone(error))?,
        };
        let fill = |record: &mut Record| {
            (record.slice, record.month) = (block.slice.number(), block.month);
            (record.rows, record.checksum) = (block.rows, block.checksum);
        };
        self.record(&block.unit, State::Stored, fill).await?;
        match stored {
            Stored::Now => {
                self.progress.stored.add(block.rows);
                self.progress.bytes.add(block.bytes);
                self.progress.blocks.add(1);
            }
            Stored::Before => self.progress.before.add(block.rows),
        }
        Ok(())
    }

    /// If a block's rows must be read a second time, logs the cause and ends the pass at once.
    fn gone(&self, error: &StoreError) {
        let (shard, month, cause) = match error {
            StoreError::Gone { shard, month, source } => (*shard, month, source.to_string()),
            StoreError::Ghost { shard, month } => {
                (*shard, month, "its token is stale, and its rows are missing".to_owned())
            }
            _ => return,
        };
        tracing::warn!(
            shard,
            month,
            error = %cause,
            "block is not stored, reading its unit again"
        );
        self.progress.slow(shard, Some(format!("reading a unit again: {cause}")));
        self.progress.end_pass();
    }

    async fn record(
        &self,
        unit: &UnitOnShard,
        state: State,
        fill: impl FnOnce(&mut Record),
    ) -> anyhow::Result<()> {
        let Destination { shard, slot, ledger, .. } = self.destination;
        let mut line = Record::new(&self.job, &unit.file, unit.id, shard, slot, state);
        fill(&mut line);
        Ok(record(&self.destination.nodes, &self.database, ledger, &[line]).await?)
    }

    /// Waits until the next block may be sent.
    ///
    /// # Errors
    /// [`RunError::Stopped`] if the load is to end while inserts are paused.
    async fn wait(&self, allowed: &mut watch::Receiver<Throttle>) -> anyhow::Result<()> {
        loop {
            let throttle = allowed.borrow_and_update().clone();
            match (throttle, self.progress.ending()) {
                (Throttle::None, _) | (Throttle::Delay { .. }, Some(_)) => return Ok(()),
                (Throttle::Delay { pause, .. }, None) => {
                    sleep(pause).await;
                    return Ok(());
                }
                (Throttle::Pause { .. }, Some(stop)) => return Err(RunError::Stopped(stop).into()),
                // The watcher sends every second while the worker lives.
                (Throttle::Pause { .. }, None) => _ = allowed.changed().await,
            }
        }
    }

    /// Watches the shard's nodes. The node under the most pressure sets the throttle.
    async fn watch(self: Arc<Self>, throttle: watch::Sender<Throttle>) {
        let mut ticks = interval(PRESSURE_PERIOD);
        let mut is_warned = false;
        loop {
            ticks.tick().await;
            let mut hardest = Throttle::None;
            let nodes = self.destination.nodes.iter();
            for node in nodes.filter(|node| node.shard == self.destination.shard as usize) {
                match observe(node, &self.database).await {
                    Ok(Some(pressure)) => hardest = hardest.slower(Throttle::of(&pressure)),
                    Err(error) if error.code().is_some() && !std::mem::replace(&mut is_warned, true) => {
                        let error = error.to_string();
                        tracing::warn!(
                            error,
                            "load does not slow down: a node's parts and disks are unknown"
                        );
                    }
                    // The inserts handle a node that does not answer.
                    Ok(None) | Err(_) => {}
                }
            }
            let reason = (hardest != Throttle::None).then(|| hardest.to_string());
            self.progress.slow(self.destination.shard, reason);
            throttle.send_replace(hardest);
        }
    }
}

/// Waits for every insert in flight, then returns the worst fault.
async fn finish(under_way: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut finished = Ok(());
    while let Some(ended) = under_way.join_next().await {
        finished = worse(finished, ended.map_err(|error| RunError::from(error).into()).flatten());
    }
    finished
}
