//! `[persons]`: replication of persons from PostgreSQL, and names of their tables.

use std::path::Path;
use std::time::Duration;

use super::consumer::consumer;
use super::postgres::{PostgresConnection, connection};
use super::reader::ConfigTable;
use super::{Consumer, rules};
use crate::event_columns::EventProfile;

/// The documented topic of persons.
pub(super) const DEFAULT_PERSON_TOPIC: &str = "clickhouse_person";
/// The documented topic of distinct ids.
pub(super) const DEFAULT_DISTINCT_ID_TOPIC: &str = "clickhouse_person_distinct_id";
/// The consumer group of `kafka_person`; `kafka_person_distinct_id` adds `_distinct_id`. With
/// tables that are not replicated, each node adds its name.
pub(super) const DEFAULT_PERSONS_GROUP: &str = "clickhouse_persons";
/// Wait of rows for others before they become a part. It is the larger share of the time from a
/// change until it is queryable. Each wait makes a part on every node.
pub(crate) const DEFAULT_PERSONS_FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// A JOIN needs no functions on the nodes.
const DEFAULT_LOOKUP: PersonLookup = PersonLookup::Join;
/// Name of both the slot and the publication.
pub(super) const DEFAULT_SLOT: &str = "posthouse";
/// Topic of the checkpoint. It is in the same Kafka as the published rows, so that both are
/// lost together.
pub(super) const DEFAULT_STATE_TOPIC: &str = "posthouse_persons";
/// Bytes of WAL lag at which an operator should act, because PostgreSQL keeps all of it on its
/// disk.
pub(super) const DEFAULT_MAX_SLOT_LAG: u64 = 4 << 30;
/// Parallel connections per table during the initial snapshot.
pub(super) const DEFAULT_READERS: u32 = 2;
/// Persons whose uuid is cached in memory, at 40 bytes each.
pub(super) const DEFAULT_CACHED_PERSONS: u32 = 1_000_000;
/// An audit reads both tables whole, on PostgreSQL and on each node.
pub(super) const DEFAULT_AUDIT_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Longest acceptable wait until a person is queryable.
const MAX_FLUSH_INTERVAL: Duration = Duration::from_secs(60);
/// 16 TiB, more than any disk for WAL holds.
const MAX_SLOT_LAG: u64 = 16 << 40;
/// More connections are a load that PostgreSQL notices.
const MAX_READERS: u32 = 32;
/// Four gigabytes of cache.
const MAX_CACHED_PERSONS: u32 = 100_000_000;
/// 31 days. A longer interval would be as good as no audit.
const MAX_AUDIT_INTERVAL: Duration = Duration::from_secs(31 * 86_400);

/// Replication of persons and their distinct ids to every node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Persons {
    pub(crate) topic: String,
    pub(crate) distinct_id_topic: String,
    /// See [`DEFAULT_PERSONS_GROUP`].
    pub(crate) group: String,
    /// The reader of the topics into the tables.
    pub(crate) consumer: Consumer,
    /// See [`DEFAULT_PERSONS_FLUSH_INTERVAL`].
    pub(crate) flush_interval: Duration,
    /// Name of the table of distinct ids.
    pub(crate) distinct_id_table: &'static str,
    /// What posthouse run does with the index of `personOf`.
    pub(crate) index: IndexMode,
    pub(crate) lookup: PersonLookup,
    /// Source of the persons; `None` if another program fills the topics.
    pub(crate) postgres: Option<Postgres>,
}

/// What `posthouse run` does with the person index of a node that has functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexMode {
    /// It leaves the index alone.
    Off,
    /// It builds the index, and follows changes.
    Keep,
}

/// The way in which views find the person of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PersonLookup {
    /// A JOIN with the table of distinct ids.
    Join,
    /// The functions of the person index.
    Function,
}

/// The source of truth.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Postgres {
    pub(crate) connection: PostgresConnection,
    pub(crate) database: String,
    /// Name of the logical replication slot.
    pub(crate) slot: String,
    pub(crate) publication: String,
    /// See [`DEFAULT_STATE_TOPIC`].
    pub(crate) state_topic: String,
    /// Source of a row's version.
    pub(crate) version: VersionRule,
    /// Added to every version that follows the WAL. It must exceed all stored versions when a new
    /// cluster begins at a lower WAL position.
    pub(crate) version_base: u64,
    /// End time of another producer of persons. Its messages up to then do not keep posthouse
    /// from publishing.
    pub(crate) other_producer_stopped_at: Option<jiff::Timestamp>,
    /// Bytes of WAL that the slot may hold back before an alarm.
    pub(crate) max_slot_lag: u64,
    /// Connections per table during the initial snapshot.
    pub(crate) readers: u32,
    /// Persons whose uuid is cached in memory.
    pub(crate) cached_persons: u32,
    /// Handling of differences by the daemon.
    pub(crate) audit: AuditMode,
    /// Interval of the audits.
    pub(crate) audit_interval: Duration,
    /// Source table of persons.
    pub(crate) person: PersonTable,
    /// Source table of distinct ids.
    pub(crate) distinct_id: DistinctIdTable,
}

/// Source of a row's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionRule {
    /// Position of the change in the WAL.
    Wal,
    /// A column that the application raises with every change.
    Column,
}

/// Handling of differences between PostgreSQL and the nodes by the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuditMode {
    /// No audits.
    Off,
    /// Differences are reported.
    Check,
    /// Rows that differ are republished.
    Repair,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) schema: String,
    pub(crate) name: String,
}

/// The persons' table and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PersonTable {
    pub(crate) table: TableName,
    /// Primary key, an integer.
    pub(crate) id: String,
    /// The person's id in ClickHouse.
    pub(crate) uuid: String,
    /// Team of the person.
    pub(crate) team_id: String,
    /// JSON.
    pub(crate) properties: String,
    /// A boolean.
    pub(crate) is_identified: String,
    /// A timestamp with time zone.
    pub(crate) created_at: String,
    /// Only read with [`VersionRule::Column`].
    pub(crate) version: String,
    /// A boolean: whether the person is deleted although its row stays.
    pub(crate) is_deleted: Option<String>,
    /// An integer: the person that this one was merged into. It owns the distinct ids of
    /// this person.
    pub(crate) merged_into_id: Option<String>,
}

/// The distinct ids' table and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DistinctIdTable {
    pub(crate) table: TableName,
    /// Primary key, an integer.
    pub(crate) id: String,
    /// Team of the distinct id.
    pub(crate) team_id: String,
    pub(crate) distinct_id: String,
    /// The person, by [`PersonTable::id`].
    pub(crate) person_id: String,
    /// Only read with [`VersionRule::Column`].
    pub(crate) version: String,
    /// An integer above 0 if earlier events can have another person.
    pub(crate) person_changes: Option<String>,
    /// A boolean: whether the distinct id is deleted although its row stays.
    pub(crate) is_deleted: Option<String>,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

const VERSIONS: &[(&str, VersionRule)] = &[("wal", VersionRule::Wal), ("column", VersionRule::Column)];
const INDEX_MODES: &[(&str, IndexMode)] = &[("off", IndexMode::Off), ("keep", IndexMode::Keep)];
const LOOKUPS: &[(&str, PersonLookup)] =
    &[("join", PersonLookup::Join), ("function", PersonLookup::Function)];
const AUDITS: &[(&str, AuditMode)] =
    &[("off", AuditMode::Off), ("check", AuditMode::Check), ("repair", AuditMode::Repair)];

/// Names of the table of distinct ids: the documented one, and that of a PostHog of today.
pub(crate) const DISTINCT_ID_TABLES: [&str; 2] = ["person_distinct_id", "person_distinct_id2"];
const TABLE_NAMES: &[(&str, &str)] =
    &[(DISTINCT_ID_TABLES[0], DISTINCT_ID_TABLES[0]), (DISTINCT_ID_TABLES[1], DISTINCT_ID_TABLES[1])];

/// Reads `[persons]`. The profile of events decides on defaults.
pub(super) fn persons(table: &mut ConfigTable<'_>, base: &Path, profile: EventProfile) -> Option<Persons> {
    let flush_interval = rules::duration(Duration::from_millis(1)..=MAX_FLUSH_INTERVAL);
    let flush_interval = table.or("flush_interval", DEFAULT_PERSONS_FLUSH_INTERVAL, flush_interval);
    let topic = table.or("topic", DEFAULT_PERSON_TOPIC, rules::topic_name);
    let distinct_id_topic = table.or("distinct_id_topic", DEFAULT_DISTINCT_ID_TOPIC, rules::topic_name);
    if topic == distinct_id_topic {
        table.fault("distinct_id_topic", "is the topic of persons too: give each a topic of its own");
    }
    let group = table.or("group", DEFAULT_PERSONS_GROUP, rules::literal);
    let has_source = table.holds("postgres");
    if table.holds("audit") && !has_source {
        table.fault("audit", "needs [persons.postgres], which is compared with: add it, or remove this");
    }
    let audit = table.section("audit", audit);
    let postgres = match has_source {
        true => Some(table.section("postgres", |table| postgres(table, base, audit, profile))?),
        false => None,
    };
    let consumer = consumer(table);
    let distinct_id_table =
        table.or("distinct_id_table", profile.distinct_id_table(), rules::one_of(TABLE_NAMES));
    let index = table.or("index", IndexMode::Keep, rules::one_of(INDEX_MODES));
    let lookup = table.or("lookup", DEFAULT_LOOKUP, rules::one_of(LOOKUPS));
    Some(Persons {
        topic,
        distinct_id_topic,
        group,
        consumer,
        flush_interval,
        distinct_id_table,
        index,
        lookup,
        postgres,
    })
}

fn audit(table: &mut ConfigTable<'_>) -> (AuditMode, Duration) {
    let interval = rules::duration(Duration::from_secs(1)..=MAX_AUDIT_INTERVAL);
    (
        table.or("mode", AuditMode::Check, rules::one_of(AUDITS)),
        table.or("interval", DEFAULT_AUDIT_INTERVAL, interval),
    )
}

fn postgres(
    table: &mut ConfigTable<'_>,
    base: &Path,
    (audit, audit_interval): (AuditMode, Duration),
    profile: EventProfile,
) -> Option<Postgres> {
    let (connection, database) = connection(table, base).unzip();
    Some(Postgres {
        slot: table.or("slot", DEFAULT_SLOT, rules::identifier),
        publication: table.or("publication", DEFAULT_SLOT, rules::identifier),
        state_topic: table.or("state_topic", DEFAULT_STATE_TOPIC, rules::topic_name),
        version: table.or("version", VersionRule::Wal, rules::one_of(VERSIONS)),
        version_base: table.or("version_base", 0_u64, rules::integer(0..=i64::MAX.unsigned_abs() / 2)),
        other_producer_stopped_at: table.optional("other_producer_stopped_at", rules::timestamp),
        max_slot_lag: table.or("max_slot_lag", DEFAULT_MAX_SLOT_LAG, rules::size(1 << 20..=MAX_SLOT_LAG)),
        readers: table.or("readers", DEFAULT_READERS, rules::integer(1..=MAX_READERS)),
        cached_persons: table.or(
            "cached_persons",
            DEFAULT_CACHED_PERSONS,
            rules::integer(1..=MAX_CACHED_PERSONS),
        ),
        audit,
        audit_interval,
        person: table.section("person", person_table),
        distinct_id: table.section("distinct_id", |table| distinct_id_table(table, profile)),
        connection: connection?,
        database: database?,
    })
}

fn person_table(table: &mut ConfigTable<'_>) -> PersonTable {
    PersonTable {
        table: table_name(table, "posthog_person"),
        id: column(table, "id"),
        uuid: column(table, "uuid"),
        team_id: column(table, "team_id"),
        properties: column(table, "properties"),
        is_identified: column(table, "is_identified"),
        created_at: column(table, "created_at"),
        version: column(table, "version"),
        is_deleted: table.optional("is_deleted", rules::text),
        merged_into_id: table.optional("merged_into_id", rules::text),
    }
}

/// `person_changes` of tables without such a column.
const NO_COLUMN: &str = "none";

fn distinct_id_table(table: &mut ConfigTable<'_>, profile: EventProfile) -> DistinctIdTable {
    let person_changes = table.optional("person_changes", rules::text);
    DistinctIdTable {
        table: table_name(table, "posthog_persondistinctid"),
        id: column(table, "id"),
        team_id: column(table, "team_id"),
        distinct_id: column(table, "distinct_id"),
        person_id: column(table, "person_id"),
        version: column(table, "version"),
        person_changes: person_changes
            .or(profile.person_changes().map(str::to_owned))
            .filter(|name| name != NO_COLUMN),
        is_deleted: table.optional("is_deleted", rules::text),
    }
}

/// Reads the name of a column; key and default are the same word.
fn column(table: &mut ConfigTable<'_>, name: &'static str) -> String {
    table.or(name, name, rules::text)
}

fn table_name(table: &mut ConfigTable<'_>, default: &'static str) -> TableName {
    TableName {
        schema: table.or("schema", "public", rules::text),
        name: table.or("table", default, rules::text),
    }
}
