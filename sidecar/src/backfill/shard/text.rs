//! Strings in the `Native` format.

use std::sync::Arc;

use arrow_array::BinaryViewArray;

use super::column::NativeColumn;
use super::memory::Memory;

pub(super) fn push_text(column: &mut NativeColumn, memory: &Arc<Memory>, text: &[u8]) {
    let bytes = usize::try_from(text_bytes(text.len())).unwrap_or(usize::MAX);
    let end = column.end(bytes, memory);
    push_varint(end, text.len() as u64);
    end.extend_from_slice(text);
}

/// Length of a string, stored in the first bytes of its view.
pub(super) fn length(texts: &BinaryViewArray, row: usize) -> usize {
    texts.views()[row] as u32 as usize
}

/// Bytes of a string in a column, including its length prefix.
pub(super) fn text_bytes(length: usize) -> u64 {
    let length = length as u64;
    let bits = u64::from(u64::BITS - (length | 1).leading_zeros());
    bits.div_ceil(7) + length
}

pub(super) fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Decodes the number at the start of `bytes`. Returns it and the remaining bytes.
pub(super) fn split_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = bytes.iter().position(|byte| *byte < 0x80)? + 1;
    let (number, rest) = bytes.split_at(length);
    let add = |(value, shift), byte: &u8| (value | usize::from(byte & 0x7f) << shift, shift + 7);
    Some((number.iter().fold((0, 0), add).0, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_as_they_are_written() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 1 << 28] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, length as u64);
            assert_eq!(text_bytes(length), (bytes.len() + length) as u64, "{length}");
        }
    }
}
