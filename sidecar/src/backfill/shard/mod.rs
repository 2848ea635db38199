//! Which block a row goes to: its shard by THE rule, its month by the partition key; blocks cut alike on every run.

mod block;
mod checksum;
mod column;
mod key;
mod memory;
mod month;
mod slicer;

pub use self::block::{Block, Native};
pub use self::key::Key;
pub use self::memory::Memory;
pub use self::month::month;
pub use self::slicer::{Slice, Slicer};
