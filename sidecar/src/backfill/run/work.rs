//! Steps from the reader to a shard's worker, in order.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::backfill::insert::PendingInsert;
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
    /// Whether another run, or an earlier pass of this one, may have sent blocks of it.
    pub(super) in_doubt: bool,
    /// Time of the ledger's answer on `begun`.
    pub(super) asked_at: SystemTime,
    /// Validity of the ledger's answer.
    pub(super) answer_holds: Duration,
}

impl UnitOnShard {
    /// Whether a block of the unit may be stored already and must be looked up before it is sent.
    pub(super) fn in_doubt(&self) -> bool {
        // Uses the wall clock, because it advances while a process or a machine sleeps. A clock
        // that was set back hides the age, so the answer counts as old; that costs a lookup.
        self.in_doubt || self.asked_at.elapsed().map_or(true, |age| age > self.answer_holds)
    }
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
