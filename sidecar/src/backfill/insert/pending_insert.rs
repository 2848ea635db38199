//! A pending insert: a block with its token and row ids.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::backfill::place::{SLICE_ROWS, SliceId, UnitId};
use crate::backfill::shard::{Block, Native};

/// A block that is being sent, with its range of row ids. Sent pieces are no longer in memory.
pub(crate) struct PendingInsert {
    /// The file's id in the ledger.
    pub(super) file: String,
    pub(super) shard: u32,
    pub(super) month: u32,
    pub(super) rows: u64,
    pub(super) places: (u64, u64),
    pub(super) times: (i64, i64),
    pub(super) token: String,
    /// Names of the columns beyond the core.
    pub(super) extras: Vec<String>,
    pub(super) head: Bytes,
    pub(super) pieces: VecDeque<Bytes>,
    /// Bytes of `pieces` before any was sent.
    bytes: usize,
}

impl PendingInsert {
    /// Creates the insert of a block in `unit`'s slice. Its token depends only on the source's
    /// bytes and the cut.
    pub(crate) fn new(file: &str, unit: UnitId, slice: SliceId, block: Block) -> Self {
        let (shard, month, rows) = (block.shard, block.month, u64::from(block.rows));
        let (number, checksum, times) = (slice.number(), block.checksum, (block.first, block.last));
        let extras = block.extra_names();
        let Native { head, pieces } = block.into_native();
        Self {
            file: file.to_owned(),
            shard,
            month,
            rows,
            places: (slice.offset(0), slice.offset(SLICE_ROWS - 1)),
            times,
            extras,
            token: format!("posthouse-{unit}-{number:x}-{shard}-{month}-{rows}-{checksum:x}"),
            head,
            bytes: bytes(&pieces),
            pieces,
        }
    }

    /// Whether no piece was sent yet, so that the block can be sent from its start.
    pub(super) fn is_whole(&self) -> bool {
        bytes(&self.pieces) == self.bytes
    }
}

fn bytes(pieces: &VecDeque<Bytes>) -> usize {
    pieces.iter().map(Bytes::len).sum()
}
