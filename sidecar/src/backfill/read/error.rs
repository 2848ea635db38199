//! Errors of reading a file, each with its position.

use parquet::errors::ParquetError;

use crate::backfill::memory::memory_for_unplanned_pages;

/// A failed read of a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file is no Parquet, or its metadata is wrong.
    #[error("the footer of {file} can't be used: {problem}: get the file again from its source")]
    Footer { file: String, problem: String },
    /// The requested row group does not exist.
    #[error("{file} has no row group {row_group}: it has {row_groups}, counted from 0: plan again")]
    NoRowGroup {
        file: String,
        /// The requested index, from 0.
        row_group: usize,
        row_groups: usize,
    },
    /// Bytes of the file can't be read; a retry may help.
    #[error("can't read {file} at byte {offset} (row group {row_group}, column {column})")]
    Input {
        file: String,
        /// From 0.
        row_group: usize,
        /// The column's path.
        column: String,
        /// Byte offset in the file.
        offset: u64,
        /// The input's error.
        #[source]
        source: ParquetError,
    },
    /// Pages don't match their metadata.
    #[error(
        "{file} is damaged in row group {row_group} after row {row}{}: {problem}: get the file again from its source",
        place(.column.as_deref(), *.offset)
    )]
    Damaged {
        file: String,
        /// From 0.
        row_group: usize,
        /// Rows that could be read before the fault.
        row: u64,
        /// The column's path, if known.
        column: Option<String>,
        /// The page's byte offset in the file, if known.
        offset: Option<u64>,
        problem: String,
    },
    /// Data that must be in memory at once exceeds the budget.
    #[error(
        "row group {row_group} of {file} needs {bytes} bytes for {what} of column {column}{}, and {bound} are allowed: if \
         you trust the file, give --memory {}MiB, or write it again with smaller pages",
        at(*.offset),
        memory_for_unplanned_pages(*.bytes)
    )]
    TooLarge {
        file: String,
        /// From 0.
        row_group: usize,
        /// The column's path.
        column: String,
        /// The page's byte offset in the file, if it is a page.
        offset: Option<u64>,
        /// The data that is too large.
        what: &'static str,
        /// The declared size.
        bytes: u64,
        /// The permitted size.
        bound: u64,
    },
    /// The footer and the pages disagree on the number of rows.
    #[error(
        "row group {row_group} of {file} has {read} rows and its footer says {footer}: get the file again from its source"
    )]
    RowCount {
        file: String,
        /// From 0.
        row_group: usize,
        /// Rows by the footer.
        footer: u64,
        /// Rows in the pages, a lower bound if there are more than in the footer.
        read: u64,
    },
}

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default()
}

fn place(column: Option<&str>, offset: Option<u64>) -> String {
    match (column, offset) {
        (Some(column), Some(offset)) => format!(" (column {column}, page at byte {offset})"),
        (Some(column), None) => format!(" (column {column})"),
        _ => String::new(),
    }
}
