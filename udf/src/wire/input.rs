//! Buffered input of one block: large reads, parts returned as ranges.

use std::io::{self, Read};
use std::ops::Range;

use super::{Position, READ_BYTES, RETAINED_BYTES, WireError, varint};

/// A reader with the bytes that have arrived since the block began.
pub(super) struct Input<R> {
    source: R,
    /// Fully initialized, so that reads go straight into it. `filled` is the number of bytes
    /// received.
    buffer: Vec<u8>,
    filled: usize,
    /// Start of the next part of the block.
    position: usize,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), filled: 0, position: 0 }
    }

    /// Drops the bytes of the block just read, which invalidates their ranges, and returns whether
    /// another block follows.
    pub(super) fn next_block(&mut self) -> Result<bool, WireError> {
        self.forget(0);
        if self.buffer.len() > RETAINED_BYTES && self.filled <= RETAINED_BYTES {
            self.buffer.truncate(RETAINED_BYTES);
            self.buffer.shrink_to_fit();
        }
        Ok(self.filled > 0 || self.fill(Position::ColumnCount)?)
    }

    /// Start of the next part of the block.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Drops the bytes from `start` to the current position, so that the bytes after them move
    /// there. Memory that is reused soon stays in the processor's cache.
    pub(super) fn forget(&mut self, start: usize) {
        let start = start.min(self.position);
        self.buffer.copy_within(self.position..self.filled, start);
        self.filled = start.saturating_add(self.filled.saturating_sub(self.position));
        self.position = start;
    }

    /// The block's bytes received so far. Returned ranges refer to them.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Reads one number.
    #[inline]
    pub(super) fn varint(&mut self, place: Position) -> Result<u64, WireError> {
        loop {
            let found = varint::split(self.rest()).map_err(|varint::TooLong| WireError::Varint { place })?;
            if let Some((value, rest)) = found {
                self.position = self.filled.saturating_sub(rest.len());
                return Ok(value);
            }
            if !self.fill(place)? {
                return Err(WireError::End { place });
            }
        }
    }

    /// Reads a varint length of at most `limit`, then that many bytes.
    #[inline]
    pub(super) fn text(&mut self, limit: u64, place: Position) -> Result<Range<usize>, WireError> {
        let found = self.varint(place)?;
        let length = usize::try_from(found).ok().filter(|_| found <= limit);
        self.take(length.ok_or(WireError::TooMany { place, found, limit })?, place)
    }

    /// Waits for a complete string of at most `limit` bytes, without consuming it.
    pub(super) fn wait_for_text(&mut self, limit: u64, place: Position) -> Result<(), WireError> {
        let start = self.position;
        self.text(limit, place)?;
        self.position = start;
        Ok(())
    }

    /// Returns the next two bytes without consuming them.
    pub(super) fn next_two(&mut self, place: Position) -> Result<[u8; 2], WireError> {
        loop {
            if let [first, second, ..] = self.rest() {
                return Ok([*first, *second]);
            }
            if !self.fill(place)? {
                return Err(WireError::End { place });
            }
        }
    }

    /// The bytes received and not yet consumed.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes().get(self.position..).unwrap_or_default()
    }

    /// Skips up to `length` received bytes.
    pub(super) fn skip(&mut self, length: usize) {
        self.position = self.position.saturating_add(length).min(self.filled);
    }

    /// Waits for `length` bytes, consumes them, and returns their range.
    #[inline]
    pub(super) fn take(&mut self, length: usize, place: Position) -> Result<Range<usize>, WireError> {
        let start = self.position;
        let end = start.saturating_add(length);
        while self.filled < end {
            if !self.fill(place)? {
                return Err(WireError::End { place });
            }
        }
        self.position = end;
        Ok(start..end)
    }

    /// Reads once into the free part of the buffer, and returns whether bytes arrived. A full
    /// buffer doubles first.
    #[cold]
    fn fill(&mut self, place: Position) -> Result<bool, WireError> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled.saturating_mul(2).max(READ_BYTES), 0);
        }
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        loop {
            match self.source.read(free) {
                Ok(count) => {
                    self.filled += count.min(free.len());
                    return Ok(count > 0);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(WireError::Read { place, cause }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Position = Position::RowCount;

    fn input(bytes: &[u8]) -> Input<&[u8]> {
        Input::new(bytes)
    }

    #[test]
    fn numbers_are_waited_for() {
        let mut whole = Input::new(b"\x80".chain(&b"\x80"[..]).chain(&b"\x01\x07"[..]));
        assert_eq!((whole.varint(PLACE).unwrap(), whole.varint(PLACE).unwrap()), (16384, 7));
        assert!(matches!(input(b"\x80\x80").varint(PLACE), Err(WireError::End { place: PLACE })));
        assert!(matches!(input(&[0x80; 64]).varint(PLACE), Err(WireError::Varint { place: PLACE })));
    }

    #[test]
    fn a_text_that_is_waited_for_is_still_to_be_read() {
        let mut input = Input::new(b"\x03a".chain(&b"bc\x00"[..]));
        input.wait_for_text(3, PLACE).unwrap();
        assert_eq!((input.position(), input.bytes()), (0, &b"\x03abc\x00"[..]));
        input.skip(4);
        assert_eq!(input.varint(PLACE).unwrap(), 0);
        assert!(matches!(input.wait_for_text(3, PLACE), Err(WireError::End { place: PLACE })));
    }

    #[test]
    fn what_was_forgotten_makes_room_for_what_comes() {
        let mut input = Input::new(b"headabc".chain(&b"de"[..]));
        input.take(4, PLACE).unwrap();
        assert_eq!(input.take(2, PLACE).unwrap(), 4..6);
        input.forget(4);
        assert_eq!(input.take(3, PLACE).unwrap(), 4..7);
        assert_eq!(input.bytes(), b"headcde");
    }

    #[test]
    fn a_huge_length_costs_no_memory_before_its_bytes_come() {
        let mut input = input(b"only these");
        assert!(matches!(input.take(usize::MAX, PLACE), Err(WireError::End { place: PLACE })));
        assert_eq!(input.buffer.len(), READ_BYTES);
    }

    #[test]
    fn the_memory_of_a_large_block_is_given_back() {
        let large = vec![7; RETAINED_BYTES + 1];
        let mut input = input(&large);
        input.take(large.len(), PLACE).unwrap();
        assert!(input.buffer.len() > RETAINED_BYTES);
        assert!(!input.next_block().unwrap());
        assert!(input.buffer.capacity() <= RETAINED_BYTES + READ_BYTES);
    }
}
