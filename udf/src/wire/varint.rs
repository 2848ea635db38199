//! Varints: seven bits per byte, lowest first.
//!
//! The eighth bit of a byte is set if another byte follows.

/// Bits of a byte that carry the number.
const BITS: u32 = 7;

/// Error for a number of more than 64 bits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Splits the first number off `bytes`; `None` if it is incomplete.
#[inline]
pub(super) fn split(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, TooLong> {
    match bytes {
        [a @ ..0x80, rest @ ..] => Ok(Some((u64::from(*a), rest))),
        [a, b @ ..0x80, rest @ ..] => Ok(Some((u64::from(*a & 0x7f) | u64::from(*b) << BITS, rest))),
        _ => split_long(bytes),
    }
}

#[cold]
fn split_long(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, TooLong> {
    let (mut value, mut shift, mut rest) = (0_u64, 0, bytes);
    while let [byte, after @ ..] = rest {
        let bits = u64::from(byte & 0x7f);
        // A shift that loses bits can't be undone.
        let shifted = bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits);
        value |= shifted.ok_or(TooLong)?;
        if *byte < 0x80 {
            return Ok(Some((value, after)));
        }
        (shift, rest) = (shift + BITS, after);
    }
    Ok(None)
}

/// Appends `value`.
pub(super) fn push(bytes: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= BITS;
        if value == 0 {
            return bytes.push(low & 0x7f);
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as ClickHouse writes them: the row count of `SELECT … FROM numbers(N) FORMAT
    /// Native`.
    const NUMBERS: [(u64, &[u8]); 7] = [
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\x01"),
        (1 << 40, b"\x80\x80\x80\x80\x80\x20"),
        (u64::MAX, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    ];

    #[test]
    fn numbers_of_every_length_are_read_and_written() {
        for (number, bytes) in NUMBERS {
            assert_eq!(split(&[bytes, b"more"].concat()), Ok(Some((number, &b"more"[..]))));
            let mut written = Vec::new();
            push(&mut written, usize::try_from(number).unwrap());
            assert_eq!(written, bytes);
        }
    }

    #[test]
    fn numbers_cut_short_wait_for_more() {
        for (_, bytes) in NUMBERS {
            for cut in 0..bytes.len() {
                assert_eq!(split(&bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn numbers_above_64_bits_are_refused() {
        for bytes in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"[..], &[0x80; 64]] {
            assert_eq!(split(bytes), Err(TooLong));
        }
    }
}
