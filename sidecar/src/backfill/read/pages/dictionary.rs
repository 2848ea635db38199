//! Size and number of a dictionary's values.

use parquet::basic::Type as Physical;

/// Bytes of one plain value, for types of fixed size.
pub(in crate::backfill::read) fn width(physical: Physical, type_length: i32) -> Option<u64> {
    match physical {
        Physical::BOOLEAN => Some(1),
        Physical::INT32 | Physical::FLOAT => Some(4),
        Physical::INT64 | Physical::DOUBLE => Some(8),
        Physical::INT96 => Some(12),
        Physical::FIXED_LEN_BYTE_ARRAY => u64::try_from(type_length).ok(),
        Physical::BYTE_ARRAY => None,
    }
}

/// Whether a dictionary has as many values as declared.
pub(super) fn is_complete(dictionary: &[u8], values: u32, width: Option<u64>) -> bool {
    if let Some(width) = width {
        return u64::from(values).checked_mul(width).is_some_and(|bytes| bytes <= dictionary.len() as u64);
    }
    let behind = |rest: &[u8]| {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        rest.get(u32::from_le_bytes(*length) as usize..).map(<[u8]>::len)
    };
    let mut rest = dictionary;
    (0..values).all(|_| match behind(rest) {
        Some(length) => {
            rest = &rest[rest.len() - length..];
            true
        }
        None => false,
    })
}
