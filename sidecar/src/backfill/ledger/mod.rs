//! What ClickHouse itself remembers of a backfill: which files, which units, which blocks every shard has acknowledged.

mod jobs;
mod known;
mod record;

pub use self::jobs::{Job, JobFile, cancel, cancellations, job_files, jobs, note};
pub use self::known::{Known, KnownFile, known_files, known_unit, known_units};
pub use self::record::{FileRecord, Record, State, record, record_files};

use crate::node::NodeError;
use crate::sql::RenderError;

/// The ledger can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A node did not do it.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A template does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A record does not become JSON.
    #[error("can't write a record of the ledger: please report this")]
    Record(#[from] serde_json::Error),
}
