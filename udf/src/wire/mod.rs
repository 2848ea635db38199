//! ClickHouse's `Native` format in and out, as it is spoken over the pipes of an executable function.
//!
//! A block is: varint count of columns, varint count of rows, then for each column its name and its type
//! (each a varint length and bytes) and, if there are rows, their values. `String`: a varint length and the
//! bytes of each row. Numbers: packed, little endian. `Array(T)`: for each row the 64-bit end of its items
//! among all items, then all items as a column of `T`. ClickHouse writes to a function at protocol revision
//! 0, which knows neither sparse nor other special serializations.
//!
//! Everything read here comes from another process: lengths are checked before use, memory grows only as
//! bytes arrive, and a fault is an error that says what was expected where.

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
pub use error::{Place, WireError};
pub use strings::Strings;

/// The input buffer's first size, and so the most that is asked of the pipe at once until a block outgrows it. Small
/// enough for the piece to stay in a core's second cache. A fuzzer would do little but
/// clear it.
pub(crate) const READ_BYTES: usize = if cfg!(fuzzing) { 1 << 10 } else { 1 << 17 };

/// Bytes of buffer kept from one block to the next. Blocks of 65,409 rows (ClickHouse's default) of up to 256
/// bytes fit; after a larger one memory goes back, because pooled processes live as long as the server.
pub(crate) const RETAINED_BYTES: usize = 1 << 24;

/// Rows a column may have, and items an array column may have in all. ClickHouse's blocks have 65,409 rows by
/// default; a greater count means that the stream is not `Native`, and waiting for its rows would hang the
/// query.
pub(crate) const MAX_ROWS: u64 = 1 << 32;

/// Bytes a string may have: ClickHouse's own default bound (`format_binary_max_string_size`).
pub(crate) const MAX_STRING_BYTES: u64 = 1 << 30;

/// Bytes a column's name or type may have, far above any in the registry: what comes is shown in an error.
pub(crate) const MAX_LABEL_BYTES: u64 = 1 << 12;
