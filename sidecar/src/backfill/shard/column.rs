//! The values of one column of a block, in chunks that are never moved and can be sent one by one.

use std::sync::Arc;

use bytes::Bytes;

use super::memory::{Memory, Room};

/// The first chunks: many shards and months make many columns, of which most are small.
const SMALLEST_CHUNK: usize = 4 << 10;
/// What is handed to a connection at once.
const LARGEST_CHUNK: usize = 1 << 20;
/// A chunk has this part (one in so many) of what its column has already, so that little is taken and not used.
const GROWTH: usize = 8;
/// From this part (one in so many) of a chunk on, what its next value does not fit into is given back.
const WORTH_GIVING_BACK: usize = 16;

/// Values one after the other. None lies across two chunks.
#[derive(Debug, Default)]
pub(super) struct Column {
    chunks: Vec<Chunk>,
    bytes: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    room: Room,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Column {
    /// The end of the last chunk, with room for a value of `bytes` bytes.
    pub(super) fn end(&mut self, bytes: usize, memory: &Arc<Memory>) -> &mut Vec<u8> {
        let fits = |chunk: &Chunk| chunk.bytes.capacity() - chunk.bytes.len() >= bytes;
        if !self.chunks.last().is_some_and(fits) {
            self.close();
            let size = (self.bytes / GROWTH).clamp(SMALLEST_CHUNK, LARGEST_CHUNK).max(bytes);
            // It waits for memory here, before the memory is there.
            let room = memory.take(size as u64);
            self.chunks.push(Chunk { bytes: Vec::with_capacity(size), room });
        }
        self.bytes += bytes;
        let last = self.chunks.len() - 1;
        &mut self.chunks[last].bytes
    }

    /// Gives back what the last chunk does not need, if that is much.
    fn close(&mut self) {
        let Some(Chunk { bytes, room }) = self.chunks.last_mut() else { return };
        if bytes.capacity() - bytes.len() > bytes.capacity() / WORTH_GIVING_BACK {
            bytes.shrink_to_fit();
            room.shrink(bytes.capacity() as u64);
        }
    }

    /// Bytes of all values.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// All values, in pieces; the memory of each is given back when it is dropped.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        self.chunks.into_iter().map(Bytes::from_owner)
    }

    /// All values, in pieces that hold whole ones.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(column: &mut Column, memory: &Arc<Memory>, bytes: usize) {
        column.end(bytes, memory).extend(std::iter::repeat_n(7, bytes));
    }

    #[test]
    fn no_value_is_cut_and_little_is_taken_that_is_not_used() {
        let memory = Memory::new(u64::MAX);
        let mut column = Column::default();
        for value in 0..30_000 {
            push(&mut column, &memory, value % 1_000);
        }
        assert!(column.pieces().all(|piece| piece.len() <= LARGEST_CHUNK));
        let bytes = column.bytes();
        assert_eq!(column.pieces().map(<[u8]>::len).sum::<usize>() as u64, bytes);
        assert!(memory.taken() < bytes + LARGEST_CHUNK as u64, "{} for {bytes}", memory.taken());
        for piece in column.into_pieces() {
            drop(piece);
        }
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn a_value_larger_than_a_chunk_has_one_of_its_own() {
        let memory = Memory::new(u64::MAX);
        let mut column = Column::default();
        for bytes in [10, 5 << 20, 10] {
            push(&mut column, &memory, bytes);
        }
        let pieces: Vec<usize> = column.pieces().map(<[u8]>::len).collect();
        assert_eq!(pieces, [10, 5 << 20, 10]);
        // What the first did not need was given back.
        assert!(memory.taken() < (5 << 20) + LARGEST_CHUNK as u64 + 64, "{}", memory.taken());
    }

    #[test]
    fn a_short_column_takes_little() {
        let memory = Memory::new(u64::MAX);
        let mut column = Column::default();
        push(&mut column, &memory, 1);
        assert_eq!(memory.taken(), SMALLEST_CHUNK as u64);
    }
}
