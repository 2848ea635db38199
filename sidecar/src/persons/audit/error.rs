//! Errors of an audit.

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

#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// The config has no `[persons.postgres]` section.
    #[error("no source to compare with: add [persons.postgres] to the config")]
    NoSource,
    /// PostgreSQL's answer was an error or unexpected.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The slot can't be observed.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The brokers did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A node did not answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// There is no leader.
    #[error(
        "no posthouse holds replication slot {slot}, so rows in flight never arrive: start posthouse run, and audit again"
    )]
    Nobody { slot: String },
    /// The leader is behind.
    #[error(
        "replication slot {slot} is at {at}, not at {wanted}, and has not moved for a minute: posthouse is behind (an initial snapshot? \
         brokers away?). Audit again when it has caught up"
    )]
    Behind {
        slot: String,
        /// The slot's position.
        at: Lsn,
        /// The position that was waited for.
        wanted: Lsn,
    },
    /// A node does not consume.
    #[error(
        "consumer group {group} has {messages} unread messages and has not moved for a minute: check whether its nodes run and read (posthouse topics \
         groups), and audit again"
    )]
    Unread {
        group: String,
        /// How many messages are left.
        messages: i64,
    },
    /// Versions on a node are above the WAL's versions.
    #[error(
        "{table} has version {stored} on node {node}, and PostgreSQL's WAL gives only {given}: is this another PostgreSQL? Set \
         persons.postgres.version_base to {} or more",
        .stored - .given + 1
    )]
    Version {
        table: &'static str,
        node: String,
        /// The node's version.
        stored: u64,
        /// The version that a repair would use.
        given: u64,
    },
    /// A repair would delete too many rows.
    #[error(
        "a repair would delete {deletions} of {rows} rows of {table} on node {node}, more than the limit of {limit}: was PostgreSQL restored \
         from an older state, or does it hide rows from posthouse (persons check)? Missing and stale rows were republished, and none \
         was deleted. To delete these rows: posthouse persons audit --repair --yes-delete"
    )]
    Deletions {
        table: &'static str,
        node: String,
        /// The node's rows that PostgreSQL does not have.
        deletions: u64,
        /// The node's live rows.
        rows: u64,
        /// The maximum number of deletions.
        limit: u64,
    },
    /// A node's answer has an unexpected shape.
    #[error("node {node} answered {digest:?} as the digest of a key: please report this")]
    Digest { node: String, digest: String },
    /// Another producer's persons are in the topics or tables.
    #[error(transparent)]
    Clearance(#[from] ClearanceError),
    /// There is no valid version for repairs.
    #[error(transparent)]
    NoVersion(#[from] VersionError),
    /// Repairs were not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Repairs were not delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The checkpoint was not written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A bug in posthouse.
    #[error(transparent)]
    Render(#[from] RenderError),
}
