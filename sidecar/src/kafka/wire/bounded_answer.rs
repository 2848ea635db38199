//! Bytes of an answer that refuse counts which the answer can't hold.
//!
//! The decoder of kafka-protocol 0.18 reserves memory for a list by its count before it reads an
//! item, so an answer of 8 bytes could ask for 223 GB and abort the process. Its pull request 161
//! would bound that. With it this file can be deleted.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::buf::ByteBuf;

/// Largest count of a list, however long the answer is. An item takes up to 344 bytes of memory.
const MAX_COUNT: usize = 1 << 20;
/// Largest number in the non-flexible encoding, however short the answer is: it may be a partition
/// or a time in milliseconds.
const MAX_SMALL_NUMBER: usize = 1 << 16;

pub(super) struct BoundedAnswer {
    bytes: Bytes,
    /// Whether counts have a variable length. Otherwise they are 32-bit numbers, which look the
    /// same as partitions and times.
    is_flexible: bool,
    /// Value and bits of a number of variable length whose last byte was not read yet.
    started: (u64, u32),
}

impl BoundedAnswer {
    pub(super) fn with_header(bytes: Bytes, header_version: i16) -> Self {
        Self { bytes, is_flexible: header_version > 0, started: (0, 0) }
    }

    pub(super) fn non_flexible(bytes: Bytes) -> Self {
        Self::with_header(bytes, 0)
    }

    fn check(&self, number: u64, limit: usize) -> Result<(), TryGetError> {
        match usize::try_from(number) {
            Ok(number) if number <= limit => Ok(()),
            number => Err(TryGetError {
                requested: number.unwrap_or(usize::MAX),
                available: self.bytes.remaining(),
            }),
        }
    }
}

impl Buf for BoundedAnswer {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.started = (0, 0);
        self.bytes.advance(count);
    }

    /// Checks numbers of variable length, which are read byte by byte: every item of a list, and
    /// every byte of a text, takes at least one byte. They are one greater than the count.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.bytes.try_get_u8()?;
        let (value, bits) = self.started;
        let value = value | (u64::from(byte & 0x7f) << bits.min(56));
        self.started = if byte < 0x80 { (0, 0) } else { (value, bits + 7) };
        self.check(value.saturating_sub(1), self.bytes.remaining().min(MAX_COUNT))?;
        Ok(byte)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.started = (0, 0);
        let number = self.bytes.try_get_i32()?;
        if let (false, Ok(number)) = (self.is_flexible, u64::try_from(number)) {
            self.check(number, self.bytes.remaining().clamp(MAX_SMALL_NUMBER, MAX_COUNT))?;
        }
        Ok(number)
    }
}

impl ByteBuf for BoundedAnswer {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.peek_bytes(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.started = (0, 0);
        self.bytes.get_bytes(size)
    }
}
