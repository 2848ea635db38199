//! Clearance to publish persons beside possible other producers.
//!
//! It is granted if posthouse has published to the same topics before, or if there are no
//! conflicts.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::kafka::TopicPartition;

use super::{ConflictError, LookError, look};
use crate::persons::checkpoint::{self, Published, StateError};
use crate::persons::source::PersonSource;

/// Why publishing is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClearanceError {
    /// Another producer's persons are in the topics or tables.
    #[error(transparent)]
    Conflict(#[from] Box<ConflictError>),
    /// The search for other producers failed.
    #[error(transparent)]
    Look(#[from] Box<LookError>),
    /// The checkpoint can't be read.
    #[error(transparent)]
    State(#[from] Box<StateError>),
}

/// Grants clearance and returns the offset per topic partition up to which there are no conflicts.
/// The map is empty if posthouse has published before. In that case it continues despite conflicts,
/// since a stop would not restore any rows and PostgreSQL would retain the WAL.
pub(in super::super) async fn clear(
    cluster: &Cluster,
    source: PersonSource<'_>,
) -> Result<BTreeMap<TopicPartition, i64>, ClearanceError> {
    let PersonSource { persons, postgres } = source;
    let client = cluster.kafka().map_err(|error| Box::new(StateError::from(error)))?;
    let state = checkpoint::load(client, postgres).await.map_err(Box::new)?;
    if Published::new(persons, postgres).is_accepted(state.as_ref()) {
        return Ok(BTreeMap::new());
    }
    let (conflicts, ends) = look(cluster, source).await.map_err(Box::new)?;
    for node in &conflicts.unreachable {
        tracing::warn!(node, "node is unreachable: its rows of other producers are unknown");
    }
    match conflicts.count() {
        0 if conflicts.unreadable.is_empty() => Ok(ends),
        0 => Err(Box::new(LookError::Unreadable(conflicts.unreadable)).into()),
        _ => Err(Box::new(ConflictError { conflicts, rule: postgres.version }).into()),
    }
}
