//! A column of strings, located lazily during iteration.
//!
//! A string's start is known only after the length of the one before. This wait takes a processor
//! as long as a fast hash, but uses other parts of it. Without a list of all strings beforehand,
//! both overlap.

use std::cell::Cell;

use super::varint;
use crate::texts::{FixedLengthRun, StringRuns};

/// A `String` column, or the part of its rows that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    most: usize,
    taken: &'a Taken,
}

/// Progress of reading strings: number of rows, and their bytes.
#[derive(Debug, Default)]
pub(super) struct Taken(Cell<(usize, usize)>);

impl Taken {
    /// Returns the progress since the previous call, and resets it.
    pub(super) fn take(&self) -> (usize, usize) {
        self.0.take()
    }
}

impl<'a> Strings<'a> {
    /// Creates a view of up to `most` strings at the start of `bytes`. `taken` is set once
    /// iteration ends.
    pub(super) fn new(bytes: &'a [u8], most: usize, taken: &'a Taken) -> Self {
        Self { bytes, most, taken }
    }

    /// Returns the bytes of each row, which need not be UTF-8.
    #[inline]
    pub fn iter(&self) -> impl StringRuns<'a> + use<'a> {
        Rows { all: *self, rest: self.bytes, done: 0 }
    }
}

/// An iterator over the strings of a column.
struct Rows<'a> {
    all: Strings<'a>,
    /// Bytes after the strings read so far.
    rest: &'a [u8],
    /// Number of strings read.
    done: usize,
}

impl<'a> Rows<'a> {
    /// Continues after the next `rows` strings.
    #[inline(always)]
    fn advance(&mut self, rows: usize, rest: &'a [u8]) {
        (self.done, self.rest) = (self.done + rows, rest);
        // Also set with the last row, because a rule that zips several columns may not ask for
        // another.
        if self.done == self.all.most {
            self.end();
        }
    }

    #[inline(always)]
    fn end(&self) {
        self.all.taken.0.set((self.done, self.all.bytes.len() - self.rest.len()));
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let next = if self.done < self.all.most { split_text(self.rest) } else { None };
        match next {
            Some((_, rest)) => self.advance(1, rest),
            None => self.end(),
        }
        next.map(|(text, _)| text)
    }
}

impl<'a> StringRuns<'a> for Rows<'a> {
    #[inline(always)]
    fn next_run<const N: usize>(&mut self) -> Option<FixedLengthRun<'a, N>> {
        if self.all.most - self.done < N {
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
        let taken = Taken::default();
        let strings = Strings::new(b"\x02ab\x00\x03cd", 5, &taken);
        assert!(strings.iter().eq([&b"ab"[..], b""]));
        assert_eq!(taken.take(), (2, 4));
        assert_eq!(taken.take(), (0, 0));
    }

    #[test]
    fn what_follows_the_last_row_is_no_string() {
        let taken = Taken::default();
        let mut rows = Strings::new(b"\x02ab\x01c\x01d", 2, &taken).iter();
        assert_eq!([rows.next(), rows.next()], [Some(&b"ab"[..]), Some(b"c")]);
        assert_eq!(taken.take(), (2, 5));
        assert_eq!(rows.next(), None);
    }

    #[test]
    fn long_strings_are_found_too() {
        let text = [&b"\xa0\x8d\x06"[..], &[7; 100_000], b"\x01x"].concat();
        let taken = Taken::default();
        let lengths: Vec<_> = Strings::new(&text, 2, &taken).iter().map(<[u8]>::len).collect();
        assert_eq!(lengths, [100_000, 1]);
    }

    #[test]
    fn strings_of_one_length_may_be_taken_at_once_and_others_one_by_one() {
        let taken = Taken::default();
        let bytes = b"\x01a\x02bc\x02de\x02fg\x01h\x01i";
        let mut rows = Strings::new(bytes, 6, &taken).iter();
        assert!(rows.next_run::<3>().is_none());
        assert_eq!(rows.next(), Some(&b"a"[..]));
        let alike = rows.next_run::<3>().unwrap();
        assert_eq!([0, 1, 2].map(|place| alike.get(place).unwrap()), [b"bc", b"de", b"fg"]);
        assert_eq!(taken.take(), (0, 0));
        // The last row sets `taken`, also when several rows are read at once.
        assert_eq!(rows.next_run::<2>().unwrap().length(), 1);
        assert_eq!(taken.take(), (6, bytes.len()));
        assert_eq!(rows.next(), None);
        // Bytes after the last row aren't a string.
        let mut rows = Strings::new(b"\x01a\x01b", 1, &taken).iter();
        assert!(rows.next_run::<2>().is_none());
        assert_eq!((rows.next(), rows.next()), (Some(&b"a"[..]), None));
    }
}
