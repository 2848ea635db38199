//! Preflight check of `posthouse run`: source, target and conflicts.

use anyhow::Context;
use minijinja::context;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::config::{Persons, TableName, VersionRule};
use crate::kafka::{Client, KafkaError};
use crate::persons::source::PersonSource;

use super::checkpoint::{self, Published};
use super::foreign::{self, ConflictError, Conflicts};
use super::postgres::session::{PostgresError, Session};
use super::postgres::slot::qualified;
use super::publish::version::of_copy;
use super::requirements::{self, Catalog, Requirement};
use super::version_guard;

/// The settings and checks that `posthouse run` would start with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Preflight {
    /// Address of the source PostgreSQL.
    pub(crate) address: String,
    pub(crate) database: String,
    /// Requirements for PostgreSQL and Kafka, met or not.
    pub(crate) requirements: Vec<Requirement>,
    /// Both tables with their row counts, persons first.
    pub(crate) tables: Vec<SourceTable>,
    pub(crate) slot: String,
    pub(crate) slot_state: SlotState,
    /// The version rule: `wal` or `column`.
    pub(crate) version: &'static str,
    /// With WAL versions, the version of every row of an initial snapshot that began now.
    pub(crate) snapshot_version: Option<u64>,
    /// Whether these topics were filled with these versions before.
    pub(crate) has_published: bool,
    pub(crate) conflicts: Conflicts,
    /// Why `posthouse run` would not publish; absent where it would.
    pub(crate) refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SourceTable {
    pub(crate) table: String,
    /// Number of rows; absent where the table can't be read.
    pub(crate) rows: Option<u64>,
    /// The topic that its rows are published to.
    pub(crate) topic: String,
}

/// The state of the replication slot before `posthouse run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SlotState {
    /// It would be created.
    Missing,
    /// It would be used.
    Free,
    /// Another posthouse holds it.
    Held,
    /// PostgreSQL has removed the WAL that it needs. It would be recreated.
    Lost,
}

/// Inspects PostgreSQL, both topics and all nodes. Read-only.
pub(crate) async fn preflight(cluster: &Cluster) -> anyhow::Result<Preflight> {
    let source = PersonSource::of(&cluster.config)
        .context("the config has no source of persons: add [persons.postgres] to it")?;
    let (PersonSource { persons, postgres }, client) = (source, cluster.kafka()?);
    let session = Session::connect(postgres).await?;
    let (mut requirements, catalog) = requirements::look(&session, postgres).await?;
    requirements.extend(topics(persons, client).await?);
    let mut tables = Vec::new();
    for (table, topic) in
        [(&postgres.person.table, &persons.topic), (&postgres.distinct_id.table, &persons.distinct_id_topic)]
    {
        let rows = match catalog.can_be_read(table) {
            true => Some(count(&session, table).await?),
            false => None,
        };
        tables.push(SourceTable { table: table.to_string(), rows, topic: topic.clone() });
    }
    let state = checkpoint::load(client, postgres).await?;
    let has_published = Published::new(persons, postgres).is_accepted(state.as_ref());
    let unmet = requirements::unmet(requirements.clone());
    let conflicts = match requirements.iter().any(Requirement::is_missing_topic) {
        true => Conflicts::default(),
        false => foreign::look(cluster, source).await?.0,
    };
    let mut refused = match (unmet, conflicts.count()) {
        (Some(unmet), _) => Some(format!("{} requirements are not met", unmet.requirements.len())),
        _ if has_published => None,
        (None, 0) if conflicts.unreadable.is_empty() => None,
        (None, 0) => Some(foreign::unreadable(&conflicts.unreadable)),
        (None, _) => Some(ConflictError { conflicts: conflicts.clone(), rule: postgres.version }.to_string()),
    };
    let mut snapshot_version = None;
    if postgres.version == VersionRule::Wal && !catalog.server.is_standby {
        let (place, _) = super::snapshot::now(&session).await?;
        let base = state.as_ref().map_or(postgres.version_base, |state| state.version_base(postgres));
        snapshot_version = Some(of_copy(place, base)?);
        if !has_published && refused.is_none() {
            let hidden = version_guard::check(cluster, &session, base).await?;
            refused = hidden.map(|hidden| hidden.to_string());
        }
    }
    Ok(Preflight {
        address: postgres.connection.address(),
        database: postgres.database.clone(),
        requirements,
        tables,
        slot: postgres.slot.clone(),
        slot_state: slot_state(&catalog),
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

fn slot_state(catalog: &Catalog) -> SlotState {
    match &catalog.slot {
        None => SlotState::Missing,
        Some(slot) if slot.is_active => SlotState::Held,
        Some(slot) if slot.is_lost => SlotState::Lost,
        Some(_) => SlotState::Free,
    }
}

/// The requirements for both topics.
async fn topics(persons: &Persons, client: &Client) -> Result<Vec<Requirement>, KafkaError> {
    let topics = client.cluster().await?.topics;
    let requirement = |topic: &String| match topics.get(topic) {
        Some(layout) => Requirement::topic(topic, Some(layout.partitions.len())),
        None => Requirement::topic(topic, None),
    };
    Ok([&persons.topic, &persons.distinct_id_topic].map(requirement).to_vec())
}

async fn count(session: &Session, table: &TableName) -> Result<u64, PostgresError> {
    const TASK: &str = "count a table's rows";
    let [rows] = session.row(TASK, "postgres/count.sql", context! { table => qualified(table) }).await?;
    rows.parse().map_err(|_| session.odd(TASK, "no number"))
}
