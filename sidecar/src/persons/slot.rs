//! What PostgreSQL keeps for posthouse: the publication, which says what is told, and the slot, which says how far it was.

use minijinja::context;
use pgwire_replication::Lsn;

use crate::config::{Postgres, TableName};

use super::pgoutput::{Relation, RelationColumn};
use super::postgres::{PostgresError, Session, literal, quoted, text};
use super::table::{Table, TableError};

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Whether a process holds it.
    pub is_active: bool,
    /// Everything before this was acknowledged.
    pub confirmed: Lsn,
    /// Whether PostgreSQL has given up the WAL that the slot needs.
    pub is_lost: bool,
    /// Bytes of WAL that are kept for it.
    pub lag: u64,
}

/// Why a slot or publication can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// PostgreSQL did not answer as it should.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A table is not as it must be.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Another program's slot.
    #[error(
        "replication slot {slot} is of plugin {plugin} in database {database}, not of pgoutput in {wanted}: choose another name as \
         persons.postgres.slot"
    )]
    Foreign {
        /// Its name.
        slot: String,
        /// Its plugin.
        plugin: String,
        /// Its database.
        database: String,
        /// The database of the config.
        wanted: String,
    },
    /// A publication that does not tell everything.
    #[error(
        "publication {publication} lacks {lacks}: ALTER PUBLICATION it, or choose another name as persons.postgres.publication"
    )]
    Publication {
        /// Its name.
        publication: String,
        /// What.
        lacks: String,
    },
}

/// What there is of the source, and that it is as it must be: both tables with their columns, and the publication, which is made
/// if it is not there.
///
/// # Errors
/// See [`SlotError`].
pub(super) async fn prepare(session: &Session, config: &Postgres) -> Result<(), SlotError> {
    for table in Table::both(config) {
        let relation = relation(session, &table).await?;
        table.places(&relation)?;
    }
    publication(session, config).await
}

/// The table as the catalog has it now.
async fn relation(session: &Session, table: &Table) -> Result<Relation, SlotError> {
    let TableName { schema, name } = &table.name;
    let values = context! { schema => literal(schema), table => literal(name) };
    let rows = session.rows("name a table's columns", "postgres/columns.sql", values).await?;
    if rows.is_empty() {
        return Err(TableError::Missing { table: table.name.clone(), section: table.section() }.into());
    }
    let columns = rows.iter().map(|row| {
        let [name, type_id, is_identity] = &row.iter().map(text).collect::<Vec<_>>()[..] else {
            return Err(session.odd("name a table's columns", format!("{row:?}")));
        };
        let type_id = type_id.parse().map_err(|_| session.odd("name a column's type", type_id))?;
        Ok(RelationColumn { name: name.clone(), type_id, is_identity: is_identity == "t" })
    });
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(Relation { id: 0, schema: schema.clone(), name: name.clone(), columns })
}

async fn publication(session: &Session, config: &Postgres) -> Result<(), SlotError> {
    let values = context! { publication => literal(&config.publication) };
    let rows = session.rows("tell its publications", "postgres/publication.sql", values).await?;
    if rows.is_empty() {
        let values = context! {
            publication => quoted(&config.publication),
            person => qualified(&config.person.table),
            distinct_id => qualified(&config.distinct_id.table),
        };
        let made = session.rows("make a publication", "postgres/create_publication.sql", values).await;
        match made {
            Err(error) if !error.is_duplicate() => return Err(error.into()),
            _ => tracing::info!("persons: publication {} made", config.publication),
        }
        return Ok(());
    }
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(text).collect()).collect();
    let has =
        |table: &TableName| rows.iter().any(|row| row[1..] == [table.schema.clone(), table.name.clone()]);
    let lacks = if rows.iter().any(|row| row[0] != "t") {
        Some("a kind of change (publish must be 'insert, update, delete, truncate')".to_owned())
    } else {
        let tables = [&config.person.table, &config.distinct_id.table];
        tables.into_iter().find(|table| !has(table)).map(|table| format!("table {table}"))
    };
    match lacks {
        Some(lacks) => Err(SlotError::Publication { publication: config.publication.clone(), lacks }),
        None => Ok(()),
    }
}

/// The slot as it is; nothing if there is none.
///
/// # Errors
/// See [`SlotError`].
pub(super) async fn observe(session: &Session, config: &Postgres) -> Result<Option<Slot>, SlotError> {
    const TASK: &str = "tell its replication slots";
    let values = context! { slot => literal(&config.slot) };
    let rows = session.rows(TASK, "postgres/slot.sql", values).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let row: Vec<String> = row.iter().map(text).collect();
    let [plugin, database, active, confirmed, status, lag] = &row[..] else {
        return Err(session.odd(TASK, format!("{row:?}")).into());
    };
    if plugin != "pgoutput" || *database != config.database {
        return Err(SlotError::Foreign {
            slot: config.slot.clone(),
            plugin: plugin.clone(),
            database: database.clone(),
            wanted: config.database.clone(),
        });
    }
    let is_lost = status == "lost";
    // A lost slot may have no place any more.
    let confirmed = match Lsn::parse(confirmed) {
        Ok(place) => place,
        Err(_) if is_lost => Lsn::from_u64(0),
        Err(_) => return Err(session.odd(TASK, confirmed).into()),
    };
    let lag = lag.parse().unwrap_or(0);
    Ok(Some(Slot { is_active: active == "t", confirmed, is_lost, lag }))
}

/// Gives up the slot.
///
/// # Errors
/// See [`SlotError`].
pub(super) async fn drop(session: &Session, config: &Postgres) -> Result<(), SlotError> {
    let values = context! { slot => literal(&config.slot) };
    session.rows("drop a replication slot", "postgres/drop_slot.sql", values).await?;
    Ok(())
}

/// A table's name as SQL wants it.
pub(super) fn qualified(table: &TableName) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}
