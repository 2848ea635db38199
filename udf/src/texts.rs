//! Sequences of strings, with fast access to runs of equal length.
//!
//! Ids mostly have equal lengths. On the wire a string's start is known only after the length of
//! the one before. A run of equal length needs no wait, because each length byte is at a known
//! position.

/// An iterator over strings that can also return a run of equal length.
pub trait StringRuns<'a>: Iterator<Item = &'a [u8]> {
    /// Returns the next `N` strings if they form an [`FixedLengthRun`]. Otherwise it consumes none.
    fn next_run<const N: usize>(&mut self) -> Option<FixedLengthRun<'a, N>>;
}

/// `N` strings of equal length below 128 bytes, each after its length byte.
#[derive(Clone, Copy, Debug)]
pub struct FixedLengthRun<'a, const N: usize> {
    bytes: &'a [u8],
    length: u8,
}

impl<'a, const N: usize> FixedLengthRun<'a, N> {
    /// Splits a run of `N` strings from the start of `bytes`, and returns it with the rest; `None`
    /// if `bytes` doesn't start with one.
    #[inline(always)]
    pub fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = *bytes.first().filter(|length| length.is_ascii())?;
        let stride = usize::from(length) + 1;
        let (bytes, rest) = bytes.split_at_checked(N * stride)?;
        let mut others = 0;
        for place in 0..N {
            others |= length ^ bytes.get(place * stride).copied()?;
        }
        (others == 0).then_some((Self { bytes, length }, rest))
    }

    /// Bytes of each string.
    #[inline]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The strings, each after its length byte: exactly `N * (length + 1)` bytes. Unsafe code
    /// relies on this size.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the string at `place`, from 0, of [`FixedLengthRun::length`] bytes; `None` from `N`
    /// on.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&'a [u8]> {
        let length = usize::from(self.length);
        let start = place * (length + 1) + 1;
        self.bytes.get(start..start + length)
    }
}

/// Strings at arbitrary addresses, without runs of equal length.
#[derive(Clone, Debug)]
pub struct Scattered<I>(pub I);

impl<'a, I: Iterator<Item = &'a [u8]>> Iterator for Scattered<I> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next()
    }
}

impl<'a, I: Iterator<Item = &'a [u8]>> StringRuns<'a> for Scattered<I> {
    #[inline]
    fn next_run<const N: usize>(&mut self) -> Option<FixedLengthRun<'a, N>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_one_length_are_found_at_once() {
        let (alike, rest) = FixedLengthRun::<3>::split(b"\x02ab\x02cd\x02ef\x02gh").unwrap();
        let texts = [0, 1, 2, 3].map(|place| alike.get(place));
        assert_eq!((alike.length(), alike.bytes()), (2, &b"\x02ab\x02cd\x02ef"[..]));
        assert_eq!((texts, rest), ([Some(&b"ab"[..]), Some(b"cd"), Some(b"ef"), None], &b"\x02gh"[..]));
        let (empty, rest) = FixedLengthRun::<2>::split(b"\0\0").unwrap();
        assert_eq!(
            ([0, 1, 2].map(|place| empty.get(place)), rest),
            ([Some(&b""[..]), Some(b""), None], &b""[..])
        );
    }

    #[test]
    fn others_are_left_to_be_read_one_by_one() {
        let long = [&[0x80, 1][..], &[7; 128]].concat().repeat(2);
        // One is shorter; one is longer; the last is incomplete; empty input; a length of two
        // bytes.
        for bytes in [&b"\x02ab\x01c\x02de"[..], b"\x02ab\x03cde\x02fg", b"\x02ab\x02cd\x02e", b"", &long] {
            assert!(FixedLengthRun::<3>::split(bytes).is_none(), "{bytes:?}");
        }
    }
}
