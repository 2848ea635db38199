//! Columns as byte ranges of a block, and typed views for rules.

use std::io::Read;
use std::ops::Range;

use super::input::Input;
use super::strings::StringReader;
use super::{MAX_ROWS, MAX_STRING_BYTES, Position, WireError};
use crate::signature::Type;

/// Bytes of an array's end on the wire.
const END_BYTES: usize = size_of::<u64>();

/// Byte ranges of one column's values. Values aren't copied out of the block.
#[derive(Debug)]
pub(super) enum Column {
    /// Length and bytes of each row.
    Strings(Range<usize>),
    /// All values, `width` bytes each.
    Packed { width: usize, values: Range<usize> },
    /// The end of each row's items, and the items.
    Arrays { ends: Range<usize>, items: Box<Column> },
}

impl Column {
    /// Creates an empty column for values of `data_type`; `None` for types that only results may
    /// have.
    pub(super) fn new(data_type: Type) -> Option<Self> {
        match (data_type, data_type.width()) {
            (_, Some(width)) => Some(Self::Packed { width, values: 0..0 }),
            (Type::Array(item), None) => {
                Some(Self::Arrays { ends: 0..0, items: Box::new(Self::new(*item)?) })
            }
            (Type::String, None) => Some(Self::Strings(0..0)),
            (_, None) => None,
        }
    }

    /// Whether the values are strings. Strings can be read before the whole column has arrived.
    pub(super) fn is_strings(&self) -> bool {
        matches!(self, Self::Strings(_))
    }

    /// Reads the values of all `rows` rows.
    pub(super) fn read<R: Read>(
        &mut self,
        input: &mut Input<R>,
        rows: usize,
        column: &'static str,
    ) -> Result<(), WireError> {
        match self {
            Self::Strings(values) => *values = read_strings(input, rows, column)?,
            Self::Packed { width, values } => {
                *values = input.take(rows.saturating_mul(*width), Position::Values { column })?;
            }
            Self::Arrays { ends, items } => {
                *ends = input.take(rows.saturating_mul(END_BYTES), Position::Ends { column })?;
                let count = count_items(Packed::new(input.bytes(), ends), column)?;
                items.read(input, count, column)?;
            }
        }
        Ok(())
    }

    /// Returns a reader of up to `most` rows if the column is one of strings.
    pub(super) fn strings<'a>(&self, bytes: &'a [u8], most: usize) -> Option<StringReader<'a>> {
        let Self::Strings(values) = self else { return None };
        // The range was cut from these bytes, so `get` always returns a slice.
        Some(StringReader::new(bytes.get(values.clone()).unwrap_or_default(), most))
    }

    /// Returns the values if they take `N` bytes each.
    pub(super) fn packed<'a, const N: usize>(&self, bytes: &'a [u8]) -> Option<Packed<'a, N>> {
        match self {
            Self::Packed { width, values } if *width == N => Some(Packed::new(bytes, values)),
            _ => None,
        }
    }
}

/// Reads the strings of `rows` rows, and returns their byte range.
fn read_strings<R: Read>(
    input: &mut Input<R>,
    rows: usize,
    column: &'static str,
) -> Result<Range<usize>, WireError> {
    let start = input.position();
    let mut done = 0_usize;
    while done < rows {
        let place = Position::Value { column, row: done.saturating_add(1) };
        input.wait_for_text(MAX_STRING_BYTES, place)?;
        let bytes = input.bytes().get(input.position()..).unwrap_or_default();
        let consumed = StringReader::new(bytes, rows.saturating_sub(done)).read_all();
        input.skip(consumed.bytes);
        done = done.saturating_add(consumed.rows);
    }
    Ok(start..input.position())
}

/// Checks that no array ends before it starts, and returns the total number of items.
fn count_items(ends: Packed<'_, END_BYTES>, column: &'static str) -> Result<usize, WireError> {
    let mut start = 0;
    for (index, end) in ends.iter().map(u64::from_le_bytes).enumerate() {
        if end < start {
            return Err(WireError::Ends { column, row: index.saturating_add(1), start, end });
        }
        start = end;
    }
    let count = usize::try_from(start).ok().filter(|_| start <= MAX_ROWS);
    count.ok_or(WireError::TooMany { place: Position::Ends { column }, found: start, limit: MAX_ROWS })
}

/// A column of values of `N` bytes each in wire order: little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<'a, const N: usize>(&'a [[u8; N]]);

impl<'a, const N: usize> Packed<'a, N> {
    pub(super) fn new(bytes: &'a [u8], range: &Range<usize>) -> Self {
        // The range was cut from these bytes for a whole number of values.
        let (values, _) = bytes.get(range.clone()).unwrap_or_default().as_chunks();
        Self(values)
    }

    /// Returns the bytes of each value.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = [u8; N]> + use<'a, N> {
        self.0.iter().copied()
    }

    /// Returns the bytes of `COUNT` values at a time, of fewer at the end.
    pub fn chunks<const COUNT: usize>(&self) -> impl Iterator<Item = &'a [[u8; N]]> + use<'a, N, COUNT> {
        self.0.chunks(COUNT)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no values.
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
    /// Index of the first row's first item.
    start: usize,
    ends: Packed<'a, END_BYTES>,
    items: Packed<'a, N>,
}

impl<'a, const N: usize> Arrays<'a, N> {
    /// Creates a view of `rows` of a column with these ends and items.
    pub(super) fn new(ends: Packed<'a, END_BYTES>, items: Packed<'a, N>, rows: Range<usize>) -> Self {
        let before = ends.slice(0..rows.start).iter().next_back();
        Self { start: before.map_or(0, index), ends: ends.slice(rows), items }
    }

    /// Returns the items of each row.
    pub fn iter(&self) -> impl Iterator<Item = Packed<'a, N>> + use<'a, N> {
        let items = self.items;
        self.ends.iter().map(index).scan(self.start, move |start, end| {
            let row = items.slice(*start..end);
            *start = end;
            Some(row)
        })
    }
}

/// Converts an array's end to an index. It fits, because reading the column has checked that the
/// ends rise to a count in memory.
fn index(end: [u8; END_BYTES]) -> usize {
    usize::try_from(u64::from_le_bytes(end)).unwrap_or_default()
}
