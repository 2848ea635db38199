//! Assignment of rows to blocks by shard and month.
//!
//! The shard follows the shard rule and the month the partition key. Every run cuts the same
//! blocks.

mod block;
mod checksum;
mod column;
mod extra;
mod key;
mod memory;
mod month;
mod slicer;
mod text;

pub(crate) use self::block::{Block, Native};
pub(crate) use self::key::SortingKey;
pub(crate) use self::memory::Memory;
pub(crate) use self::month::month;
pub(crate) use self::slicer::{Slice, Slicer};
