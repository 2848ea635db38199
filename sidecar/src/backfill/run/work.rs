//! Steps from the reader to a shard's worker, in order.

use std::sync::Arc;

use crate::backfill::insert::{LedgerAnswer, PendingInsert};
use crate::backfill::place::{SliceId, UnitId};

/// One step of a unit on one shard.
pub(super) enum ShardWork {
    /// Blocks of the unit will follow.
    Begin(Arc<UnitOnShard>),
    /// A block to store.
    Block(Box<BlockWork>),
    /// No block of the unit follows.
    End(Arc<UnitOnShard>, End),
}

/// A unit on one shard.
#[derive(Debug)]
pub(super) struct UnitOnShard {
    pub(super) id: UnitId,
    /// The file's id in the ledger.
    pub(super) file: String,
    /// Whether the ledger has the unit as begun.
    pub(super) begun: bool,
    /// What the ledger knows of its blocks.
    pub(super) answer: LedgerAnswer,
}

/// Result of a unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Rows of the unit on this shard.
    pub(super) rows: u64,
    /// Rows of the unit that were rejected.
    pub(super) rejected: u64,
}

/// A block to be sent.
pub(super) struct BlockWork {
    pub(super) unit: Arc<UnitOnShard>,
    pub(super) slice: SliceId,
    pub(super) month: u32,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) checksum: u64,
    pub(super) pending_insert: PendingInsert,
}
