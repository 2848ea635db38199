//! What can be wrong with a block, and where.

use std::{fmt, io};

use thiserror::Error;

use crate::signature::Type;

/// A part of a block. Columns and rows count from 1, as people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The count of columns, with which a block starts.
    ColumnCount,
    /// The count of rows.
    RowCount,
    /// The name of a column.
    Name {
        /// The column's number.
        column: usize,
    },
    /// The type of a column.
    DataType {
        /// The column's number.
        column: usize,
    },
    /// The value in one row, or one item among those of an array column.
    Value {
        /// The column's name.
        column: &'static str,
        /// The row's number.
        row: usize,
    },
    /// All packed values of a column.
    Values {
        /// The column's name.
        column: &'static str,
    },
    /// The ends of the arrays of a column.
    Ends {
        /// The column's name.
        column: &'static str,
    },
}

impl fmt::Display for Place {
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

/// A block that cannot be read or answered.
#[derive(Debug, Error)]
pub enum WireError {
    /// The pipe failed.
    #[error("cannot read {place}")]
    Read {
        /// What was being read.
        place: Place,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The input ended after a block had begun.
    #[error("the input ended inside a block: expected {place}")]
    End {
        /// What should have come.
        place: Place,
    },
    /// A varint of more than 64 bits.
    #[error("{place}: a number has more than 64 bits; the function's format must be Native")]
    Varint {
        /// Where it stands.
        place: Place,
    },
    /// A count or length beyond its bound.
    #[error("{place}: {found} is more than {limit}; the function's format must be Native")]
    TooMany {
        /// What was counted.
        place: Place,
        /// The number that came.
        found: u64,
        /// The most there may be.
        limit: u64,
    },
    /// Another number of columns than the function has arguments.
    #[error("expected {expected} columns, found {found}: the function's XML is not of this version")]
    Columns {
        /// How many arguments the function has.
        expected: usize,
        /// How many columns came.
        found: u64,
    },
    /// A column whose name or type is not that of the argument.
    #[error("{place}: expected {expected}, found {found}: {}", next_step(*place))]
    Label {
        /// Which name or type.
        place: Place,
        /// What the function's signature says.
        expected: String,
        /// What came.
        found: String,
    },
    /// A type in binary, where its name is expected.
    #[error(
        "{place}: expected the name {expected}, found a type in binary: \
         set output_format_native_encode_types_in_binary_format = 0 in this query"
    )]
    Binary {
        /// Which type.
        place: Place,
        /// What the function's signature says.
        expected: Type,
    },
    /// Bytes that begin no block, where the server waits for the answer to this one.
    #[error(
        "{bytes} bytes follow the last row: values do not come as Native has them by default; \
         leave out the settings output_format_native_… in this query"
    )]
    Rest {
        /// How many came.
        bytes: usize,
    },
    /// An array that ends before it starts.
    #[error("row {row} of column {column}: the array ends at item {end}, before it starts at item {start}")]
    Ends {
        /// The column's name.
        column: &'static str,
        /// The row's number.
        row: usize,
        /// The end of the row before.
        start: u64,
        /// The end of this row.
        end: u64,
    },
    /// A rule asked for a column that its signature does not give it: the registry is wrong.
    #[error("argument {argument} of the signature is not {wanted}: the rule and the registry disagree")]
    Argument {
        /// The argument's number.
        argument: usize,
        /// What the rule wants.
        wanted: &'static str,
    },
    /// A rule answered another number of rows, or values of another type: the registry is wrong.
    #[error("the rule answered {rows} rows in {bytes} bytes to a block of {expected} rows of {data_type}")]
    Answer {
        /// Rows in the block.
        expected: usize,
        /// Rows answered.
        rows: usize,
        /// Bytes of all values answered.
        bytes: usize,
        /// The type the function returns.
        data_type: Type,
    },
}

/// What to do about a label that is not that of the signature.
fn next_step(place: Place) -> &'static str {
    match place {
        Place::DataType { .. } => {
            "cast this argument in the query (not every ClickHouse does it by itself), or install the functions again"
        }
        _ => "the function's XML is not of this version: install the functions again",
    }
}
