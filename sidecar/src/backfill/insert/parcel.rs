//! A block with what it is looked for and known by, on its way to its shard.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::backfill::place::{SLICE_ROWS, SliceId, UnitId};
use crate::backfill::shard::{Block, Native};

/// A block with its places, on its way. What was sent of it is no longer in memory.
pub struct Parcel {
    pub(super) shard: u32,
    pub(super) month: u32,
    pub(super) rows: u64,
    pub(super) places: (u64, u64),
    pub(super) times: (i64, i64),
    pub(super) token: String,
    pub(super) head: Bytes,
    pub(super) pieces: VecDeque<Bytes>,
    /// Bytes of `pieces` before any was sent.
    bytes: usize,
}

impl Parcel {
    /// The block of `unit`'s slice. Its token depends on the source's bytes and the cut alone.
    pub fn new(unit: UnitId, slice: SliceId, block: Block) -> Self {
        let (shard, month, rows) = (block.shard, block.month, u64::from(block.rows));
        let (number, checksum, times) = (slice.number(), block.checksum, (block.first, block.last));
        let Native { head, pieces } = block.into_native();
        Self {
            shard,
            month,
            rows,
            places: (slice.offset(0), slice.offset(SLICE_ROWS - 1)),
            times,
            token: format!("posthouse-{unit}-{number:x}-{shard}-{month}-{rows}-{checksum:x}"),
            head,
            bytes: bytes(&pieces),
            pieces,
        }
    }

    /// Whether it can be sent (once more) from its start.
    pub(super) fn is_whole(&self) -> bool {
        bytes(&self.pieces) == self.bytes
    }
}

fn bytes(pieces: &VecDeque<Bytes>) -> usize {
    pieces.iter().map(Bytes::len).sum()
}
