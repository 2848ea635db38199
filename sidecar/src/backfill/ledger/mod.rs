//! What ClickHouse itself remembers of a backfill: which files, which units, which blocks every shard has acknowledged.

mod jobs;
mod known;
mod record;

pub use self::jobs::{Job, JobFile, cancel, cancellations, job_files, jobs, note};
pub use self::known::{Known, KnownFile, known_files, known_unit, known_units};
pub use self::record::{FileRecord, Record, State, record, record_files};

use crate::node::NodeError;
use crate::sql::RenderError;

/// ClickHouse's codes for a table and a database that is not there.
const NOTHING_THERE: [u32; 2] = [60, 81];

/// ClickHouse's code for a Distributed table that can't reach a shard.
const ALL_CONNECTION_TRIES_FAILED: u32 = 279;

/// The ledger can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A node did not do it.
    #[error(transparent)]
    Node(NodeError),
    /// The node has no ledger.
    #[error("{0}: the tables of backfills are not there: run posthouse schema apply first")]
    NoSchema(NodeError),
    /// A shard is down.
    #[error(
        "the ledger lies on all shards, and one of them does not answer: start it, and the same command goes on from there: {0}"
    )]
    ShardDown(NodeError),
    /// A template does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A record does not become JSON.
    #[error("can't write a record of the ledger: please report this")]
    Record(#[from] serde_json::Error),
}

impl From<NodeError> for LedgerError {
    fn from(error: NodeError) -> Self {
        match error.code() {
            Some(code) if NOTHING_THERE.contains(&code) => Self::NoSchema(error),
            Some(ALL_CONNECTION_TRIES_FAILED) => Self::ShardDown(error),
            _ => Self::Node(error),
        }
    }
}
