//! Whether the nodes have versions that this PostgreSQL's WAL could not have given: those of another PostgreSQL, or of another
//! program. They would hide everything that is copied.

use pgwire_replication::Lsn;
use serde::Deserialize;

use crate::config::Config;
use crate::node::{Node, NodeError};
use crate::sql::{self, RenderError};

use super::postgres::session::{PostgresError, Session};
use super::publish::version::{VersionError, of_copy};
use super::snapshot::now;

/// So far may the WAL have gone on since it was asked for: versions of changes are at most those of its end.
const ASKED_BEFORE: u64 = 1 << 20;

/// Why copying does not begin.
#[derive(Debug, thiserror::Error)]
pub enum NewestError {
    /// They would hide what is copied.
    #[error(
        "node {node} has persons of version {stored}, and PostgreSQL's WAL gives only {given}: they come from another PostgreSQL, or \
         another program wrote them, and would hide everything that is copied. Set persons.postgres.version_base to {} (and leave it \
         there), or empty person and person_distinct_id on all nodes",
        .stored + 1
    )]
    Hidden {
        /// The node.
        node: String,
        /// Its greatest version.
        stored: u64,
        /// The greatest that the WAL could have given.
        given: u64,
    },
    /// PostgreSQL did not answer as it should.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A node has no such tables, or refuses to tell.
    #[error("{0}: persons can be copied when posthouse schema apply has been run")]
    Node(#[from] NodeError),
    /// The WAL has come too far.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// A fault of posthouse.
    #[error(transparent)]
    Render(#[from] RenderError),
}

#[derive(Deserialize)]
struct Newest {
    version: u64,
}

/// Asks every node that answers.
///
/// # Errors
/// See [`NewestError`].
pub(super) async fn check(config: &Config, session: &Session, base: u64) -> Result<(), NewestError> {
    let (place, _) = now(session).await?;
    let given = of_copy(Lsn::from_u64(place.as_u64() + ASKED_BEFORE), base)?;
    let statement =
        sql::render("audit/node_newest.sql", minijinja::context! { database => &config.database })?;
    for node in Node::all(config) {
        match node.rows::<Newest>(&statement).await {
            Ok(rows) => {
                let stored = rows.first().map_or(0, |row| row.version);
                if stored > given {
                    return Err(NewestError::Hidden { node: node.name, stored, given });
                }
            }
            // It will read what comes, and the audit tells if that is hidden there.
            Err(error @ NodeError::Unreachable { .. }) => tracing::warn!("persons: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
