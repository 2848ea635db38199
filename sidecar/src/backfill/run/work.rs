//! What the reader hands to a shard, in order.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

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
    /// Whether an earlier run may have sent blocks of it.
    pub(super) in_doubt: bool,
}

/// How a unit ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Rows of the unit on this shard.
    pub(super) rows: u64,
    /// Rows of the unit that were rejected.
    pub(super) rejected: u64,
}

/// A block and its memory, which is given back when the block is stored.
pub(super) struct BlockWork {
    pub(super) unit: Arc<UnitOnShard>,
    pub(super) slice: SliceId,
    pub(super) month: u32,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) checksum: u64,
    pub(super) parcel: Parcel,
    pub(super) _memory: OwnedSemaphorePermit,
}
