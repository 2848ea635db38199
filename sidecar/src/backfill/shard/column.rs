//! Values of one column of a block, in chunks.
//!
//! Chunks are never moved and can be sent one by one.

use std::sync::Arc;

use bytes::Bytes;

use super::memory::{CHUNK, Chunk, Memory};

/// Size of the first chunks. It is small because many shards and months make many short columns.
const MIN_CHUNK: usize = 4 << 10;
/// A chunk has 1/8 of its column's current size, so that little memory is reserved and unused.
const GROWTH: usize = 8;
/// A full chunk is shrunk if more than 1/16 of its capacity is unused.
const WORTH_GIVING_BACK: usize = 16;

/// Values in sequence. No value spans two chunks.
#[derive(Debug, Default)]
pub(super) struct NativeColumn {
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl NativeColumn {
    /// Returns the end of the last chunk, with room for a value of `bytes` bytes.
    pub(super) fn end(&mut self, bytes: usize, memory: &Arc<Memory>) -> &mut Vec<u8> {
        let fits = |chunk: &Chunk| chunk.bytes.capacity() - chunk.bytes.len() >= bytes;
        if !self.chunks.last().is_some_and(fits) {
            self.close();
            let size = (self.bytes / GROWTH).clamp(MIN_CHUNK, CHUNK).max(bytes);
            self.chunks.push(memory.take(size));
        }
        self.bytes += bytes;
        let last = self.chunks.len() - 1;
        &mut self.chunks[last].bytes
    }

    /// Appends values of equal size, as many at once as fit into a chunk.
    pub(super) fn extend<const N: usize>(
        &mut self,
        mut values: impl ExactSizeIterator<Item = [u8; N]>,
        memory: &Arc<Memory>,
    ) {
        while values.len() > 0 {
            let end = self.end(N, memory);
            let (start, room) = (end.len(), (end.capacity() - end.len()) / N);
            let bytes = room.min(values.len()) * N;
            end.resize(start + bytes, 0);
            // `slots` must come first, because `zip` takes no value after its first iterator ends.
            let slots = end[start..].as_chunks_mut().0.iter_mut();
            slots.zip(values.by_ref()).for_each(|(slot, value)| *slot = value);
            // `end` has already counted one value.
            self.bytes += bytes - N;
        }
    }

    /// Releases the unused end of the last chunk if it is large.
    fn close(&mut self) {
        let Some(chunk) = self.chunks.last_mut() else { return };
        let bytes = &chunk.bytes;
        if bytes.capacity() - bytes.len() > bytes.capacity() / WORTH_GIVING_BACK {
            chunk.shrink();
        }
    }

    /// Size of all values in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// All values in pieces. Each piece releases its memory when dropped.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        self.chunks.into_iter().map(Bytes::from_owner)
    }

    /// All values, in pieces that contain whole values.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(column: &mut NativeColumn, memory: &Arc<Memory>, bytes: usize) {
        column.end(bytes, memory).extend(std::iter::repeat_n(7, bytes));
    }

    #[test]
    fn no_value_is_cut_and_little_is_taken_that_is_not_used() {
        let memory = Memory::new(u64::MAX);
        let mut column = NativeColumn::default();
        for value in 0..30_000 {
            push(&mut column, &memory, value % 1_000);
        }
        assert!(column.pieces().all(|piece| piece.len() <= CHUNK));
        let bytes = column.pieces().map(<[u8]>::len).sum::<usize>();
        assert_eq!(column.bytes(), bytes as u64);
        assert!(memory.taken() < bytes + CHUNK, "{} for {bytes}", memory.taken());
        for piece in column.into_pieces() {
            drop(piece);
        }
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn a_value_larger_than_a_chunk_has_one_of_its_own() {
        let memory = Memory::new(u64::MAX);
        let mut column = NativeColumn::default();
        for bytes in [10, 5 << 20, 10] {
            push(&mut column, &memory, bytes);
        }
        let pieces: Vec<usize> = column.pieces().map(<[u8]>::len).collect();
        assert_eq!(pieces, [10, 5 << 20, 10]);
        // The unused end of the first chunk was released.
        assert!(memory.taken() < (5 << 20) + CHUNK + 64, "{}", memory.taken());
    }

    #[test]
    fn values_of_one_size_fill_the_chunks() {
        let memory = Memory::new(u64::MAX);
        let (mut one_by_one, mut at_once) = (NativeColumn::default(), NativeColumn::default());
        let numbers = 0..300_000_u32;
        for number in numbers.clone() {
            one_by_one.end(4, &memory).extend_from_slice(&number.to_le_bytes());
        }
        for part in [0..1, 1..1, 1..200_000, 200_000..300_000] {
            at_once.extend(numbers.clone().skip(part.start).take(part.len()).map(u32::to_le_bytes), &memory);
        }
        assert_eq!(at_once.bytes(), one_by_one.bytes());
        assert!(at_once.pieces().eq(one_by_one.pieces()));
    }

    #[test]
    fn a_short_column_takes_little() {
        let memory = Memory::new(u64::MAX);
        let mut column = NativeColumn::default();
        push(&mut column, &memory, 1);
        assert_eq!(memory.taken(), MIN_CHUNK);
    }
}
