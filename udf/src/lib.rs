//! Executable functions that ClickHouse runs inside its queries.
//!
//! ClickHouse starts `posthouse-udf FUNCTION` as an `executable_pool` function and keeps the
//! process. It writes one `Native` block of arguments, reads one `Native` block with the result,
//! and repeats until it closes the pipe.

#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::panic
    )
)]

#[cfg(test)]
mod corpus;
pub mod docs;
pub mod fingerprint;
pub mod functions;
pub mod kafka;
pub mod person;
pub mod process;
pub mod serve;
pub mod shard;
pub mod snapshot;
pub mod signature;
pub mod texts;
pub mod wire;
