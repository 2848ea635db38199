//! Exactly-once backfill from Parquet.
//!
//! The stages are `source → plan → read → map → shard → insert → ledger → verify`.

pub mod source;
pub mod read;
pub mod plan;
pub mod map;
pub mod events;
pub mod place;
pub mod shard;
mod retry;
pub mod insert;
pub mod ledger;
pub mod run;
pub mod verify;
