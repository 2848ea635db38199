//! A column of strings, each of which is found while it is read.
//!
//! Where a string starts is known when the length of the one before is. That takes a processor as long as a fast hash, but
//! other parts of it: both are done at once where strings are not listed first.

use std::cell::Cell;
use std::iter;

use super::varint;

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
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let Self { bytes, most, taken } = *self;
        let (mut rest, mut rows) = (bytes, 0);
        iter::from_fn(move || {
            let next = if rows < most { split_text(rest) } else { None };
            if let Some((_, after)) = next {
                (rest, rows) = (after, rows + 1);
            }
            // Also with the last row: whoever reads other columns along may not ask for more.
            if rows == most || next.is_none() {
                taken.0.set((rows, bytes.len() - rest.len()));
            }
            next.map(|(text, _)| text)
        })
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
}
