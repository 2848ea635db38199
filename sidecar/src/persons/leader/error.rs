//! Why a leader's turn failed.

use pgwire_replication::PgWireError;

use super::super::foreign::ClearanceError;
use super::super::requirements::SourceError;
use super::super::stream::StreamError;
use super::STEP_TIMEOUT;
use super::hold::HOLD_TIMEOUT;
use crate::kafka::KafkaError;
use crate::persons::checkpoint::StateError;
use crate::persons::postgres::session::PostgresError;
use crate::persons::postgres::slot::SlotError;
use crate::persons::publish::version::VersionError;
use crate::persons::snapshot::CopyError;
use crate::persons::version_guard::NewestError;

/// Why leading failed; it begins again.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// PostgreSQL did not answer as it should.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The slot is another program's.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The source does not meet requirements.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The brokers did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// There is nothing to write to.
    #[error("kafka has no topic {0}: add it to topics.toml, and run posthouse topics apply")]
    NoTopic(String),
    /// What was copied is not known.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another producer's persons are where posthouse would publish, or may be.
    #[error(transparent)]
    Clearance(#[from] ClearanceError),
    /// The stream relied on what is not so any more.
    #[error(
        "a unique index or a foreign key of the tables of persons has come or gone: changes are read otherwise from here on, and nodes are compared with PostgreSQL"
    )]
    Guarantees,
    /// There is no version for a copy.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// Versions would be too small.
    #[error(transparent)]
    Newest(#[from] NewestError),
    /// The copy stopped.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The stream ended.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A step does not end.
    #[error(
        "{doing} took longer than {} s: PostgreSQL, a broker or a node answers, and does not finish",
        STEP_TIMEOUT.as_secs()
    )]
    Step {
        /// Which.
        doing: &'static str,
    },
    /// It was silent instead.
    #[error(
        "PostgreSQL at {address} did not begin to stream slot {slot} within {} s: it hangs, or has no walsender left \
         (max_wal_senders)",
        HOLD_TIMEOUT.as_secs()
    )]
    BeginTimeout {
        /// Where.
        address: String,
        /// The slot.
        slot: String,
    },
    /// PostgreSQL has ended the stream, and the network has not said so.
    #[error("replication slot {0} is not held any more: the connection that streams it is dead")]
    SlotLost(String),
    /// An audit hangs.
    #[error("an audit hangs: {0}")]
    AuditStalled(String),
    /// The connection for the stream did not come about.
    #[error("PostgreSQL at {address} did not begin to stream slot {slot}: {source}")]
    Begin {
        /// Where.
        address: String,
        /// The slot.
        slot: String,
        /// What it said.
        #[source]
        source: PgWireError,
    },
}

impl LeadError {
    /// Whether the stream can't go on since its WAL is from before the publication: it was dropped and made again.
    pub(super) fn lacks_publication(&self) -> bool {
        let Self::Stream(StreamError::Connection(error)) = self else { return false };
        let said = error.to_string();
        said.contains("publication") && said.contains("does not exist")
    }
}
