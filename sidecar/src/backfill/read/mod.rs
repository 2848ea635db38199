//! Parquet row groups as Arrow batches, with memory bounded whatever the file.
//!
//! [`footer()`] reads what a file says about itself, [`batches()`] its rows, page by page. Nothing a file says is believed
//! before it is checked: sizes against bounds, counts against what is there; and a decoder that panics is an error.

mod batches;
mod error;
mod footer;
mod gauge;
mod pages;
mod row_group;
mod schema;

pub use self::batches::{Batch, Batches, batches};
pub use self::error::ReadError;
pub use self::footer::{Footer, footer};
pub use self::gauge::Bounds;

#[cfg(test)]
mod tests;
