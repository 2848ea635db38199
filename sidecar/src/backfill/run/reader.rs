//! Reader thread: units in order, blocks to the shards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::RunError;
use super::claims::BundleClaims;
use super::progress::Stop;
use super::unit::UnitReader;
use super::work::{BlockWork, End, ShardWork, UnitOnShard};
use crate::backfill::insert::{LedgerAnswer, PendingInsert};
use crate::backfill::ledger::{Known, known_unit};
use crate::backfill::plan::{Bundle, Unit};
use crate::backfill::shard::{Block, Slice};
use crate::node::Node;
use crate::span;

/// Reads a plan's units and passes their blocks to the shards.
pub(super) struct UnitDispatcher {
    pub(super) reading: UnitReader,
    pub(super) shards: BTreeMap<u32, mpsc::Sender<ShardWork>>,
    pub(super) database: String,
    pub(super) node: Node,
    pub(super) claims: BundleClaims,
    /// Units of the plan that this run has begun, in this pass or an earlier one.
    pub(super) begun: Arc<AtomicUsize>,
}

impl UnitDispatcher {
    /// Reads all units that are not done.
    ///
    /// # Errors
    /// The first fault, or [`RunError::Stopped`], which is no fault.
    pub(super) fn read(self) -> anyhow::Result<()> {
        let plan = self.reading.plan.clone();
        let mut claimed = None;
        (0..).zip(&plan.units).try_for_each(|(number, unit)| {
            let span = span::unit(&plan.job, &unit.id);
            span.in_scope(|| self.unit(number, unit, &mut claimed))
        })
    }

    /// Passes on a unit, unless it is done. `claimed` is the bundle that was claimed last.
    fn unit(&self, number: usize, unit: &Unit, claimed: &mut Option<usize>) -> anyhow::Result<()> {
        let bundle = &self.reading.plan.bundles[unit.bundle];
        if let Some(stop) = self.reading.progress.ending() {
            return Err(RunError::Stopped(stop).into());
        }
        let (id, asked_at) = (unit.id.to_string(), SystemTime::now());
        // Queried for each unit, because another run, here or on another machine, may work on the
        // same job.
        let asked = known_unit(&self.node, &self.database, &bundle.id, &id);
        let known = self.reading.runtime.block_on(asked).map_err(RunError::Asked)?;
        if known.is_undone() {
            return Err(RunError::Undone.into());
        }
        let progress = &self.reading.progress;
        if known.is_done(&id, &bundle.shards()) {
            let rejected = if bundle.is_whole() { known.rejected(&id) } else { 0 };
            progress.before.add(unit.rows.saturating_sub(rejected));
            // The plan counts the rejected rows of units that were done when it was made.
            progress.rejected.add(if self.reading.plan.is_done(unit) { 0 } else { rejected });
            return Ok(());
        }
        let begun = known.is_begun(&id);
        if !begun && *claimed != Some(unit.bundle) {
            self.claim(bundle)?;
            *claimed = Some(unit.bundle);
        }
        let in_doubt = begun || number < self.begun.fetch_max(number + 1, Ordering::Relaxed);
        let answer = LedgerAnswer { is_begun: in_doubt, asked_at, holds: self.reading.limits.answer_holds };
        let on_shard = Arc::new(UnitOnShard { id: unit.id, file: bundle.id.clone(), begun, answer });
        self.everywhere(|_| ShardWork::Begin(on_shard.clone()))?;
        let (mut rows, mut slices) = (BTreeMap::new(), self.reading.slices(unit)?);
        for slice in &mut slices {
            self.hand_over(&on_shard, &known, slice?, &mut rows)?;
        }
        let rejected = slices.rejected();
        self.everywhere(|shard| {
            let rows = rows.get(&shard).copied().unwrap_or_default();
            ShardWork::End(on_shard.clone(), End { rows, rejected })
        })
    }

    /// Claims a bundle, unless a run had begun it when the plan was made.
    fn claim(&self, bundle: &Bundle) -> anyhow::Result<()> {
        match self.reading.plan.known.begun_files().contains(&bundle.id) {
            true => Ok(()),
            false => self.reading.runtime.block_on(self.claims.claim(bundle)),
        }
    }

    /// Sends a slice's blocks and counts their rows by shard.
    fn hand_over(
        &self,
        unit: &Arc<UnitOnShard>,
        known: &Known,
        slice: Slice,
        counted: &mut BTreeMap<u32, u64>,
    ) -> anyhow::Result<()> {
        let id = unit.id.to_string();
        for block in slice.blocks {
            let rows = u64::from(block.rows);
            *counted.entry(block.shard).or_default() += rows;
            if known.is_stored(&id, block.shard, slice.id.number(), block.month) {
                self.reading.progress.before.add(rows);
                continue;
            }
            let Block { shard, month, checksum, .. } = block;
            let bytes = block.bytes();
            let work = BlockWork {
                unit: unit.clone(),
                slice: slice.id,
                month,
                rows,
                bytes,
                checksum,
                pending_insert: PendingInsert::new(&unit.file, unit.id, slice.id, block),
            };
            self.send(shard, ShardWork::Block(Box::new(work)))?;
        }
        Ok(())
    }

    fn everywhere(&self, work: impl Fn(u32) -> ShardWork) -> anyhow::Result<()> {
        self.shards.keys().try_for_each(|shard| self.send(*shard, work(*shard)))
    }

    /// Sends a step to a shard's worker. A worker that has ended has failed, and reports its own
    /// error.
    fn send(&self, shard: u32, work: ShardWork) -> anyhow::Result<()> {
        let sent = self.shards.get(&shard).map(|inbox| inbox.blocking_send(work));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(RunError::Stopped(Stop::Failed).into()),
        }
    }
}
