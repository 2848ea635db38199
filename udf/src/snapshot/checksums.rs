//! Checksums of the chunks of a file, verified before first use.

use std::io::{self, Write};

use xxhash_rust::xxh3::xxh3_64;

use super::CHUNK;

/// Writes bytes through, and keeps a checksum of each chunk.
pub(super) struct ChunkWriter<W> {
    inner: W,
    chunk: Vec<u8>,
    sums: Vec<u64>,
    written: u64,
}

impl<W: Write> ChunkWriter<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, chunk: Vec::with_capacity(CHUNK), sums: Vec::new(), written: 0 }
    }

    /// Bytes so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Fills up to a multiple of `alignment` with zeros.
    pub(super) fn align(&mut self, alignment: u64) -> io::Result<()> {
        while !self.written.is_multiple_of(alignment) {
            self.write_all(&[0])?;
        }
        Ok(())
    }

    /// Ends the last chunk, and returns the writer and the checksums of all chunks.
    pub(super) fn finish(mut self) -> io::Result<(W, Vec<u64>)> {
        if !self.chunk.is_empty() {
            self.end_chunk()?;
        }
        Ok((self.inner, self.sums))
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        self.sums.push(xxh3_64(&self.chunk));
        self.inner.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

impl<W: Write> Write for ChunkWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let free = CHUNK.saturating_sub(self.chunk.len());
        let taken = bytes.get(..free.min(bytes.len())).unwrap_or_default();
        self.chunk.extend_from_slice(taken);
        self.written = self.written.saturating_add(u64::try_from(taken.len()).unwrap_or(u64::MAX));
        if self.chunk.len() == CHUNK {
            self.end_chunk()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The last chunks, one in so many, are verified before a lookup needs them.
const LAST_SHARE: usize = 8;

/// The chunks of a file that were found undamaged, a bit each.
#[derive(Debug)]
pub(super) struct VerifiedChunks {
    bits: Vec<u64>,
    sums: Vec<u64>,
    /// Chunks with bytes that lookups read, which are the first ones.
    for_lookups: usize,
    /// Those of them that are not verified yet.
    unverified: usize,
    /// The next of them to verify before it is used.
    next: usize,
}

impl VerifiedChunks {
    /// No chunk is verified yet. Lookups read the first `lookup_bytes` bytes.
    pub(super) fn new(sums: Vec<u64>, lookup_bytes: usize) -> Self {
        let (bits, for_lookups) = (vec![0; sums.len().div_ceil(64)], lookup_bytes.div_ceil(CHUNK));
        Self { bits, sums, for_lookups, unverified: for_lookups, next: 0 }
    }

    /// Whether all chunks that lookups read are undamaged.
    #[inline(always)]
    pub(super) fn is_complete(&self) -> bool {
        self.unverified == 0
    }

    /// Verifies a further chunk that lookups read, once they have read most chunks by themselves.
    /// Few ids may be looked up over and over in a file larger than the memory.
    pub(super) fn verify_next(&mut self, bytes: &[u8]) {
        if self.unverified.saturating_mul(LAST_SHARE) > self.for_lookups.max(LAST_SHARE) {
            return;
        }
        while self.next < self.for_lookups && self.is_verified(self.next) {
            self.next += 1;
        }
        if self.next < self.for_lookups {
            self.verify(bytes, self.next);
            self.next += 1;
        }
    }

    /// Whether the chunks of `bytes` from `start` to `end` are undamaged. `bytes` begins at the
    /// first chunk.
    pub(super) fn are_undamaged(&mut self, bytes: &[u8], start: usize, end: usize) -> bool {
        let mut chunk = start / CHUNK;
        let last = end.saturating_sub(1).max(start) / CHUNK;
        while chunk <= last {
            if !self.is_verified(chunk) && !self.verify(bytes, chunk) {
                return false;
            }
            chunk += 1;
        }
        true
    }

    fn is_verified(&self, chunk: usize) -> bool {
        self.bits.get(chunk / 64).is_some_and(|bits| bits >> (chunk % 64) & 1 == 1)
    }

    fn verify(&mut self, bytes: &[u8], chunk: usize) -> bool {
        let start = chunk.saturating_mul(CHUNK);
        let end = start.saturating_add(CHUNK).min(bytes.len());
        let (Some(part), Some(sum)) = (bytes.get(start..end), self.sums.get(chunk)) else { return false };
        let is_undamaged = xxh3_64(part) == *sum;
        if is_undamaged && let Some(bits) = self.bits.get_mut(chunk / 64) {
            *bits |= 1 << (chunk % 64);
            self.unverified = self.unverified.saturating_sub(usize::from(chunk < self.for_lookups));
        }
        is_undamaged
    }
}
