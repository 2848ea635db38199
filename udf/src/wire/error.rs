//! Errors of blocks, with the part of the block at fault.

use std::{fmt, io};

use thiserror::Error;

use crate::signature::Type;

/// A part of a block. Columns and rows count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The column count at the start of a block.
    ColumnCount,
    /// The row count.
    RowCount,
    /// The name of a column.
    Name {
        /// Column number, from 1.
        column: usize,
    },
    /// The type of a column.
    DataType {
        /// Column number, from 1.
        column: usize,
    },
    /// The value in one row, or one item of an array column.
    Value {
        /// Name of the column.
        column: &'static str,
        /// Row number, from 1.
        row: usize,
    },
    /// All packed values of a column.
    Values {
        /// Name of the column.
        column: &'static str,
    },
    /// The array ends of a column.
    Ends {
        /// Name of the column.
        column: &'static str,
    },
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ColumnCount => f.write_str("the count of columns"),
            Self::RowCount => f.write_str("the count of rows"),
            Self::Name { column } => write!(f, "the name of column {column}"),
            Self::DataType { column } => write!(f, "the type of column {column}"),
            Self::Value { column, row } => write!(f, "row {row} of column {column}"),
            Self::Values { column } => write!(f, "the values of column {column}"),
            Self::Ends { column } => write!(f, "the array ends of column {column}"),
        }
    }
}

/// A block can't be read or answered.
#[derive(Debug, Error)]
pub enum WireError {
    /// Reading from the pipe failed.
    #[error("cannot read {place}")]
    Read {
        /// The part being read.
        place: Position,
        /// The error of the read.
        #[source]
        cause: io::Error,
    },
    /// The input ended after a block had begun.
    #[error("the input ended inside a block: expected {place}")]
    End {
        /// The part expected next.
        place: Position,
    },
    /// A varint has more than 64 bits.
    #[error("{place}: a number has more than 64 bits; the function's format must be Native")]
    Varint {
        /// The part with this varint.
        place: Position,
    },
    /// A count or length is above its limit.
    #[error("{place}: {found} is more than {limit}; the function's format must be Native")]
    TooMany {
        /// The part counted.
        place: Position,
        /// The received number.
        found: u64,
        /// The limit for this part.
        limit: u64,
    },
    /// The number of columns differs from the number of arguments.
    #[error(
        "expected {expected} columns, found {found}: the function's XML is of another version, run posthouse udf install"
    )]
    Columns {
        /// Number of arguments of the function.
        expected: usize,
        /// Number of columns received.
        found: u64,
    },
    /// A column's name or type differs from the argument's.
    #[error("{place}: expected {expected}, found {found}: {}", next_step(*place))]
    Label {
        /// The name or type at fault.
        place: Position,
        /// The name or type in the signature.
        expected: String,
        /// The name or type received.
        found: String,
    },
    /// A type is in binary where its name is expected.
    #[error(
        "{place}: expected the name {expected}, found a type in binary: \
         set output_format_native_encode_types_in_binary_format = 0 in this query"
    )]
    Binary {
        /// The type at fault.
        place: Position,
        /// The type in the signature.
        expected: Type,
    },
    /// Bytes follow that begin no block, while the server waits for the answer to this one.
    #[error(
        "{bytes} bytes follow the last row: the values are not in the default Native encoding; \
         remove the settings output_format_native_… from this query"
    )]
    Rest {
        /// Number of bytes that follow.
        bytes: usize,
    },
    /// An array ends before it starts.
    #[error("row {row} of column {column}: the array ends at item {end}, before it starts at item {start}")]
    Ends {
        /// Name of the column.
        column: &'static str,
        /// Row number, from 1.
        row: usize,
        /// End of the row before.
        start: u64,
        /// End of this row.
        end: u64,
    },
    /// A rule reads an argument as another type than its signature has: the registry is wrong.
    #[error("argument {argument} of the signature is not {wanted}: the rule and the registry disagree")]
    Argument {
        /// Number of the argument, from 1.
        argument: usize,
        /// The type that the rule expects.
        wanted: &'static str,
    },
    /// A rule answered another number of rows, or values of another width: the registry is wrong.
    #[error("the rule answered {rows} rows in {bytes} bytes to a block of {expected} rows of {data_type}")]
    Answer {
        /// Rows in the block.
        expected: usize,
        /// Rows answered.
        rows: usize,
        /// Bytes of all values answered.
        bytes: usize,
        /// The function's result type.
        data_type: Type,
    },
}

/// Returns the hint for a name or type that differs from the signature.
fn next_step(place: Position) -> &'static str {
    match place {
        Position::DataType { .. } => {
            "cast this argument in the query (not every ClickHouse version converts it), or run posthouse udf install"
        }
        _ => "the function's XML is of another version, run posthouse udf install",
    }
}
