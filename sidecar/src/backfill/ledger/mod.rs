//! Ledger of a backfill, stored in ClickHouse.
//!
//! The ledger records files, units, and the blocks that each shard has acknowledged.

mod claim;
mod jobs;
mod known;
mod known_files;
mod record;

pub(crate) use self::claim::{Claim, claimed_bundles};
pub(crate) use self::jobs::{Job, JobFile, cancel, cancellations, job_files, jobs, note};
pub(crate) use self::known::{Known, known_unit, known_units};
pub(crate) use self::known_files::{
    BundledFile, KnownFile, KnownFiles, UndoMark, bundle_files, job_records, known_files, undone_bundles,
};
pub(crate) use self::record::{FileRecord, Record, State, record, record_files};

use super::extra::UnknownColumns;
use crate::node::NodeError;
use crate::sql::RenderError;

/// ClickHouse's error codes for an unknown table and an unknown database.
const NOTHING_THERE: [u32; 2] = [60, 81];

/// ClickHouse's error codes for an unknown column: in a table, an expression and an input format.
const COLUMN_MISSING: [u32; 3] = [16, 47, 117];

/// ClickHouse's error code for a Distributed table that can't reach a shard.
const ALL_CONNECTION_TRIES_FAILED: u32 = 279;

/// The ledger can't be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The statement failed on a node.
    #[error(transparent)]
    Node(NodeError),
    /// The node has no ledger.
    #[error("{0}: the backfill tables do not exist: run posthouse schema apply first")]
    NoSchema(NodeError),
    /// The node's ledger is that of an older posthouse.
    #[error("{0}: the backfill tables lack a column: run posthouse schema apply first")]
    OldSchema(NodeError),
    #[error(
        "the ledger is on all shards, and one of them does not answer: start it and run the same command again: {0}"
    )]
    ShardDown(NodeError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Columns(#[from] UnknownColumns),
    /// A record can't be serialized to JSON.
    #[error("can't write a record of the ledger: please report this")]
    Record(#[from] serde_json::Error),
}

impl From<NodeError> for LedgerError {
    fn from(error: NodeError) -> Self {
        match error.code() {
            Some(code) if NOTHING_THERE.contains(&code) => Self::NoSchema(error),
            Some(code) if COLUMN_MISSING.contains(&code) => Self::OldSchema(error),
            Some(ALL_CONNECTION_TRIES_FAILED) => Self::ShardDown(error),
            _ => Self::Node(error),
        }
    }
}
