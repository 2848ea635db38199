//! Publication and replication slot: creation, checks, position.

use anyhow::bail;
use minijinja::context;

use crate::config::{Postgres, TableName};

use super::lsn::Lsn;
use super::session::{PostgresError, Session, literal, quoted, text};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Whether a process holds it.
    pub(crate) is_active: bool,
    /// Everything before this position was acknowledged.
    pub(crate) confirmed: Lsn,
    /// Whether PostgreSQL has removed the WAL that the slot needs.
    pub(crate) is_lost: bool,
    /// WAL retained for the slot, in bytes.
    pub(crate) lag: u64,
}

/// Creates the publication of both tables; succeeds if another process created it meanwhile.
pub(crate) async fn create_publication(session: &Session, config: &Postgres) -> Result<(), PostgresError> {
    let values = context! {
        publication => quoted(&config.publication),
        person => qualified(&config.person.table),
        distinct_id => qualified(&config.distinct_id.table),
    };
    match session.rows("create a publication", "postgres/create_publication.sql", values).await {
        Err(error) if !error.is_duplicate() => Err(error),
        _ => {
            tracing::info!(publication = config.publication, "publication created");
            Ok(())
        }
    }
}

/// Returns the observed slot, or `None` if it does not exist.
///
/// # Errors
/// Fails if it has another plugin or database.
pub(crate) async fn observe(session: &Session, config: &Postgres) -> anyhow::Result<Option<Slot>> {
    const TASK: &str = "report its replication slots";
    let values = context! { slot => literal(&config.slot) };
    let rows = session.rows(TASK, "postgres/slot.sql", values).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let row: Vec<String> = row.iter().map(text).collect();
    let [plugin, database, active, confirmed, status, lag] = &row[..] else {
        return Err(session.odd(TASK, format!("{} values", row.len())).into());
    };
    if plugin != "pgoutput" || *database != config.database {
        bail!(
            "replication slot {} is of plugin {plugin} in database {database}, not of pgoutput in {}: choose another name as \
             persons.postgres.slot",
            config.slot,
            config.database
        );
    }
    let is_lost = status == "lost";
    // A lost slot may have no position.
    let confirmed = match Lsn::parse(confirmed) {
        Some(place) => place,
        None if is_lost => Lsn::from_u64(0),
        None => return Err(session.odd(TASK, "no WAL position").into()),
    };
    let lag = lag.parse().unwrap_or(0);
    Ok(Some(Slot { is_active: active == "t", confirmed, is_lost, lag }))
}

pub(crate) async fn drop(session: &Session, config: &Postgres) -> anyhow::Result<()> {
    let values = context! { slot => literal(&config.slot) };
    session.rows("drop a replication slot", "postgres/drop_slot.sql", values).await?;
    Ok(())
}

/// A table's qualified and quoted name.
pub(crate) fn qualified(table: &TableName) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}
