//! Lengths of the values of a page that is encoded as DELTA_BYTE_ARRAY.
//!
//! A value repeats the beginning of the one before it, so a short page may have long values.

/// Bytes that a variable-length integer of 64 bits may take.
const MAX_VARINT_BYTES: u32 = 10;

/// Lengths of a page's values, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExpandedLengths {
    pub(super) all: u64,
    pub(super) longest: u64,
}

/// Bytes of a value's two lengths, while they are decoded.
pub(super) const LENGTHS_BYTES: u64 = 16;

/// Returns the lengths of at most `limit` values. `None` if they can't be read.
pub(super) fn expanded_lengths(values: &[u8], limit: usize) -> Option<ExpandedLengths> {
    let mut rest = values;
    let (mut prefixes, mut suffixes) = (Vec::new(), Vec::new());
    numbers(&mut rest, limit, &mut prefixes)?;
    numbers(&mut rest, limit, &mut suffixes)?;
    let mut lengths = ExpandedLengths::default();
    for (prefix, suffix) in prefixes.into_iter().zip(suffixes) {
        let length = u64::try_from(prefix).ok()?.checked_add(u64::try_from(suffix).ok()?)?;
        lengths.all = lengths.all.saturating_add(length);
        lengths.longest = lengths.longest.max(length);
    }
    Some(lengths)
}

/// Decodes at most `limit` numbers in DELTA_BINARY_PACKED, and leaves what follows them in `rest`.
fn numbers(rest: &mut &[u8], limit: usize, output: &mut Vec<i64>) -> Option<()> {
    let block = usize::try_from(varint(rest)?).ok()?;
    let parts =
        usize::try_from(varint(rest)?).ok().filter(|parts| *parts > 0 && block.is_multiple_of(*parts))?;
    let count = usize::try_from(varint(rest)?).ok().filter(|count| *count <= limit)?;
    let mut value = zigzag(varint(rest)?);
    if count > 0 {
        output.push(value);
    }
    let part = Some(block / parts).filter(|part| *part > 0 && part.is_multiple_of(8))?;
    while output.len() < count {
        let least = zigzag(varint(rest)?);
        let (widths, packed) = rest.split_at_checked(parts)?;
        *rest = packed;
        // Parts behind the last value have a width and no bytes.
        for width in widths.iter().map(|width| usize::from(*width)) {
            let values = part.min(count - output.len());
            if values == 0 {
                break;
            }
            let (bits, behind) = rest.split_at_checked((part / 8).checked_mul(width)?)?;
            *rest = behind;
            for index in 0..values {
                value = value.wrapping_add(least).wrapping_add(packed_bits(bits, index * width, width)?);
                output.push(value);
            }
        }
    }
    Some(())
}

fn packed_bits(bits: &[u8], from: usize, width: usize) -> Option<i64> {
    let bytes = bits.get(from / 8..(from + width).div_ceil(8))?;
    let wide = bytes.iter().rev().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    let mask = 1_u128.checked_shl(u32::try_from(width).ok().filter(|width| *width <= 64)?)? - 1;
    Some((wide >> (from % 8) & mask) as i64)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..MAX_VARINT_BYTES {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_lengths_of_values_that_repeat_each_other() {
        // "abcdef", "abcdeX", "Y", in blocks of 8 values with one part.
        // Prefixes 0, 5, 0: first 0, least delta -5, deltas 10 and 0 of four bits.
        let prefixes = [8, 1, 3, 0, 9, 4, 0x0a, 0, 0, 0];
        // Suffixes 6, 1, 1: first 6, least delta -5, deltas 0 and 5.
        let suffixes = [8, 1, 3, 12, 9, 4, 0x50, 0, 0, 0];
        let page = [&prefixes[..], &suffixes, b"abcdefXY"].concat();
        let expected = Some(ExpandedLengths { all: 13, longest: 6 });
        assert_eq!(expanded_lengths(&page, 3), expected);
        assert_eq!(expanded_lengths(&page, 2), None);
        for end in 0..prefixes.len() + 7 {
            assert_eq!(expanded_lengths(&page[..end], 3), None, "{end}");
        }
    }
}
