//! Assignment of rows to blocks by shard and month.
//!
//! The shard follows the shard rule and the month the partition key. Every run cuts the same
//! blocks.

mod block;
mod checksum;
mod column;
mod key;
mod memory;
mod month;
mod slicer;

pub use self::block::{Block, Native};
pub use self::key::SortingKey;
pub use self::memory::Memory;
pub use self::month::month;
pub use self::slicer::{Slice, Slicer};
