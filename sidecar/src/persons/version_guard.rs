//! Check for node versions above any possible WAL version.
//!
//! Rows from another PostgreSQL or another program can have higher versions. They would hide every
//! published row.

use serde::Deserialize;

use crate::cluster::Cluster;
use crate::config::DISTINCT_ID_TABLES;
use crate::node::NodeError;
use crate::sql;

use super::postgres::lsn::Lsn;
use super::postgres::session::Session;
use super::publish::version::of_copy;
use super::snapshot::now;

/// Allowance for WAL written since the position was read, in bytes. Versions of changes are at most
/// the version at the end of the WAL.
const ASKED_BEFORE: u64 = 1 << 20;

/// Rows on a node that would hide the snapshot.
#[derive(Debug, thiserror::Error)]
#[error(
    "node {node} has persons of version {stored}, and PostgreSQL's WAL gives only {given}: they come from another PostgreSQL or \
     another program, and would hide the initial snapshot. Set persons.postgres.version_base to {} (and leave it there), or \
     empty person and {distinct_ids} on all nodes",
    .stored + 1
)]
pub(crate) struct HiddenSnapshotError {
    node: String,
    /// The node's greatest version.
    pub(crate) stored: u64,
    /// The greatest version that the WAL could have produced.
    given: u64,
    /// The table of distinct ids.
    distinct_ids: &'static str,
}

#[derive(Deserialize)]
struct NewestVersion {
    version: u64,
}

/// Queries every reachable node, and returns the first one whose rows would hide the snapshot.
pub(super) async fn check(
    cluster: &Cluster,
    session: &Session,
    base: u64,
) -> anyhow::Result<Option<HiddenSnapshotError>> {
    let (place, _) = now(session).await?;
    let given = of_copy(Lsn::from_u64(place.as_u64() + ASKED_BEFORE), base)?;
    let config = &cluster.config;
    let distinct_ids =
        config.persons.as_ref().map_or(DISTINCT_ID_TABLES[0], |persons| persons.distinct_id_table);
    let values = minijinja::context! { database => &config.database, distinct_id_table => distinct_ids };
    let statement = sql::render("audit/node_newest.sql", values)?;
    for node in &cluster.nodes {
        match node.rows::<NewestVersion>(&statement).await {
            Ok(rows) => {
                let stored = rows.first().map_or(0, |row| row.version);
                if stored > given {
                    return Ok(Some(HiddenSnapshotError {
                        node: node.name.clone(),
                        stored,
                        given,
                        distinct_ids,
                    }));
                }
            }
            // The node will consume the messages later, and the audit reports rows that are hidden
            // there.
            Err(error @ NodeError::Unreachable { .. }) => {
                tracing::warn!(error = %error, "versions on a node are unknown");
            }
            Err(error) => {
                let text = format!("{error}: run posthouse schema apply before persons are synced");
                return Err(anyhow::Error::from(error).context(text));
            }
        }
    }
    Ok(None)
}
