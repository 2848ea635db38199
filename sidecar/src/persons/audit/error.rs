//! Errors of audits that decide about the next attempt.

use crate::persons::postgres::lsn::Lsn;

/// Why an audit or repair waits or stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
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
}
