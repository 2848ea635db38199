//! The one thread that reads: units in order, and their blocks to the shards as memory allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::RunError;
use super::progress::{Progress, Stop};
use super::unit::Reading;
use super::work::{BlockWork, End, UnitOnShard, Work};
use crate::backfill::insert::Parcel;
use crate::backfill::ledger::{Known, known_unit};
use crate::backfill::plan::{File, Unit};
use crate::backfill::shard::{Block, Slice};
use crate::node::Node;

/// Memory is handed out in pieces of this many bytes, so that the count fits a semaphore.
const PERMIT_BYTES: u64 = 1 << 10;

/// Reads a plan's units and hands their blocks to the shards.
pub(super) struct Reader {
    pub(super) reading: Reading,
    pub(super) shards: BTreeMap<u32, mpsc::Sender<Work>>,
    pub(super) memory: Memory,
    pub(super) database: String,
    pub(super) node: Node,
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
    fn take(&self, bytes: u64) -> Result<OwnedSemaphorePermit, RunError> {
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
    pub(super) fn read(self) -> Result<(), RunError> {
        let plan = self.reading.plan.clone();
        plan.units.iter().try_for_each(|unit| self.unit(unit, &plan.files[unit.file]))
    }

    fn unit(&self, unit: &Unit, file: &File) -> Result<(), RunError> {
        let (id, asked_at) = (unit.id.to_string(), SystemTime::now());
        // Asked anew for each unit: another run, here or on another machine, may be at the same job.
        let asked = known_unit(&self.node, &self.database, &file.id, &id);
        let known = self.reading.runtime.block_on(asked)?;
        if known.is_done(&id, &file.shards()) {
            let rejected = known.rejected(&id);
            Progress::add(&self.reading.progress.before, unit.rows.saturating_sub(rejected));
            return Ok(());
        }
        let begun = known.is_begun(&id);
        let on_shard = Arc::new(UnitOnShard { id: unit.id, file: file.id.clone(), begun, asked_at });
        self.everywhere(|_| Work::Begin(on_shard.clone()))?;
        let mut rows = BTreeMap::new();
        let rejected =
            self.reading.unit(unit, |slice| self.hand_over(&on_shard, &known, slice, &mut rows))?;
        self.everywhere(|shard| {
            let rows = rows.get(&shard).copied().unwrap_or_default();
            Work::End(on_shard.clone(), End { rows, rejected })
        })
    }

    /// Sends a slice's blocks, each as soon as there is memory for it; counts their rows by shard.
    fn hand_over(
        &self,
        unit: &Arc<UnitOnShard>,
        known: &Known,
        slice: Slice,
        counted: &mut BTreeMap<u32, u64>,
    ) -> Result<(), RunError> {
        let id = unit.id.to_string();
        for block in slice.blocks {
            let rows = u64::from(block.rows);
            *counted.entry(block.shard).or_default() += rows;
            if known.is_stored(&id, block.shard, slice.id.number(), block.month) {
                Progress::add(&self.reading.progress.before, rows);
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
