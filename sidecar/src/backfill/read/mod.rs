//! Parquet row groups as Arrow batches within a memory budget.
//!
//! [`footer()`] reads a file's metadata, [`batches()`] its rows, page by page. Sizes are checked
//! against the budget and counts against the actual data before use. A panic of the decoder becomes
//! an error.

mod batches;
mod error;
mod footer;
mod memory_budget;
mod pages;
mod row_group;
mod schema;

pub use self::batches::{Batch, Batches, batches};
pub use self::error::ReadError;
pub use self::footer::{Footer, footer};
pub use self::memory_budget::MemoryBounds;

#[cfg(test)]
mod tests;
