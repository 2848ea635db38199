//! History from Parquet, exactly once: `source → plan → read → map → shard → insert → ledger → verify`.

pub mod source;

pub mod plan;

pub mod read;

pub mod map;

pub mod events;
pub mod place;
pub mod shard;

pub mod insert;
mod retry;

pub mod ledger;

pub mod run;

pub mod verify;
