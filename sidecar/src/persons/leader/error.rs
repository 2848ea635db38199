//! Errors that end the work of a leader.

use pgwire_replication::PgWireError;

use super::super::foreign::ClearanceError;
use super::super::requirements::RequirementsError;
use super::super::stream::StreamError;
use super::{HOLD_TIMEOUT, STEP_TIMEOUT};
use crate::kafka::KafkaError;
use crate::persons::checkpoint::StateError;
use crate::persons::postgres::session::PostgresError;
use crate::persons::postgres::slot::SlotError;
use crate::persons::publish::version::VersionError;
use crate::persons::snapshot::CopyError;
use crate::persons::version_guard::NewestError;

/// Why leading failed. It is retried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeadError {
    /// PostgreSQL's answer was an error or unexpected.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The slot belongs to another program.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The source does not meet the requirements.
    #[error(transparent)]
    Source(#[from] RequirementsError),
    /// The brokers did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A topic is missing.
    #[error("kafka has no topic {0}: add it to topics.toml, and run posthouse topics apply")]
    NoTopic(String),
    /// The checkpoint can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another producer's persons are in the topics or tables, or may be.
    #[error(transparent)]
    Clearance(#[from] ClearanceError),
    /// A constraint that the stream relies on has changed.
    #[error(
        "a unique index or a foreign key of the person tables was created or dropped: the stream restarts, and an audit follows"
    )]
    Guarantees,
    /// There is no valid version for snapshot rows.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// Versions would be too small.
    #[error(transparent)]
    Newest(#[from] NewestError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A step exceeds its time limit.
    #[error(
        "{doing} took longer than {} s: PostgreSQL, a broker or a node answers but does not finish",
        STEP_TIMEOUT.as_secs()
    )]
    Step { doing: &'static str },
    /// PostgreSQL did not begin to stream in time.
    #[error(
        "PostgreSQL at {address} did not start to stream slot {slot} within {} s: it hangs, or has no walsender left \
         (max_wal_senders)",
        HOLD_TIMEOUT.as_secs()
    )]
    BeginTimeout { address: String, slot: String },
    /// PostgreSQL has ended the stream, but the connection reports no error.
    #[error("replication slot {0} is no longer held: the connection that streams it is dead")]
    SlotLost(String),
    #[error("an audit hangs: {0}")]
    AuditStalled(String),
    /// The connection for the stream failed.
    #[error("PostgreSQL at {address} did not start to stream slot {slot}: {source}")]
    Begin {
        address: String,
        slot: String,
        #[source]
        source: PgWireError,
    },
}

impl LeadError {
    /// Whether the stream fails because its WAL is older than the publication, which was dropped
    /// and recreated.
    pub(super) fn lacks_publication(&self) -> bool {
        let Self::Stream(StreamError::Connection(error)) = self else { return false };
        let said = error.to_string();
        said.contains("publication") && said.contains("does not exist")
    }
}
