//! ClickHouse's `Native` format, as used on the pipes of executable functions.
//!
//! A block is: varint count of columns, varint count of rows, then for each column its name and its
//! type (each a varint length and bytes) and, if there are rows, their values. `String`: a varint
//! length and the bytes of each row. Numbers: packed, little endian. `Array(T)`: for each row the
//! 64-bit end of its items among all items, then all items as a column of `T`. ClickHouse writes to
//! a function at protocol revision 0, which has neither sparse nor other special serializations.
//!
//! All input comes from another process. Lengths are checked before use, memory grows only as bytes
//! arrive, and errors name the expected part and its location.

mod answer;
mod block;
mod column;
mod error;
mod input;
mod strings;
mod varint;

pub use answer::Answer;
pub use block::{Block, BlockReader};
pub use column::{Arrays, Packed};
pub use error::{Position, WireError};
pub use strings::{Consumed, StringReader};

/// Initial size of the input buffer, and so the largest read until a block outgrows it. It is small
/// enough for the piece to stay in a core's L2 cache. A fuzzer would spend most of its time
/// clearing a larger one.
pub(crate) const READ_BYTES: usize = if cfg!(fuzzing) { 1 << 10 } else { 1 << 17 };

/// Bytes of buffer kept between blocks. Blocks of 65,409 rows (ClickHouse's default) of up to 256
/// bytes fit. Memory for a larger one is returned, because pooled processes live as long as the
/// server.
pub(crate) const RETAINED_BYTES: usize = 1 << 24;

/// Limit on the rows of a column, and on the total items of an array column. ClickHouse's blocks
/// have 65,409 rows by default. A greater count means that the stream is not `Native`, and waiting
/// for its rows would hang the query.
pub(crate) const MAX_ROWS: u64 = 1 << 32;

/// Limit on the bytes of a string: ClickHouse's own default (`format_binary_max_string_size`).
pub(crate) const MAX_STRING_BYTES: u64 = 1 << 30;

/// Limit on the bytes of a column's name or type, far above any in the registry. Received bytes are
/// shown in errors.
pub(crate) const MAX_LABEL_BYTES: u64 = 1 << 12;
