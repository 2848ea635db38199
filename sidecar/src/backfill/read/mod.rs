//! Parquet row groups as Arrow batches within a memory budget.
//!
//! [`footer()`] reads a file's metadata, [`batches()`] its rows, page by page. Sizes are checked
//! against the budget and counts against the actual data before use. A panic of the decoder becomes
//! an error.

mod batches;
mod declared;
mod error;
mod footer;
mod memory_budget;
mod nested;
mod open_pages;
mod pages;
mod panics;
mod repair;
mod row_group;
mod schema;

pub(crate) use self::batches::{Batch, Batches, batches};
pub(crate) use self::declared::DeclaredType;
pub(crate) use self::error::ReadError;
pub(crate) use self::footer::{Footer, footer};
pub(crate) use self::memory_budget::MemoryBounds;
pub(crate) use self::open_pages::{open_pages, row_group_bytes};

#[cfg(test)]
mod tests;
