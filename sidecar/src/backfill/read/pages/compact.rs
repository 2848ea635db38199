//! The subset of Thrift's compact protocol that page headers use.

/// Limit on nested structs in skipped fields. A page header has two levels, so deeper nesting is
/// malicious.
const MAX_DEPTH: usize = 8;
/// Bytes that a variable-length integer of 64 bits may take.
const MAX_VARINT_BYTES: usize = 10;

/// A failed parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// The bytes end too early; more of them may help.
    Short,
    /// The bytes can't be a page header.
    Wrong,
}

/// Types of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThriftType {
    True,
    False,
    Byte,
    /// Of 16, 32 or 64 bits: all have the same encoding.
    Integer,
    Double,
    Bytes,
    List,
    Map,
    Struct,
}

/// The unread bytes.
pub(super) struct Compact<'a> {
    rest: &'a [u8],
}

impl<'a> Compact<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Calls `field` for every field of a struct, to read or skip its value.
    pub(super) fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, ThriftType) -> Result<(), Unread>,
    ) -> Result<(), Unread> {
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => i16::try_from(self.integer()?).map_err(|_| Unread::Wrong)?,
                step => id.checked_add(i16::from(step)).ok_or(Unread::Wrong)?,
            };
            field(self, id, kind(head & 0x0f)?)?;
        }
    }

    /// Reads a number of up to 64 bits.
    pub(super) fn integer(&mut self) -> Result<i64, Unread> {
        let zigzag = self.varint()?;
        let half = i64::try_from(zigzag >> 1).map_err(|_| Unread::Wrong)?;
        Ok(if zigzag & 1 == 0 { half } else { -half - 1 })
    }

    /// Reads a number that can't be negative.
    pub(super) fn count(&mut self) -> Result<u32, Unread> {
        // The format has 31 bits for it.
        let count = i32::try_from(self.integer()?).map_err(|_| Unread::Wrong)?;
        u32::try_from(count).map_err(|_| Unread::Wrong)
    }

    pub(super) fn skip(&mut self, kind: ThriftType) -> Result<(), Unread> {
        self.skip_at(kind, 0)
    }

    fn skip_at(&mut self, kind: ThriftType, depth: usize) -> Result<(), Unread> {
        if depth > MAX_DEPTH {
            return Err(Unread::Wrong);
        }
        match kind {
            ThriftType::True | ThriftType::False => Ok(()),
            ThriftType::Byte => self.byte().map(drop),
            ThriftType::Integer => self.varint().map(drop),
            ThriftType::Double => self.take(8),
            ThriftType::Bytes => {
                let length = self.varint()?;
                self.take(length.try_into().map_err(|_| Unread::Wrong)?)
            }
            ThriftType::Struct => self.fields(|inner, _, kind| inner.skip_at(kind, depth + 1)),
            // No page header has any.
            ThriftType::List | ThriftType::Map => Err(Unread::Wrong),
        }
    }

    fn varint(&mut self) -> Result<u64, Unread> {
        let mut value = 0_u64;
        for place in 0..MAX_VARINT_BYTES {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * place).unwrap_or(0)).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Unread::Wrong)
    }

    fn byte(&mut self) -> Result<u8, Unread> {
        let (byte, rest) = self.rest.split_first().ok_or(Unread::Short)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn take(&mut self, bytes: usize) -> Result<(), Unread> {
        self.rest = self.rest.get(bytes..).ok_or(Unread::Short)?;
        Ok(())
    }
}

fn kind(code: u8) -> Result<ThriftType, Unread> {
    Ok(match code {
        1 => ThriftType::True,
        2 => ThriftType::False,
        3 => ThriftType::Byte,
        4..=6 => ThriftType::Integer,
        7 => ThriftType::Double,
        8 => ThriftType::Bytes,
        9 | 10 => ThriftType::List,
        11 => ThriftType::Map,
        12 => ThriftType::Struct,
        _ => return Err(Unread::Wrong),
    })
}
