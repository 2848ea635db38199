//! Value lengths of a dictionary.
//!
//! They bound the decoded size of a page that refers to the dictionary.

use parquet::basic::Type as Physical;

/// Bytes of one plain value, for types of fixed size.
pub(super) fn width(physical: Physical, type_length: i32) -> Option<u64> {
    match physical {
        Physical::BOOLEAN => Some(1),
        Physical::INT32 | Physical::FLOAT => Some(4),
        Physical::INT64 | Physical::DOUBLE => Some(8),
        Physical::INT96 => Some(12),
        Physical::FIXED_LEN_BYTE_ARRAY => u64::try_from(type_length).ok(),
        Physical::BYTE_ARRAY => None,
    }
}

/// Returns the length of a dictionary's longest value, or `None` if it has fewer values than
/// declared.
pub(super) fn longest(dictionary: &[u8], values: u32, physical: Physical, width: Option<u64>) -> Option<u64> {
    if physical != Physical::BYTE_ARRAY {
        let bytes = u64::from(values).checked_mul(width?)?;
        return (bytes <= dictionary.len() as u64).then_some(width?);
    }
    let (mut rest, mut longest) = (dictionary, 0);
    for _ in 0..values {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        rest = behind.get(length as usize..)?;
        longest = longest.max(length);
    }
    Some(longest.into())
}
