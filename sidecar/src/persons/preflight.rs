//! Preflight of `posthouse run`: what it would publish, from where, and what conflicts with it.

use minijinja::context;
use serde::Serialize;

use crate::config::{Config, TableName, VersionRule};
use crate::kafka::{Client, KafkaError};

use super::foreign::{self, ConflictError, Conflicts, LookError};
use super::newest::{self, NewestError};
use super::postgres::{PostgresError, Session};
use super::slot::{self, SlotError, qualified};
use super::state::{self, Published, StateError};
use super::version::{VersionError, of_copy};

/// What `posthouse run` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preflight {
    /// The PostgreSQL that persons come from.
    pub address: String,
    /// Its database.
    pub database: String,
    /// Both tables with their rows, persons first.
    pub tables: Vec<SourceTable>,
    /// The replication slot.
    pub slot: String,
    /// Whether the slot is there, and held.
    pub slot_state: SlotState,
    /// The versions that are published: `wal` or `column`.
    pub version: &'static str,
    /// The version of every row of an initial snapshot that began now, with versions of the WAL.
    pub snapshot_version: Option<u64>,
    /// Whether these topics were filled with these versions before.
    pub has_published: bool,
    /// What conflicts.
    pub conflicts: Conflicts,
    /// Why `posthouse run` would publish nothing; absent where it would.
    pub refused: Option<String>,
}

/// A table of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceTable {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// The topic that they are published to.
    pub topic: String,
}

/// A replication slot as `posthouse run` would find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// It would be made.
    Missing,
    /// It would be taken.
    Free,
    /// A posthouse holds it.
    Held,
    /// PostgreSQL has removed the WAL that it needs: it would be made again.
    Lost,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The config does not say where persons come from.
    #[error("posthouse publishes no persons: add [persons.postgres] to the config")]
    NoSource,
    /// A topic is not there.
    #[error("kafka has no topic {0}: add it to topics.toml, and run posthouse topics apply")]
    NoTopic(String),
    /// PostgreSQL did not answer as it should.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The slot can't be used.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The brokers did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// What was published is not known.
    #[error(transparent)]
    State(#[from] StateError),
    /// Topics or tables can't be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The WAL has come too far.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The tables can't be compared with the WAL.
    #[error(transparent)]
    Newest(NewestError),
}

/// Looks at PostgreSQL, both topics and all nodes. Nothing is made or changed.
///
/// # Errors
/// See [`PreflightError`].
pub async fn preflight(config: &Config) -> Result<Preflight, PreflightError> {
    let (persons, postgres) = super::lead::source(config).ok_or(PreflightError::NoSource)?;
    let client = Client::new(&config.kafka)?;
    let topics = client.cluster().await?.topics;
    for topic in [&persons.topic, &persons.distinct_id_topic] {
        if !topics.contains_key(topic) {
            return Err(PreflightError::NoTopic(topic.clone()));
        }
    }
    let session = Session::connect(postgres).await?;
    let slot_state = match slot::observe(&session, postgres).await? {
        None => SlotState::Missing,
        Some(slot) if slot.is_active => SlotState::Held,
        Some(slot) if slot.is_lost => SlotState::Lost,
        Some(_) => SlotState::Free,
    };
    let mut tables = Vec::new();
    for (table, topic) in
        [(&postgres.person.table, &persons.topic), (&postgres.distinct_id.table, &persons.distinct_id_topic)]
    {
        let rows = count(&session, table).await?;
        tables.push(SourceTable { table: table.to_string(), rows, topic: topic.clone() });
    }
    let state = state::remembered(&client, postgres).await?;
    let has_published = Published::new(persons, postgres).is_accepted(state.as_ref());
    let (conflicts, _) = foreign::look(config, persons, postgres, &client).await?;
    let mut refused = match conflicts.count() {
        _ if has_published => None,
        0 if conflicts.unreadable.is_empty() => None,
        0 => Some(LookError::Unreadable(conflicts.unreadable.clone()).to_string()),
        _ => Some(ConflictError { conflicts: conflicts.clone(), rule: postgres.version }.to_string()),
    };
    let mut snapshot_version = None;
    if postgres.version == VersionRule::Wal {
        let (place, _) = super::copy::now(&session).await?;
        snapshot_version = Some(of_copy(place, postgres.version_base)?);
        if !has_published && refused.is_none() {
            match newest::check(config, &session, postgres.version_base).await {
                Err(hidden @ NewestError::Hidden { .. }) => refused = Some(hidden.to_string()),
                Err(error) => return Err(PreflightError::Newest(error)),
                Ok(()) => {}
            }
        }
    }
    Ok(Preflight {
        address: postgres.address.to_string(),
        database: postgres.database.clone(),
        tables,
        slot: postgres.slot.clone(),
        slot_state,
        version: match postgres.version {
            VersionRule::Wal => "wal",
            VersionRule::Column => "column",
        },
        snapshot_version,
        has_published,
        conflicts,
        refused,
    })
}

async fn count(session: &Session, table: &TableName) -> Result<u64, PostgresError> {
    const TASK: &str = "count a table's rows";
    let [rows] = session.row(TASK, "postgres/count.sql", context! { table => qualified(table) }).await?;
    rows.parse().map_err(|_| session.odd(TASK, rows))
}
