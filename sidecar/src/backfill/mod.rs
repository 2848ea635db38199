//! Exactly-once backfill from Parquet.
//!
//! The stages are `source → plan → read → map → shard → insert → ledger → verify`. `undo` takes a
//! load back.

pub(crate) mod source;
pub(crate) mod read;
pub(crate) mod plan;
pub(crate) mod map;
pub(crate) mod extra;
pub(crate) mod events;
pub(crate) mod place;
pub(crate) mod shard;
mod retry;
pub(crate) mod memory;
pub(crate) mod insert;
pub(crate) mod ledger;
pub(crate) mod run;
pub(crate) mod verify;
pub(crate) mod watch;
pub(crate) mod undo;
