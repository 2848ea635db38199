//! Row ids in `_offset`, and ids of units and slices.
//!
//! For an event from Kafka, `_offset` is the message's offset, which is never negative. For a row
//! from Parquet, `_offset` has the highest bit set, followed by 43 bits of the slice id and 20 bits
//! of the row's number in the slice. Every loaded row can therefore be found, counted and compared
//! long after the deduplication window has forgotten its block.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Bits of `_offset` for the row's number in its slice.
pub(crate) const ROW_BITS: u32 = 20;
/// Maximum rows of a slice, below the size of ClickHouse's own blocks
/// (`min_insert_block_size_rows`, 1,048,449).
pub(crate) const SLICE_ROWS: u32 = 1 << ROW_BITS;
/// Set in the `_offset` of every row from Parquet and of no message.
const LOADED: u64 = 1 << 63;

/// Id of consecutive row groups of one file under one mapping. The same bytes in the same cut have
/// the same id on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnitId(u128);

/// Id of consecutive rows of a unit whose blocks are sent together. 43 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SliceId(u64);

impl UnitId {
    /// Id of these parts. Their order and boundaries matter.
    pub(crate) fn of(parts: &[&str]) -> Self {
        let digest = digest(parts);
        Self(digest.iter().take(16).fold(0, |id, byte| id << 8 | u128::from(*byte)))
    }

    /// Id of the unit's slice with this number, from 0.
    ///
    /// Two slices of different units have the same id with a probability of 2⁻⁴³. The verification,
    /// which compares checksums of every column, would detect this.
    pub(crate) fn slice(self, number: u32) -> SliceId {
        let digest = digest(&[&self.to_string(), &number.to_string()]);
        let id = digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte));
        SliceId(id >> (ROW_BITS + 1))
    }
}

/// From the digits of the ledger.
impl FromStr for UnitId {
    type Err = ParseIntError;

    fn from_str(digits: &str) -> Result<Self, ParseIntError> {
        u128::from_str_radix(digits, 16).map(Self)
    }
}

/// 32 hexadecimal digits, as in the ledger.
impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl SliceId {
    /// The number, as in the ledger.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// `_offset` of the slice's row with this number, below [`SLICE_ROWS`].
    pub(crate) fn offset(self, row: u32) -> u64 {
        LOADED | self.0 << ROW_BITS | u64::from(row)
    }
}

/// SHA-256 of the parts, each preceded by its length.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// Id of these parts in 16 hexadecimal digits.
pub(crate) fn short_id(parts: &[&str]) -> String {
    digest(parts).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_change() {
        // Ledgers of released versions contain these ids. Other values would load files a second
        // time.
        let unit = UnitId::of(&["a", "bc"]);
        assert_eq!(unit.to_string(), "9a8acca1b6c6c0befd3fbc756aed625d");
        assert_eq!(unit.slice(7).offset(5), 16_431_860_373_252_997_125);
        assert_ne!(unit, UnitId::of(&["ab", "c"]));
        assert_eq!(unit.to_string().parse(), Ok(unit));
    }

    #[test]
    fn offsets_are_marked_apart_and_in_order() {
        let (first, second) = (UnitId::of(&["a"]).slice(0), UnitId::of(&["a"]).slice(1));
        assert!(first.offset(0) >= 1 << 63 && first != second);
        assert_eq!(first.offset(SLICE_ROWS - 1) - first.offset(0), u64::from(SLICE_ROWS) - 1);
        assert_eq!((first.offset(9) & !(1 << 63)) >> ROW_BITS, first.number());
    }
}
