//! A reader of strings, which locates each during iteration.
//!
//! A string's start is known only after the length of the one before. This wait takes a processor
//! as long as a fast hash, but uses other parts of it. Without a list of all strings beforehand,
//! both overlap.

use super::varint;
use crate::texts::{FixedLengthRun, StringRuns};

/// Rows that were read, and the bytes of their strings.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumed {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// A reader of a `String` column, or of the part of its rows that has arrived. It returns the bytes
/// of each row, which need not be UTF-8.
#[derive(Clone, Debug)]
pub struct StringReader<'a> {
    /// Bytes of all rows, and possibly bytes that follow them.
    bytes: &'a [u8],
    /// Bytes after the strings read so far.
    rest: &'a [u8],
    /// Limit on the number of strings.
    most: usize,
    /// Number of strings read.
    done: usize,
}

impl<'a> StringReader<'a> {
    /// Creates a reader of up to `most` strings at the start of `bytes`.
    pub(super) fn new(bytes: &'a [u8], most: usize) -> Self {
        Self { bytes, rest: bytes, most, done: 0 }
    }

    /// Reads the strings that are left, and returns all rows read.
    pub(super) fn read_all(mut self) -> Consumed {
        self.by_ref().for_each(drop);
        self.consumed()
    }

    /// Returns the rows read so far, with their bytes.
    pub fn consumed(&self) -> Consumed {
        Consumed { rows: self.done, bytes: self.bytes.len().saturating_sub(self.rest.len()) }
    }

    /// Continues after the next `rows` strings.
    #[inline(always)]
    fn advance(&mut self, rows: usize, rest: &'a [u8]) {
        (self.done, self.rest) = (self.done + rows, rest);
    }
}

impl<'a> Iterator for StringReader<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.done == self.most {
            return None;
        }
        let (text, rest) = split_text(self.rest)?;
        self.advance(1, rest);
        Some(text)
    }
}

impl<'a> StringRuns<'a> for StringReader<'a> {
    #[inline(always)]
    fn next_run<const N: usize>(&mut self) -> Option<FixedLengthRun<'a, N>> {
        if self.most - self.done < N {
            return None;
        }
        let (alike, rest) = FixedLengthRun::split(self.rest)?;
        self.advance(N, rest);
        Some(alike)
    }
}

/// Splits the first string off `bytes`; `None` if it is incomplete.
#[inline]
fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, text) = varint::split(bytes).ok()??;
    text.split_at_checked(usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_those_that_have_come_whole() {
        let mut strings = StringReader::new(b"\x02ab\x00\x03cd", 5);
        assert_eq!(strings.consumed(), Consumed { rows: 0, bytes: 0 });
        assert!(strings.by_ref().eq([&b"ab"[..], b""]));
        assert_eq!(strings.consumed(), Consumed { rows: 2, bytes: 4 });
    }

    #[test]
    fn what_follows_the_last_row_is_no_string() {
        let mut strings = StringReader::new(b"\x02ab\x01c\x01d", 2);
        assert_eq!([strings.next(), strings.next(), strings.next()], [Some(&b"ab"[..]), Some(b"c"), None]);
        assert_eq!(strings.consumed(), Consumed { rows: 2, bytes: 5 });
    }

    #[test]
    fn long_strings_are_found_too() {
        let text = [&b"\xa0\x8d\x06"[..], &[7; 100_000], b"\x01x"].concat();
        let lengths: Vec<_> = StringReader::new(&text, 2).map(<[u8]>::len).collect();
        assert_eq!(lengths, [100_000, 1]);
    }

    #[test]
    fn strings_of_one_length_may_be_taken_at_once_and_others_one_by_one() {
        let bytes = b"\x01a\x02bc\x02de\x02fg\x01h\x01i";
        let mut strings = StringReader::new(bytes, 6);
        assert!(strings.next_run::<3>().is_none());
        assert_eq!(strings.next(), Some(&b"a"[..]));
        let alike = strings.next_run::<3>().unwrap();
        assert_eq!([0, 1, 2].map(|place| alike.get(place).unwrap()), [b"bc", b"de", b"fg"]);
        assert_eq!(strings.consumed(), Consumed { rows: 4, bytes: 11 });
        assert_eq!(strings.next_run::<2>().unwrap().length(), 1);
        assert_eq!(strings.next(), None);
        assert_eq!(strings.consumed(), Consumed { rows: 6, bytes: bytes.len() });
        // Bytes after the last row aren't a string.
        let mut strings = StringReader::new(b"\x01a\x01b", 1);
        assert!(strings.next_run::<2>().is_none());
        assert_eq!((strings.next(), strings.next()), (Some(&b"a"[..]), None));
    }
}
