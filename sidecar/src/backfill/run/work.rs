//! What the reader hands to a shard, in order.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::backfill::insert::Parcel;
use crate::backfill::place::{SliceId, UnitId};

/// One step of a unit on one shard.
pub(super) enum Work {
    /// Blocks of the unit will follow.
    Begin(Arc<UnitOnShard>),
    /// A block to store.
    Block(Box<BlockWork>),
    /// No block of the unit follows.
    End(Arc<UnitOnShard>, End),
}

/// A unit, as a shard sees it.
#[derive(Debug)]
pub(super) struct UnitOnShard {
    pub(super) id: UnitId,
    /// What the ledger knows its file by.
    pub(super) file: String,
    /// Whether the ledger says that it was begun.
    pub(super) begun: bool,
    /// Whether another run, or an earlier pass of this one, may have sent blocks of it.
    pub(super) in_doubt: bool,
    /// When the ledger was asked for that.
    pub(super) asked_at: SystemTime,
    /// How long its answer holds.
    pub(super) answer_holds: Duration,
}

impl UnitOnShard {
    /// Whether a block of it may be there already, so that it must be looked for.
    pub(super) fn in_doubt(&self) -> bool {
        // By the clock on the wall, which goes on while a process or a machine sleeps; one that was set back is no proof.
        self.in_doubt || self.asked_at.elapsed().is_ok_and(|age| age > self.answer_holds)
    }
}

/// How a unit ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Rows of the unit on this shard.
    pub(super) rows: u64,
    /// Rows of the unit that were rejected.
    pub(super) rejected: u64,
}

/// A block on its way.
pub(super) struct BlockWork {
    pub(super) unit: Arc<UnitOnShard>,
    pub(super) slice: SliceId,
    pub(super) month: u32,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) checksum: u64,
    pub(super) parcel: Parcel,
}
