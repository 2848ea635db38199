//! A column of strings, each of which is found while it is read.
//!
//! Where a string starts is known when the length of the one before is. That takes a processor as long as a fast hash, but
//! other parts of it: both are done at once where strings are not listed first.

use std::cell::Cell;

use super::varint;
use crate::texts::{Alike, Texts};

/// A `String` column, or as many of its rows as have come.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    most: usize,
    taken: &'a Taken,
}

/// How far strings were read: rows, and the bytes that these take.
#[derive(Debug, Default)]
pub(super) struct Taken(Cell<(usize, usize)>);

impl Taken {
    /// What was read since this was asked before.
    pub(super) fn take(&self) -> (usize, usize) {
        self.0.take()
    }
}

impl<'a> Strings<'a> {
    /// Up to `most` strings that `bytes` start with; `taken` is told how many there were once all have been read.
    pub(super) fn new(bytes: &'a [u8], most: usize, taken: &'a Taken) -> Self {
        Self { bytes, most, taken }
    }

    /// The bytes of each row, which need not be UTF-8.
    #[inline]
    pub fn iter(&self) -> impl Texts<'a> + use<'a> {
        Rows { all: *self, rest: self.bytes, done: 0 }
    }
}

/// The strings of a column, in order.
struct Rows<'a> {
    all: Strings<'a>,
    /// What follows the strings that were read.
    rest: &'a [u8],
    /// How many were.
    done: usize,
}

impl<'a> Rows<'a> {
    /// Goes on behind the next `rows` strings.
    #[inline(always)]
    fn advance(&mut self, rows: usize, rest: &'a [u8]) {
        (self.done, self.rest) = (self.done + rows, rest);
        // Also with the last row: whoever reads other columns along may not ask for more.
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

impl<'a> Texts<'a> for Rows<'a> {
    #[inline(always)]
    fn next_alike<const N: usize>(&mut self) -> Option<Alike<'a, N>> {
        if self.all.most - self.done < N {
            return None;
        }
        let (alike, rest) = Alike::split(self.rest)?;
        self.advance(N, rest);
        Some(alike)
    }
}

/// The text that `bytes` start with, and what follows it, if it is there whole.
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
        assert!(rows.next_alike::<3>().is_none());
        assert_eq!(rows.next(), Some(&b"a"[..]));
        let alike = rows.next_alike::<3>().unwrap();
        assert_eq!([0, 1, 2].map(|place| alike.get(place).unwrap()), [b"bc", b"de", b"fg"]);
        assert_eq!(taken.take(), (0, 0));
        // With the last row it is told, also of more than one.
        assert_eq!(rows.next_alike::<2>().unwrap().length(), 1);
        assert_eq!(taken.take(), (6, bytes.len()));
        assert_eq!(rows.next(), None);
        // What follows the last row is no string.
        let mut rows = Strings::new(b"\x01a\x01b", 1, &taken).iter();
        assert!(rows.next_alike::<2>().is_none());
        assert_eq!((rows.next(), rows.next()), (Some(&b"a"[..]), None));
    }
}
