//! Why an audit has no result.

use pgwire_replication::Lsn;

use crate::kafka::{DeliveryError, KafkaError};
use crate::node::NodeError;
use crate::persons::checkpoint::StateError;
use crate::persons::foreign::ClearanceError;
use crate::persons::postgres::session::PostgresError;
use crate::persons::postgres::slot::SlotError;
use crate::persons::publish::PublishError;
use crate::persons::publish::version::VersionError;
use crate::sql::RenderError;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The config does not say where persons come from.
    #[error("there is nothing to compare: add [persons.postgres] to the config")]
    NoSource,
    /// PostgreSQL did not answer as it should.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The slot can't be seen.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The brokers did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A node did not answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Nobody copies.
    #[error(
        "nobody holds replication slot {slot}, so what is on its way never arrives: start posthouse run, and audit again"
    )]
    Nobody {
        /// The slot.
        slot: String,
    },
    /// The copy is behind.
    #[error(
        "replication slot {slot} is at {at}, not at {wanted}, and has not moved for a minute: posthouse is behind (a first copy? brokers \
         away?); audit again when it has caught up"
    )]
    Behind {
        /// The slot.
        slot: String,
        /// Its place.
        at: Lsn,
        /// Where it should.
        wanted: Lsn,
    },
    /// A node does not read.
    #[error(
        "consumer group {group} has {messages} messages to read and has not moved for a minute: see whether its nodes run and read (posthouse topics \
         groups), and audit again"
    )]
    Unread {
        /// The group.
        group: String,
        /// How many messages are left.
        messages: i64,
    },
    /// Versions on a node are above what the WAL gives.
    #[error(
        "{table} has version {stored} on node {node}, and PostgreSQL's WAL gives only {given}: was PostgreSQL set up anew? Set \
         persons.postgres.version_base to {} or more",
        .stored - .given + 1
    )]
    Version {
        /// The table.
        table: &'static str,
        /// The node.
        node: String,
        /// What it has.
        stored: u64,
        /// What a repair would have.
        given: u64,
    },
    /// A repair would delete too much.
    #[error(
        "a repair would delete {deletions} of {rows} rows of {table} on node {node}, more than the {limit} that posthouse deletes unasked: \
         PostgreSQL was restored from an older state, or hides rows from posthouse (persons check)? Rows that were missing or stale \
         have been published again, and none was deleted. If these rows are to go: posthouse persons audit --repair --yes-delete"
    )]
    Deletions {
        /// The table.
        table: &'static str,
        /// The node.
        node: String,
        /// Rows that it has and PostgreSQL does not.
        deletions: u64,
        /// Live rows that it has.
        rows: u64,
        /// So many may be deleted.
        limit: u64,
    },
    /// A node's answer is of another shape.
    #[error("node {node} answered {digest:?} as the digest of a key: please report this")]
    Digest {
        /// The node.
        node: String,
        /// What it answered.
        digest: String,
    },
    /// Another producer's persons are where repairs would be published.
    #[error(transparent)]
    Clearance(#[from] ClearanceError),
    /// There is no version for repairs.
    #[error(transparent)]
    NoVersion(#[from] VersionError),
    /// Repairs were not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The same.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// What was repaired can't be remembered.
    #[error(transparent)]
    State(#[from] StateError),
    /// A fault of posthouse.
    #[error(transparent)]
    Render(#[from] RenderError),
}
