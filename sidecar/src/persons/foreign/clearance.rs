//! Clearance to publish: given to who has published the same before, else where nothing conflicts.

use std::collections::BTreeMap;

use crate::config::{Config, Persons, Postgres};
use crate::kafka::{Client, Place};

use super::{ConflictError, LookError, look};
use crate::persons::checkpoint::{self, Published, StateError};

/// Why nothing may be published.
#[derive(Debug, thiserror::Error)]
pub enum ClearanceError {
    /// Another producer's persons are where posthouse would publish.
    #[error(transparent)]
    Conflict(#[from] Box<ConflictError>),
    /// It is not known whether there are any.
    #[error(transparent)]
    Look(#[from] Box<LookError>),
    /// It is not known what was published.
    #[error(transparent)]
    State(#[from] Box<StateError>),
}

/// Gives clearance, with the ends of partitions up to which nothing conflicts. There are none for
/// who has published before: it goes on whatever conflicts, since a stop would bring nothing back
/// and PostgreSQL would keep the WAL.
///
/// # Errors
/// See [`ClearanceError`].
pub(in super::super) async fn clear(
    config: &Config,
    persons: &Persons,
    postgres: &Postgres,
    client: &Client,
) -> Result<BTreeMap<Place, i64>, ClearanceError> {
    let state = checkpoint::remembered(client, postgres).await.map_err(Box::new)?;
    if Published::new(persons, postgres).is_accepted(state.as_ref()) {
        return Ok(BTreeMap::new());
    }
    let (conflicts, ends) = look(config, persons, postgres, client).await.map_err(Box::new)?;
    for node in &conflicts.unreachable {
        tracing::warn!("persons: node {node} is unreachable: rows of another producer on it are not seen");
    }
    match conflicts.count() {
        0 if conflicts.unreadable.is_empty() => Ok(ends),
        0 => Err(Box::new(LookError::Unreadable(conflicts.unreadable)).into()),
        _ => Err(Box::new(ConflictError { conflicts, rule: postgres.version }).into()),
    }
}
