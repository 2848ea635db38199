//! Errors that end a reset early.

use super::Refusals;
use crate::kafka::KafkaError;
use crate::node::NodeError;
use crate::sql::RenderError;
use crate::topics::apply::lock::LockError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ResetError {
    /// The reset is refused; no change was made.
    #[error(transparent)]
    Refused(#[from] Refusals),
    /// Another process changes topics; no change was made.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The brokers can't be asked.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A node can't be asked.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The schema can't be compared, or a table could not be dropped or created.
    #[error(transparent)]
    Schema(#[from] anyhow::Error),
    /// A statement does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Keeper still has replicas of dropped tables.
    #[error(
        "the tables are dropped, and Keeper still knows {}: these offsets would take precedence. Remove the replicas of \
         nodes that are gone", .0.join(", ")
    )]
    Kept(Vec<String>),
    /// The group still has members.
    #[error("the tables are dropped, and {} are still in the group: stop these consumers", .0.join(", "))]
    Members(Vec<String>),
    /// The group has other offsets than the committed ones.
    #[error(
        "{0} partitions have other offsets than were committed: check for another program that commits for the group"
    )]
    NotKept(usize),
    /// A table was created while the offsets were set.
    #[error(
        "{0} was created while the offsets were set, and may have begun at the old ones: check for another posthouse schema apply"
    )]
    CameBack(String),
}

impl ResetError {
    /// Whether the error precedes any change.
    pub(super) fn is_harmless(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Lock(_))
    }
}
