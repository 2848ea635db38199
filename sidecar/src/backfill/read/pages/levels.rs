//! Levels of a page: where its values begin, and the number of values of its longest row.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::Page;

/// Bytes that a run's header may take.
const MAX_HEADER_BYTES: usize = 5;

/// Returns the number of values of the longest row in `page`, or part of a row. Levels that can't
/// be read count as one row.
pub(super) fn longest_row(page: &Page, max_level: i16) -> u64 {
    let values = page.num_values();
    let longest =
        repetition_levels(page).and_then(|levels| Levels { rest: levels, max_level }.longest(values));
    longest.unwrap_or(values).into()
}

/// Returns the bytes of a page behind its levels. `None` if their length can't be read.
pub(super) fn values(page: &Page, max_repetition: i16, max_definition: i16) -> Option<Bytes> {
    match page {
        Page::DataPage { buf, rep_level_encoding, def_level_encoding, .. } => {
            let levels = [(max_repetition, rep_level_encoding), (max_definition, def_level_encoding)];
            let mut rest = buf.clone();
            for (_, encoding) in levels.into_iter().filter(|(max_level, _)| *max_level > 0) {
                if *encoding != Encoding::RLE {
                    return None;
                }
                let (_, behind) = split_levels(&rest)?;
                rest = rest.slice_ref(behind);
            }
            Some(rest)
        }
        Page::DataPageV2 { buf, rep_levels_byte_len, def_levels_byte_len, .. } => {
            let levels = rep_levels_byte_len.checked_add(*def_levels_byte_len)?;
            buf.get(usize::try_from(levels).ok()?..).map(|values| buf.slice_ref(values))
        }
        Page::DictionaryPage { .. } => None,
    }
}

fn repetition_levels(page: &Page) -> Option<&[u8]> {
    match page {
        Page::DataPage { buf, rep_level_encoding: Encoding::RLE, .. } => Some(split_levels(buf)?.0),
        Page::DataPageV2 { buf, rep_levels_byte_len, .. } => {
            buf.get(..usize::try_from(*rep_levels_byte_len).ok()?)
        }
        _ => None,
    }
}

/// Splits levels, which begin with their length, from what follows.
fn split_levels(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// Runs of equal levels and of packed ones.
struct Levels<'a> {
    rest: &'a [u8],
    max_level: i16,
}

impl Levels<'_> {
    /// Returns the values of the longest row among the first `values` levels.
    fn longest(mut self, mut values: u32) -> Option<u32> {
        let width = u16::BITS - self.max_level.unsigned_abs().leading_zeros();
        let (mut longest, mut row) = (0, 0_u32);
        while values > 0 {
            let header = self.header()?;
            let count = if header & 1 == 1 { (header >> 1).checked_mul(8)? } else { header >> 1 };
            if count == 0 {
                return None;
            }
            let count = count.min(values);
            if header & 1 == 0 {
                let bytes = self.take(usize::try_from(width.div_ceil(8)).ok()?)?;
                // A new row begins with level 0.
                row = if bytes.iter().all(|byte| *byte == 0) { 1 } else { row.saturating_add(count) };
                longest = longest.max(row);
            } else {
                let bytes = self.take(usize::try_from((header >> 1).checked_mul(width)?).ok()?)?;
                let width = usize::try_from(width).ok()?;
                for value in 0..usize::try_from(count).ok()? {
                    row = if is_zero(bytes, value * width, width)? { 1 } else { row + 1 };
                    longest = longest.max(row);
                }
            }
            values -= count;
        }
        Some(longest)
    }

    fn header(&mut self) -> Option<u32> {
        let mut header = 0;
        for place in 0..MAX_HEADER_BYTES {
            let byte = *self.take(1)?.first()?;
            header |= u32::from(byte & 0x7f).checked_shl(u32::try_from(7 * place).ok()?)?;
            if byte < 0x80 {
                return Some(header);
            }
        }
        None
    }

    fn take(&mut self, bytes: usize) -> Option<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }
}

/// Whether the packed value of `width` bits at bit `from` is 0.
fn is_zero(packed: &[u8], from: usize, width: usize) -> Option<bool> {
    let is_set = |bit: usize| Some(packed.get(bit / 8)? >> (bit % 8) & 1 == 1);
    (from..from + width).try_fold(true, |zero, bit| Some(zero && !is_set(bit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest(levels: &[u8], max_level: i16, values: u32) -> Option<u32> {
        Levels { rest: levels, max_level }.longest(values)
    }

    #[test]
    fn counts_the_values_of_the_longest_row() {
        // Runs: 3 rows of one value, then 5 more values of the last row.
        assert_eq!(longest(&[6, 0, 10, 1], 1, 8), Some(6));
        // Packed: 0 1 1 0 0 1 1 1, then a run that goes on.
        assert_eq!(longest(&[3, 0b1110_0110, 4, 1], 1, 10), Some(6));
        // Two bits each: 0 1 2 0 1 0 0 0.
        assert_eq!(longest(&[3, 0b0010_0100, 0b0000_0001], 2, 8), Some(3));
        // Half a million values in one run.
        assert_eq!(longest(&[2, 0, 0x80 | 0x40, 0x84, 0x3d, 1], 1, 500_001), Some(500_001));
        for broken in [&[][..], &[0, 0], &[3], &[0xff; 6]] {
            assert_eq!(longest(broken, 1, 8), None, "{broken:?}");
        }
    }
}
