//! Clearance to publish persons beside possible other producers.
//!
//! It is granted if posthouse has published to the same topics before, or if there are no
//! conflicts.

use std::collections::BTreeMap;

use anyhow::anyhow;

use crate::cluster::Cluster;
use crate::kafka::TopicPartition;

use super::{ConflictError, look, unreadable};
use crate::persons::checkpoint::{self, Published};
use crate::persons::source::PersonSource;

/// Grants clearance and returns the offset per topic partition up to which there are no conflicts.
/// The map is empty if posthouse has published before. In that case it continues despite conflicts,
/// since a stop would not restore any rows and PostgreSQL would retain the WAL.
///
/// # Errors
/// [`ConflictError`] if another producer's persons are in the topics or tables.
pub(in super::super) async fn clear(
    cluster: &Cluster,
    source: PersonSource<'_>,
) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let PersonSource { persons, postgres } = source;
    let client = cluster.kafka()?;
    let state = checkpoint::load(client, postgres).await?;
    if Published::new(persons, postgres).is_accepted(state.as_ref()) {
        return Ok(BTreeMap::new());
    }
    let (conflicts, ends) = look(cluster, source).await?;
    for node in &conflicts.unreachable {
        tracing::warn!(node, "node is unreachable: its rows of other producers are unknown");
    }
    match conflicts.count() {
        0 if conflicts.unreadable.is_empty() => Ok(ends),
        0 => Err(anyhow!(unreadable(&conflicts.unreadable))),
        _ => Err(ConflictError { conflicts, rule: postgres.version }.into()),
    }
}
