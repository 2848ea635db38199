//! Columns as they lie in the block's bytes, and the views through which rules read them.

use std::io::Read;
use std::ops::Range;

use super::input::Input;
use super::{MAX_ROWS, MAX_STRING_BYTES, Place, RETAINED_BYTES, WireError};
use crate::signature::Type;

/// Bytes of an array's end on the wire.
const END_BYTES: usize = size_of::<u64>();

/// Where the values of one column lie. Nothing is copied out of the block.
#[derive(Debug)]
pub(super) enum Column {
    /// The bytes of each row from `first` on: those before are forgotten.
    Strings { first: usize, ranges: Vec<Range<usize>> },
    /// All values, `width` bytes each.
    Packed { width: usize, values: Range<usize> },
    /// The end of each row's items, and the items.
    Arrays { ends: Range<usize>, items: Box<Column> },
}

impl Column {
    /// For values of `data_type`; nothing for the types that no function takes.
    pub(super) fn new(data_type: Type) -> Option<Self> {
        match (data_type, data_type.width()) {
            (_, Some(width)) => Some(Self::Packed { width, values: 0..0 }),
            (Type::Array(item), None) => {
                Some(Self::Arrays { ends: 0..0, items: Box::new(Self::new(*item)?) })
            }
            (Type::String, None) => Some(Self::Strings { first: 0, ranges: Vec::new() }),
            (_, None) => None,
        }
    }

    /// Forgets the values of the block before.
    pub(super) fn clear(&mut self) {
        match self {
            Self::Strings { first, ranges } => {
                *first = 0;
                ranges.clear();
                ranges.shrink_to(RETAINED_BYTES / size_of::<Range<usize>>());
            }
            Self::Packed { values, .. } => *values = 0..0,
            Self::Arrays { ends, items } => {
                *ends = 0..0;
                items.clear();
            }
        }
    }

    /// Forgets the rows that are there, if they are of a kind that goes on row by row, and tells whether they are.
    pub(super) fn forget_rows(&mut self) -> bool {
        let Self::Strings { first, ranges } = self else { return false };
        *first = first.saturating_add(ranges.len());
        ranges.clear();
        true
    }

    /// Reads all of the values of `rows` rows.
    pub(super) fn read<R: Read>(
        &mut self,
        input: &mut Input<R>,
        rows: usize,
        column: &'static str,
    ) -> Result<(), WireError> {
        let mut ready = 0;
        while ready < rows {
            ready = self.read_some(input, rows, column)?;
        }
        Ok(())
    }

    /// Reads on, at least one of `rows` rows, and returns how many are there now.
    ///
    /// Strings stop where the bytes that have come end, so that the rows before can be worked on meanwhile.
    pub(super) fn read_some<R: Read>(
        &mut self,
        input: &mut Input<R>,
        rows: usize,
        column: &'static str,
    ) -> Result<usize, WireError> {
        match self {
            Self::Strings { first, ranges } => read_strings(*first, ranges, input, rows, column),
            Self::Packed { width, values } => {
                *values = input.take(rows.saturating_mul(*width), Place::Values { column })?;
                Ok(rows)
            }
            Self::Arrays { ends, items } => {
                *ends = input.take(rows.saturating_mul(END_BYTES), Place::Ends { column })?;
                let count = count_items(Packed::new(input.bytes(), ends), column)?;
                items.read(input, count, column)?;
                Ok(rows)
            }
        }
    }

    /// The bytes of each of `rows`, if they are strings.
    pub(super) fn strings<'a>(&'a self, bytes: &'a [u8], rows: Range<usize>) -> Option<Strings<'a>> {
        let Self::Strings { first, ranges } = self else { return None };
        let rows = rows.start.saturating_sub(*first)..rows.end.saturating_sub(*first);
        Some(Strings { bytes, ranges: ranges.get(rows).unwrap_or_default() })
    }

    /// The values, if they are packed with `N` bytes each.
    pub(super) fn packed<'a, const N: usize>(&self, bytes: &'a [u8]) -> Option<Packed<'a, N>> {
        match self {
            Self::Packed { width, values } if *width == N => Some(Packed::new(bytes, values)),
            _ => None,
        }
    }
}

fn read_strings<R: Read>(
    first: usize,
    ranges: &mut Vec<Range<usize>>,
    input: &mut Input<R>,
    rows: usize,
    column: &'static str,
) -> Result<usize, WireError> {
    let ready = first.saturating_add(ranges.len());
    if ready < rows {
        let place = Place::Value { column, row: ready.saturating_add(1) };
        ranges.push(input.text(MAX_STRING_BYTES, place)?);
    }
    input.short_texts_at_hand(rows.saturating_sub(first).saturating_sub(ranges.len()), ranges);
    Ok(first.saturating_add(ranges.len()))
}

/// Checks that no array ends before it starts, and returns how many items all of them have.
fn count_items(ends: Packed<'_, END_BYTES>, column: &'static str) -> Result<usize, WireError> {
    let mut start = 0;
    for (index, end) in ends.iter().map(u64::from_le_bytes).enumerate() {
        if end < start {
            return Err(WireError::Ends { column, row: index.saturating_add(1), start, end });
        }
        start = end;
    }
    let count = usize::try_from(start).ok().filter(|_| start <= MAX_ROWS);
    count.ok_or(WireError::TooMany { place: Place::Ends { column }, found: start, limit: MAX_ROWS })
}

/// A `String` column.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Strings<'a> {
    /// The bytes of each row, which need not be UTF-8.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        // The ranges were cut from these very bytes: there is always something to get.
        self.ranges.iter().map(move |range| bytes.get(range.clone()).unwrap_or_default())
    }
}

/// A column of values of `N` bytes each, as they came: little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<'a, const N: usize>(&'a [[u8; N]]);

impl<'a, const N: usize> Packed<'a, N> {
    pub(super) fn new(bytes: &'a [u8], range: &Range<usize>) -> Self {
        // As for strings: the range was cut from these bytes, for a whole number of values.
        let (values, _) = bytes.get(range.clone()).unwrap_or_default().as_chunks();
        Self(values)
    }

    /// The bytes of each value.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = [u8; N]> + use<'a, N> {
        self.0.iter().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        Self(self.0.get(range).unwrap_or_default())
    }
}

/// An `Array` column whose items take `N` bytes each.
#[derive(Clone, Copy, Debug)]
pub struct Arrays<'a, const N: usize> {
    /// Where the first row's items start.
    start: usize,
    ends: Packed<'a, END_BYTES>,
    items: Packed<'a, N>,
}

impl<'a, const N: usize> Arrays<'a, N> {
    /// `rows` of a column with these ends and items.
    pub(super) fn new(ends: Packed<'a, END_BYTES>, items: Packed<'a, N>, rows: Range<usize>) -> Self {
        let before = ends.slice(0..rows.start).iter().next_back();
        Self { start: before.map_or(0, index), ends: ends.slice(rows), items }
    }

    /// The items of each row.
    pub fn iter(&self) -> impl Iterator<Item = Packed<'a, N>> + use<'a, N> {
        let items = self.items;
        self.ends.iter().map(index).scan(self.start, move |start, end| {
            let row = items.slice(*start..end);
            *start = end;
            Some(row)
        })
    }
}

/// An array's end, which fits: reading the column has shown that the ends rise to a count in memory.
fn index(end: [u8; END_BYTES]) -> usize {
    usize::try_from(u64::from_le_bytes(end)).unwrap_or_default()
}
