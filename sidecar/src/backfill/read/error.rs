//! Why a file can't be read: always with the file and the place in it.

use std::any::Any;

use parquet::errors::ParquetError;

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is no Parquet, or what it says about itself is wrong.
    #[error("the footer of {file} can't be used: {problem}: get the file again from where it was written")]
    Footer {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A row group was asked for that the file does not have.
    #[error("{file} has no row group {row_group}: it has {row_groups}, counted from 0: plan again")]
    NoRowGroup {
        /// The file.
        file: String,
        /// What was asked for, from 0.
        row_group: usize,
        /// How many there are.
        row_groups: usize,
    },
    /// Bytes of the file can't be had; reading again may help.
    #[error("can't read {file} at byte {offset} (row group {row_group}, column {column})")]
    Input {
        /// The file.
        file: String,
        /// The row group, from 0.
        row_group: usize,
        /// The column's path.
        column: String,
        /// Where in the file.
        offset: u64,
        /// What the input said.
        #[source]
        source: ParquetError,
    },
    /// Pages don't hold what they should.
    #[error(
        "{file} is damaged in row group {row_group} after row {row}{}: {problem}: get the file again from where it was \
         written",
        place(.column.as_deref(), *.offset)
    )]
    Damaged {
        /// The file.
        file: String,
        /// The row group, from 0.
        row_group: usize,
        /// How many of its rows could be read.
        row: u64,
        /// The column's path, where one is known.
        column: Option<String>,
        /// The page's place in the file, where one is known.
        offset: Option<u64>,
        /// What is wrong.
        problem: String,
    },
    /// What would have to be in memory at once is larger than the bound.
    #[error(
        "row group {row_group} of {file} needs {bytes} bytes for {what} of column {column} at byte {offset}, and {bound} \
         are allowed: if the file is to be trusted, give more memory or write it again with smaller pages"
    )]
    TooLarge {
        /// The file.
        file: String,
        /// The row group, from 0.
        row_group: usize,
        /// The column's path.
        column: String,
        /// The page's place in the file.
        offset: u64,
        /// What is too large.
        what: &'static str,
        /// How many bytes it says it has.
        bytes: u64,
        /// How many are allowed.
        bound: u64,
    },
    /// The footer and the pages disagree on the number of rows.
    #[error(
        "row group {row_group} of {file} has {read} rows and its footer says {footer}: get the file again from where it \
         was written"
    )]
    RowCount {
        /// The file.
        file: String,
        /// The row group, from 0.
        row_group: usize,
        /// What the footer says.
        footer: u64,
        /// What the pages hold; at least this many where they hold more.
        read: u64,
    },
}

fn place(column: Option<&str>, offset: Option<u64>) -> String {
    match (column, offset) {
        (Some(column), Some(offset)) => format!(" (column {column}, page at byte {offset})"),
        (Some(column), None) => format!(" (column {column})"),
        _ => String::new(),
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".to_owned())
}
