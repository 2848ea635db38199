//! The bytes of one block: read in large pieces, kept in one buffer, handed out as ranges of it.

use std::io::{self, Read};
use std::ops::Range;

use super::{Place, READ_BYTES, RETAINED_BYTES, WireError};

/// Bits of a varint's byte that carry the number; the eighth says that another byte follows.
const VARINT_BITS: u32 = 7;

/// A reader with the bytes that have come since the block began.
pub(super) struct Input<R> {
    source: R,
    /// Initialised all the way, so that the pipe is read straight into it: `filled` says how much of it came.
    buffer: Vec<u8>,
    filled: usize,
    /// Where the next part of the block starts.
    position: usize,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), filled: 0, position: 0 }
    }

    /// Forgets the bytes of the block just read, so that ranges of it are valid no more, and tells whether
    /// another block follows.
    pub(super) fn next_block(&mut self) -> Result<bool, WireError> {
        self.forget(0);
        if self.buffer.len() > RETAINED_BYTES && self.filled <= RETAINED_BYTES {
            self.buffer.truncate(RETAINED_BYTES);
            self.buffer.shrink_to_fit();
        }
        Ok(self.filled > 0 || self.fill(Place::ColumnCount)?)
    }

    /// Where the next part of the block starts.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Forgets what was read from `start` on, so that what comes next takes its place: memory that is used again soon
    /// stays in the processor's cache.
    pub(super) fn forget(&mut self, start: usize) {
        let start = start.min(self.position);
        self.buffer.copy_within(self.position..self.filled, start);
        self.filled = start.saturating_add(self.filled.saturating_sub(self.position));
        self.position = start;
    }

    /// The bytes of the block that are there; ranges handed out refer to them.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Reads one number.
    #[inline]
    pub(super) fn varint(&mut self, place: Place) -> Result<u64, WireError> {
        match self.bytes().get(self.position) {
            Some(&byte) if byte < 0x80 => {
                self.position += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(place),
        }
    }

    /// Reads one number that has several bytes, or whose first byte has not come yet.
    #[cold]
    fn long_varint(&mut self, place: Place) -> Result<u64, WireError> {
        let mut value = 0_u64;
        let mut shift = 0;
        loop {
            let byte = self.byte(place)?;
            let bits = u64::from(byte & 0x7f);
            // A shift that loses bits cannot be undone.
            let shifted = bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits);
            value |= shifted.ok_or(WireError::Varint { place })?;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += VARINT_BITS;
        }
    }

    fn byte(&mut self, place: Place) -> Result<u8, WireError> {
        let range = self.take(1, place)?;
        self.bytes().get(range.start).copied().ok_or(WireError::End { place })
    }

    /// Reads a varint length of at most `limit`, then as many bytes.
    #[inline]
    pub(super) fn text(&mut self, limit: u64, place: Place) -> Result<Range<usize>, WireError> {
        let found = self.varint(place)?;
        let length = usize::try_from(found).ok().filter(|_| found <= limit);
        self.take(length.ok_or(WireError::TooMany { place, found, limit })?, place)
    }

    /// Reads up to `most` texts, as long as they have come whole and are short; long ones, and faults, are left to
    /// [`Input::text`].
    pub(super) fn short_texts_at_hand(&mut self, most: usize, ranges: &mut Vec<Range<usize>>) {
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        // A variable of its own: one in memory would make each text wait for the one before.
        let mut position = self.position;
        ranges.extend((0..most).map_while(|_| {
            let (length, text) = split_short_varint(bytes.get(position..)?)?;
            let start = bytes.len() - text.len();
            if length > text.len() {
                return None;
            }
            position = start + length;
            Some(start..position)
        }));
        self.position = position;
    }

    /// Waits until `length` bytes have come and steps over them.
    #[inline]
    pub(super) fn take(&mut self, length: usize, place: Place) -> Result<Range<usize>, WireError> {
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

    /// Reads what has come, once, and tells whether anything has; a full buffer doubles first.
    #[cold]
    fn fill(&mut self, place: Place) -> Result<bool, WireError> {
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

/// The varint that `bytes` start with, if it has one byte or two, and what follows it.
#[inline]
fn split_short_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [a @ ..0x80, rest @ ..] => Some((usize::from(*a), rest)),
        [a, b @ ..0x80, rest @ ..] => Some((usize::from(*a & 0x7f) | usize::from(*b) << VARINT_BITS, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place::RowCount;

    fn input(bytes: &[u8]) -> Input<&[u8]> {
        Input::new(bytes)
    }

    /// Varints as ClickHouse writes them: the count of rows of `SELECT … FROM numbers(N) FORMAT Native`.
    const NUMBERS: [(u64, &[u8]); 6] = [
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\x01"),
        (u64::MAX, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    ];

    #[test]
    fn numbers_of_every_length_are_read() {
        for (number, bytes) in NUMBERS {
            let mut input = input(bytes);
            assert_eq!(input.varint(PLACE).unwrap(), number);
            assert!(!input.next_block().unwrap(), "{number}: bytes are left");
        }
    }

    #[test]
    fn numbers_cut_short_are_named() {
        for (number, bytes) in NUMBERS {
            for cut in 0..bytes.len() {
                let end = input(&bytes[..cut]).varint(PLACE);
                assert!(matches!(end, Err(WireError::End { place: PLACE })), "{number} cut to {cut} bytes");
            }
        }
    }

    #[test]
    fn numbers_above_64_bits_are_refused() {
        for bytes in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"[..], &[0x80; 64]] {
            assert!(matches!(input(bytes).varint(PLACE), Err(WireError::Varint { place: PLACE })));
        }
    }

    #[test]
    fn short_texts_at_hand_are_those_that_have_come_whole() {
        let mut input = input(b"\x02ab\x00\x03cd");
        assert!(input.next_block().unwrap());
        let mut ranges = Vec::new();
        input.short_texts_at_hand(1, &mut ranges);
        assert_eq!(ranges.len(), 1);
        input.short_texts_at_hand(5, &mut ranges);
        assert_eq!(ranges, [1..3, 4..4]);
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
