//! The one thread that reads: units in order, batch by batch, mapped, cut into blocks, and handed to the shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::progress::{Progress, Stop};
use super::rejects::TooManyRejects;
use super::work::{BlockWork, End, UnitOnShard, Work};
use super::{Limits, RunError};
use crate::backfill::insert::Parcel;
use crate::backfill::ledger::Known;
use crate::backfill::map::Reject;
use crate::backfill::plan::{File, Plan, Unit};
use crate::backfill::read::{Batch, batches};
use crate::backfill::shard::{Block, Slice, Slicer};
use posthouse_udf::shard::Weights;

/// Memory is handed out in pieces of this many bytes, so that the count fits a semaphore.
const PERMIT_BYTES: u64 = 1 << 10;

/// Reads a plan's units and hands their blocks to the shards.
pub(super) struct Reader {
    pub(super) plan: Arc<Plan>,
    pub(super) weights: Weights,
    pub(super) limits: Limits,
    pub(super) shards: BTreeMap<u32, mpsc::Sender<Work>>,
    pub(super) memory: Memory,
    pub(super) progress: Arc<Progress>,
}

/// Bytes that blocks may take which are read and not yet stored.
pub(super) struct Memory {
    permits: Arc<Semaphore>,
    all: u32,
    runtime: Handle,
}

impl Memory {
    pub(super) fn new(bytes: u64, runtime: Handle) -> Self {
        let all = u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { permits: Arc::new(Semaphore::new(all as usize)), all, runtime }
    }

    /// Waits until `bytes` are free. A block larger than everything takes everything.
    fn take(&self, bytes: u64) -> Result<tokio::sync::OwnedSemaphorePermit, RunError> {
        let wanted = u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX).clamp(1, self.all);
        let taken = self.runtime.block_on(self.permits.clone().acquire_many_owned(wanted));
        // Nobody closes it.
        taken.map_err(|_| RunError::Stopped(Stop::Failed))
    }
}

impl Reader {
    /// Reads all units that are not done.
    ///
    /// # Errors
    /// The first fault; or [`RunError::Stopped`], which is none.
    pub(super) fn read(mut self) -> Result<(), RunError> {
        let plan = self.plan.clone();
        let shards: Vec<u32> = self.shards.keys().copied().collect();
        for unit in &plan.units {
            if plan.known.is_done(&unit.id.to_string(), &shards) {
                Progress::add(&self.progress.before, unit.rows);
                continue;
            }
            self.unit(&plan.files[unit.file], unit, &plan.known)?;
        }
        Ok(())
    }

    fn unit(&mut self, file: &File, unit: &Unit, known: &Known) -> Result<(), RunError> {
        let in_doubt = known.is_begun(&unit.id.to_string());
        let on_shard = Arc::new(UnitOnShard { id: unit.id, in_doubt });
        self.everywhere(|_| Work::Begin(on_shard.clone()))?;
        let mut counted = Counted::default();
        let weights = self.weights.clone();
        let mut slicer = Slicer::new(unit.id, &weights, file.cut.slice_bytes);
        let input = Arc::new(self.memory.runtime.block_on(file.object.open())?);
        let (groups, columns) = (unit.row_groups.clone(), file.mapper.projection());
        for batch in batches(input.clone(), &file.footer, groups, columns, self.limits.decoding) {
            if let Some(stop) = self.progress.stopped() {
                return Err(RunError::Stopped(stop));
            }
            let batch = batch?;
            let mapped = file.mapper.map(&batch.rows);
            Progress::add(&self.progress.read, batch.rows.num_rows() as u64);
            Progress::add(&self.progress.rejected, mapped.rejects.len() as u64);
            counted.rejected += mapped.rejects.len() as u64;
            self.check(file, &batch, &mapped.rejects)?;
            slicer.push(&mapped.events, |slice| self.hand_over(&on_shard, slice, known, &mut counted))?;
        }
        input.unchanged()?;
        if let Some(slice) = slicer.finish() {
            self.hand_over(&on_shard, slice, known, &mut counted)?;
        }
        self.everywhere(|shard| {
            let rows = counted.rows.get(&shard).copied().unwrap_or_default();
            Work::End(on_shard.clone(), End { rows, rejected: counted.rejected })
        })
    }

    /// Whether so many rejects are allowed.
    fn check(&self, file: &File, batch: &Batch, rejects: &[Reject]) -> Result<(), RunError> {
        let (Some(first), limit) = (rejects.first(), self.limits.rejects) else { return Ok(()) };
        let rejected = self.plan.known.rejected() + Progress::get(&self.progress.rejected);
        if rejected <= limit.of(self.plan.rows()) {
            return Ok(());
        }
        Err(RunError::Rejects(TooManyRejects {
            rejected,
            limit,
            location: file.object.location.clone(),
            row_group: batch.row_group,
            row: batch.first_row + first.row as u64,
            reason: first.reason.clone(),
            quarantine: self.limits.quarantine.display().to_string(),
        }))
    }

    fn hand_over(
        &self,
        unit: &Arc<UnitOnShard>,
        slice: Slice,
        known: &Known,
        counted: &mut Counted,
    ) -> Result<(), RunError> {
        for block in slice.blocks {
            let rows = u64::from(block.rows);
            *counted.rows.entry(block.shard).or_default() += rows;
            if known.is_stored(block.shard, slice.id.number(), block.month) {
                Progress::add(&self.progress.before, rows);
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
                _memory: self.memory.take(bytes)?,
                parcel: Parcel::new(unit.id, slice.id, block),
            };
            self.send(shard, Work::Block(Box::new(work)))?;
        }
        Ok(())
    }

    fn everywhere(&self, work: impl Fn(u32) -> Work) -> Result<(), RunError> {
        self.shards.keys().try_for_each(|shard| self.send(*shard, work(*shard)))
    }

    /// A shard whose worker has ended has failed, which it reports itself.
    fn send(&self, shard: u32, work: Work) -> Result<(), RunError> {
        let sent = self.shards.get(&shard).map(|inbox| inbox.blocking_send(work));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(RunError::Stopped(Stop::Failed)),
        }
    }
}

#[derive(Default)]
struct Counted {
    /// Rows of the unit, by shard.
    rows: BTreeMap<u32, u64>,
    rejected: u64,
}
