//! Argument blocks, read column by column after a check of each header.

use std::fmt;
use std::io::Read;
use std::ops::{Range, RangeFrom};

use super::column::{Arrays, Column, Packed};
use super::input::Input;
use super::strings::{Consumed, StringReader};
use super::{MAX_LABEL_BYTES, MAX_ROWS, MAX_STRING_BYTES, Position, WireError, varint};
use crate::signature::{Argument, Type};

/// Reads the argument blocks of one function, one after another, into the same memory.
pub struct BlockReader<R> {
    input: Input<R>,
    arguments: &'static [Argument],
    columns: Vec<Column>,
    /// Row count of the current block.
    rows: usize,
    /// Rows consumed so far.
    done: usize,
    /// Whether rows are handed out as they arrive. This requires that the last column is the only
    /// one of strings.
    in_pieces: bool,
    /// Start of the last column's values.
    last: usize,
}

impl<R: Read> BlockReader<R> {
    /// Creates a reader of blocks from `source`, which must have exactly the columns in
    /// `arguments`.
    ///
    /// # Errors
    /// Fails if an argument has a type that only results may have: the registry is wrong.
    pub fn new(arguments: &'static [Argument], source: R) -> Result<Self, WireError> {
        let column = |(index, argument): (usize, &Argument)| {
            Column::new(argument.data_type).ok_or_else(|| disagree(index, "of a type that arguments have"))
        };
        let columns = arguments.iter().enumerate().map(column).collect::<Result<Vec<_>, _>>()?;
        let in_pieces = columns
            .split_last()
            .is_some_and(|(last, others)| last.is_strings() && !others.iter().any(Column::is_strings));
        Ok(Self { input: Input::new(source), arguments, columns, rows: 0, done: 0, in_pieces, last: 0 })
    }

    /// Begins the next block and returns its row count, or `None` if the input ended between two
    /// blocks. All rows of the previous block must have been consumed.
    ///
    /// # Errors
    /// Fails if the input can't be read, ends inside the block, is not `Native`, or has other
    /// columns than the signature.
    pub fn next_block(&mut self) -> Result<Option<usize>, WireError> {
        if !self.input.next_block()? {
            return Ok(None);
        }
        (self.rows, self.done) = (self.counts()?, 0);
        let last = self.columns.len();
        for (number, (argument, column)) in (1..).zip(self.arguments.iter().zip(&mut self.columns)) {
            let name = |found: &str| found == argument.name;
            check_label(&mut self.input, Position::Name { column: number }, &argument.name, name)?;
            check_type(&mut self.input, number, argument.data_type)?;
            // In pieces mode, `next_rows` reads the last column.
            if number < last || !self.in_pieces {
                column.read(&mut self.input, self.rows, argument.name)?;
            }
        }
        self.last = self.input.position();
        Ok(Some(self.rows))
    }

    /// Returns the next rows of the block, or `None` after its last row. If the last column is the
    /// only one of strings, rows come in as many pieces as the pipe delivers. The function then
    /// answers some rows while the server still writes others. [`BlockReader::consume`] must follow
    /// each piece, which the next one replaces.
    ///
    /// # Errors
    /// Fails like [`BlockReader::next_block`].
    pub fn next_rows(&mut self) -> Result<Option<Block<'_>>, WireError> {
        if self.done == self.rows {
            return Ok(None);
        }
        if self.in_pieces {
            self.wait_for_piece()?;
        }
        Ok(Some(Block { rows: self.done..self.rows, bytes: self.input.bytes(), columns: &self.columns }))
    }

    /// Drops the rows that a rule has consumed, of those handed out last.
    ///
    /// # Errors
    /// Fails if the rule has read no strings of a piece, or not all rows of a whole block.
    pub fn consume(&mut self, consumed: Consumed) -> Result<(), WireError> {
        let Consumed { rows, bytes } = consumed;
        let left = self.rows.saturating_sub(self.done);
        // Each string of a piece takes at least the byte of its length.
        let possible = if self.in_pieces { 1..=bytes.min(left) } else { left..=left };
        if !possible.contains(&rows) {
            return Err(disagree(self.arguments.len().saturating_sub(1), "read by the rule"));
        }
        self.done = self.done.saturating_add(rows);
        if self.in_pieces {
            self.input.skip(bytes);
            self.input.forget(self.last);
        }
        Ok(())
    }

    /// Checks, after the last row of a block, that the bytes already received can only start
    /// another block.
    ///
    /// The server waits for a block's answer before it sends the next block. Trailing bytes
    /// therefore mostly mean that values were decoded wrongly, because the server uses another
    /// encoding under the same type. A ClickHouse after 26.7 does so if a query sets
    /// `output_format_native_write_string_with_size_stream` (pull request 110320): all ends of the
    /// strings, then their bytes. The check fails in this case unless the remaining bytes happen to
    /// be exactly strings in the default encoding. The ends of two short strings can be. Other
    /// blocks may follow if a process is fed by hand.
    ///
    /// # Errors
    /// Fails if the bytes can't be the start of a block.
    pub fn expect_end(&self) -> Result<(), WireError> {
        let rest = self.input.rest();
        if self.may_begin(rest) { Ok(()) } else { Err(WireError::Rest { bytes: rest.len() }) }
    }

    /// Whether `bytes` can be the start of a block. Only the counts and the name of the first
    /// column are checked.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        let Ok(columns) = varint::split(bytes) else { return false };
        let Some((columns, bytes)) = columns else { return bytes.is_empty() };
        let Ok(rows) = varint::split(bytes) else { return false };
        let (_, label) = rows.unwrap_or_default();
        let name = self.arguments.first().map(|argument| argument.name).unwrap_or_default();
        usize::try_from(columns) == Ok(self.arguments.len())
            && label.split_first().is_none_or(|(length, text)| {
                usize::from(*length) == name.len() && text.iter().zip(name.as_bytes()).all(|(a, b)| a == b)
            })
    }

    /// Waits until the last column has the next string.
    fn wait_for_piece(&mut self) -> Result<(), WireError> {
        if let (Some(column), Some(argument)) = (self.columns.last_mut(), self.arguments.last()) {
            let place = Position::Value { column: argument.name, row: self.done.saturating_add(1) };
            self.input.wait_for_text(MAX_STRING_BYTES, place)?;
            *column = Column::Strings(self.last..self.input.bytes().len());
        }
        Ok(())
    }

    /// Reads the column count and the row count, and returns the row count.
    fn counts(&mut self) -> Result<usize, WireError> {
        let expected = self.arguments.len();
        let found = self.input.varint(Position::ColumnCount)?;
        if usize::try_from(found) != Ok(expected) {
            return Err(WireError::Columns { expected, found });
        }
        let found = self.input.varint(Position::RowCount)?;
        let rows = usize::try_from(found).ok().filter(|_| found <= MAX_ROWS);
        rows.ok_or(WireError::TooMany { place: Position::RowCount, found, limit: MAX_ROWS })
    }
}

/// Reads a column's name or type, which must pass `is_right`. `expected` is for the error only.
///
/// Names are checked because ClickHouse sends the names in the function's XML, regardless of the
/// query. Another name means an XML of another version, whose arguments may have changed places
/// without changing types.
fn check_label<R: Read>(
    input: &mut Input<R>,
    place: Position,
    expected: &dyn fmt::Display,
    is_right: impl Fn(&str) -> bool,
) -> Result<(), WireError> {
    let range = input.text(MAX_LABEL_BYTES, place)?;
    let found = String::from_utf8_lossy(input.bytes().get(range).unwrap_or_default());
    if is_right(&found) {
        return Ok(());
    }
    let found = found.escape_debug().to_string();
    Err(WireError::Label { place, expected: expected.to_string(), found })
}

/// Reads a column's type, which must be the name of `expected`.
///
/// Type names start with a capital letter. A type in binary starts with a code ([the
/// codes](https://clickhouse.com/docs/sql-reference/data-types/data-types-binary-encoding)),
/// followed by its parameters or the first value. The code would be read as a length, and the
/// reader would wait for a name of that length.
fn check_type<R: Read>(input: &mut Input<R>, column: usize, expected: Type) -> Result<(), WireError> {
    let place = Position::DataType { column };
    let [length, first] = input.next_two(place)?;
    if length < 0x80 && !first.is_ascii_uppercase() {
        return Err(WireError::Binary { place, expected });
    }
    check_label(input, place, &expected, |found| expected.is_named(found))
}

/// Consecutive rows of a block. A rule reads argument `i` (from 0) as the type in the signature, to
/// its end. The row count is that of the shortest argument.
#[derive(Debug)]
pub struct Block<'a> {
    /// Rows of the block not yet answered. Strings in the last column may end earlier.
    rows: Range<usize>,
    bytes: &'a [u8],
    columns: &'a [Column],
}

impl<'a> Block<'a> {
    /// Returns the row numbers within the whole block, from 1, without an end.
    pub fn numbers(&self) -> RangeFrom<usize> {
        self.rows.start.saturating_add(1)..
    }

    /// Whether these are the first rows of the whole block.
    pub fn is_first(&self) -> bool {
        self.rows.start == 0
    }

    /// Returns the result of a rule that has read a whole block. Blocks come in pieces if the last
    /// argument is the only `String`, and then the result is that of its reader.
    pub fn whole(&self) -> Consumed {
        Consumed { rows: self.rows.len(), bytes: 0 }
    }

    /// Returns argument `index`, a `String`.
    ///
    /// # Errors
    /// Fails if the signature has another type there.
    pub fn strings(&self, index: usize) -> Result<StringReader<'a>, WireError> {
        let strings = |column: &'a Column| column.strings(self.bytes, self.rows.len());
        self.columns.get(index).and_then(strings).ok_or_else(|| disagree(index, "strings"))
    }

    /// Returns argument `index`, of a type whose values take `N` bytes each.
    ///
    /// # Errors
    /// Fails if the signature has another type there.
    pub fn packed<const N: usize>(&self, index: usize) -> Result<Packed<'a, N>, WireError> {
        let packed = self.columns.get(index).and_then(|column| column.packed(self.bytes));
        packed
            .map(|packed| packed.slice(self.rows.clone()))
            .ok_or_else(|| disagree(index, "values of that width"))
    }

    /// Returns argument `index`, an `Array` whose items take `N` bytes each.
    ///
    /// # Errors
    /// Fails if the signature has another type there.
    pub fn arrays<const N: usize>(&self, index: usize) -> Result<Arrays<'a, N>, WireError> {
        let arrays = match self.columns.get(index) {
            Some(Column::Arrays { ends, items }) => items
                .packed(self.bytes)
                .map(|items| Arrays::new(Packed::new(self.bytes, ends), items, self.rows.clone())),
            _ => None,
        };
        arrays.ok_or_else(|| disagree(index, "arrays of values of that width"))
    }
}

fn disagree(index: usize, wanted: &'static str) -> WireError {
    WireError::Argument { argument: index.saturating_add(1), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Argument = Argument { name: "id", data_type: Type::String };
    const SIZES: Argument = Argument { name: "sizes", data_type: Type::Array(&Type::UInt32) };

    // SELECT ['', 'b', 'c'][number + 1] AS id FROM numbers(3) FORMAT Native, each part as a column
    const IDS: &[u8] = b"\x02id\x06String\x00\x01b\x01c";
    // SELECT [[1, 2], [], [300]][number + 1]::Array(UInt32) AS sizes FROM numbers(3) FORMAT Native
    const SIZES_COLUMN: &[u8] = b"\x05sizes\x0dArray(UInt32)\
        \x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x2c\x01\0\0";

    fn ids(block: &Block<'_>) -> Vec<Vec<u8>> {
        block.strings(0).unwrap().map(<[u8]>::to_vec).collect()
    }

    fn sizes(block: &Block<'_>, index: usize) -> Vec<Vec<u32>> {
        let rows = block.arrays::<4>(index).unwrap();
        rows.iter().map(|row| row.iter().map(u32::from_le_bytes).collect()).collect()
    }

    #[test]
    fn columns_are_read_as_their_types_say() {
        let bytes = [b"\x02\x03", IDS, SIZES_COLUMN].concat();
        let mut blocks = BlockReader::new(&[ID, SIZES], &*bytes).unwrap();
        assert_eq!(blocks.next_block().unwrap(), Some(3));
        let block = blocks.next_rows().unwrap().unwrap();
        assert_eq!(block.numbers(), 1..);
        assert_eq!(ids(&block), [&b""[..], b"b", b"c"]);
        assert_eq!(sizes(&block, 1), [vec![1, 2], vec![], vec![300]]);
        let consumed = block.whole();
        blocks.consume(consumed).unwrap();
        assert!(blocks.next_rows().unwrap().is_none());
        assert_eq!(blocks.next_block().unwrap(), None);
    }

    #[test]
    fn rows_are_handed_out_as_they_come_with_the_same_rows_of_every_column() {
        let bytes = [b"\x02\x03", SIZES_COLUMN, IDS].concat();
        let (first, rest) = bytes.split_at(bytes.len() - 2);
        let mut blocks = BlockReader::new(&[SIZES, ID], first.chain(rest)).unwrap();
        assert_eq!(blocks.next_block().unwrap(), Some(3));
        let mut pieces = Vec::new();
        while let Some(block) = blocks.next_rows().unwrap() {
            let mut names = block.strings(1).unwrap();
            let texts: Vec<_> = names.by_ref().map(<[u8]>::to_vec).collect();
            pieces.push((block.numbers(), sizes(&block, 0), texts));
            let consumed = names.consumed();
            blocks.consume(consumed).unwrap();
        }
        // The sizes arrive before the ids.
        let early = (1.., vec![vec![1, 2], vec![], vec![300]], vec![b"".to_vec(), b"b".to_vec()]);
        assert_eq!(pieces, [early, (3.., vec![vec![300]], vec![b"c".to_vec()])]);
    }

    #[test]
    fn two_columns_of_strings_come_together() {
        let names: &[u8] = b"\x04name\x06String\x02ab\x01c\x00";
        let bytes = [b"\x02\x03", IDS, names].concat();
        let (first, rest) = bytes.split_at(bytes.len() - 2);
        const NAME: Argument = Argument { name: "name", data_type: Type::String };
        let mut blocks = BlockReader::new(&[ID, NAME], first.chain(rest)).unwrap();
        assert_eq!(blocks.next_block().unwrap(), Some(3));
        let block = blocks.next_rows().unwrap().unwrap();
        assert_eq!(ids(&block), [&b""[..], b"b", b"c"]);
        assert!(block.strings(1).unwrap().eq([&b"ab"[..], b"c", b""]));
        let consumed = block.whole();
        blocks.consume(consumed).unwrap();
        assert!(blocks.next_rows().unwrap().is_none());
        assert_eq!(blocks.next_block().unwrap(), None);
    }

    #[test]
    fn a_rule_that_reads_no_strings_is_refused() {
        let bytes = [b"\x01\x03", IDS].concat();
        let mut blocks = BlockReader::new(&[ID], &*bytes).unwrap();
        blocks.next_block().unwrap();
        let block = blocks.next_rows().unwrap().unwrap();
        for unread in [block.whole(), block.strings(0).unwrap().consumed()] {
            assert!(matches!(blocks.consume(unread), Err(WireError::Argument { argument: 1, .. })));
        }
    }

    #[test]
    fn a_rule_that_leaves_rows_of_a_whole_block_is_refused() {
        let bytes = [b"\x02\x03", IDS, SIZES_COLUMN].concat();
        let mut blocks = BlockReader::new(&[ID, SIZES], &*bytes).unwrap();
        blocks.next_block().unwrap();
        let mut strings = blocks.next_rows().unwrap().unwrap().strings(0).unwrap();
        strings.next();
        let some = strings.consumed();
        assert!(matches!(blocks.consume(some), Err(WireError::Argument { argument: 2, .. })));
    }

    #[test]
    fn arguments_of_types_that_are_only_answered_are_refused_at_once() {
        const NULLABLE: Argument = Argument { name: "id", data_type: Type::Nullable(&Type::Uuid) };
        let refused = BlockReader::new(&[ID, NULLABLE], &b""[..]).err();
        assert!(matches!(refused, Some(WireError::Argument { argument: 2, .. })));
    }

    #[test]
    fn arguments_cannot_be_read_as_another_type() {
        let bytes = [b"\x02\x03", IDS, SIZES_COLUMN].concat();
        let mut blocks = BlockReader::new(&[ID, SIZES], &*bytes).unwrap();
        blocks.next_block().unwrap();
        let block = blocks.next_rows().unwrap().unwrap();
        assert!(matches!(block.strings(1), Err(WireError::Argument { argument: 2, wanted: "strings" })));
        assert!(matches!(block.arrays::<4>(0), Err(WireError::Argument { argument: 1, .. })));
        assert!(block.arrays::<4>(2).is_err());
    }
}
