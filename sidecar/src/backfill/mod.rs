//! History from Parquet, exactly once: `source → plan → read → map → shard → insert → ledger → verify`.

pub mod events;
pub mod map;
pub mod read;
pub mod source;
