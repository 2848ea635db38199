//! `[persons]`: how persons come from PostgreSQL to every node, and what their tables are called.

use std::path::Path;
use std::time::Duration;

use super::consumer::consumer;
use super::reader::Table;
use super::{Consumer, HostPort, POSTGRES_PASSWORD_VARIABLE, Password, password, rules};

/// The documented topic of persons.
pub(super) const DEFAULT_PERSON_TOPIC: &str = "clickhouse_person";
/// The documented topic of distinct ids.
pub(super) const DEFAULT_DISTINCT_ID_TOPIC: &str = "clickhouse_person_distinct_id";
/// The consumer group of `kafka_person`; `kafka_person_distinct_id` adds `_distinct_id`, and with tables that are not
/// replicated each node adds its name.
pub(super) const DEFAULT_PERSONS_GROUP: &str = "clickhouse_persons";
/// How long rows wait for others before they become a part: the larger share of the time from a change to its being
/// seen. Each wait makes a part on every node.
pub(crate) const DEFAULT_PERSONS_FLUSH: Duration = Duration::from_millis(500);
/// Slot and publication are called alike.
pub(super) const DEFAULT_SLOT: &str = "posthouse";
/// Where posthouse remembers what it has copied: in the same Kafka as the copies, so that both are lost together.
pub(super) const DEFAULT_STATE_TOPIC: &str = "posthouse_persons";
/// So many MiB of WAL behind, somebody should look: PostgreSQL keeps it all on its disk.
pub(super) const DEFAULT_LAG_LIMIT_MIB: u64 = 4096;
/// Connections that read a table at once while it is copied whole.
pub(super) const DEFAULT_READERS: u32 = 2;
/// Persons whose uuid is kept in memory: 40 bytes each.
pub(super) const DEFAULT_CACHED_PERSONS: u32 = 1_000_000;
/// An audit reads both tables whole, on PostgreSQL and on each node.
pub(super) const DEFAULT_AUDIT_PERIOD: Duration = Duration::from_secs(6 * 3600);

/// Longer than this nobody waits to see a person.
const LONGEST_FLUSH_MS: u64 = 60_000;
/// 16 TiB: no disk for WAL is larger.
const LARGEST_LAG_MIB: u64 = 16 << 20;
/// More connections than this are felt by PostgreSQL.
const MOST_READERS: u32 = 32;
/// Four gigabytes of cache.
const MOST_CACHED: u32 = 100_000_000;
/// Who looks less than once in a month does not look.
const LONGEST_AUDIT_S: u64 = 31 * 86_400;

/// The way of persons and their distinct ids to every node.
#[derive(Debug, Clone, PartialEq)]
pub struct Persons {
    /// The topic of persons.
    pub topic: String,
    /// The topic of distinct ids.
    pub distinct_id_topic: String,
    /// The consumer group; see [`DEFAULT_PERSONS_GROUP`].
    pub group: String,
    /// Who reads the topics into the tables.
    pub consumer: Consumer,
    /// See [`DEFAULT_PERSONS_FLUSH`].
    pub flush: Duration,
    /// Where they come from; `None` where somebody else fills the topics.
    pub postgres: Option<Postgres>,
}

/// The source of truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Postgres {
    /// The primary.
    pub address: HostPort,
    /// The database in it.
    pub database: String,
    /// A role with REPLICATION that may read both tables.
    pub user: String,
    /// From [`POSTGRES_PASSWORD_VARIABLE`] or the file that the config names.
    pub password: Option<Password>,
    /// The logical replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// See [`DEFAULT_STATE_TOPIC`].
    pub state_topic: String,
    /// What a row's version is.
    pub version: VersionRule,
    /// What is added to every version that follows the WAL: above all that is stored, when a new cluster begins at a lower WAL
    /// position.
    pub version_base: u64,
    /// When another producer of persons was stopped for good: what it made until then does not keep posthouse from publishing.
    pub other_producer_stopped_at: Option<jiff::Timestamp>,
    /// Bytes of WAL that the slot may hold back before it is an alarm.
    pub lag_limit: u64,
    /// Connections that copy a table.
    pub readers: u32,
    /// Persons whose uuid is kept in memory.
    pub cached_persons: u32,
    /// What the daemon does about differences.
    pub audit: Audit,
    /// How often it looks.
    pub audit_period: Duration,
    /// Where persons stand.
    pub person: PersonTable,
    /// Where their distinct ids stand.
    pub distinct_id: DistinctIdTable,
}

/// What a row's version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionRule {
    /// Its change's place in the WAL.
    Wal,
    /// A column that the application raises with every change.
    Column,
}

/// What the daemon does about differences between PostgreSQL and the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    /// Nobody looks.
    Off,
    /// They are told.
    Check,
    /// They are published again.
    Repair,
}

/// A table in a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// Its schema.
    pub schema: String,
    /// Its name in it.
    pub name: String,
}

/// The persons' table and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonTable {
    /// The table.
    pub table: TableName,
    /// Primary key, an integer.
    pub id: String,
    /// What ClickHouse knows the person by.
    pub uuid: String,
    /// Whose person it is.
    pub team_id: String,
    /// JSON.
    pub properties: String,
    /// A boolean.
    pub is_identified: String,
    /// A timestamp with time zone.
    pub created_at: String,
    /// Only read with [`VersionRule::Column`].
    pub version: String,
    /// A boolean: whether the person is deleted, though its row stays.
    pub is_deleted: Option<String>,
    /// An integer: the person that this one was merged into, whose its distinct ids are then.
    pub merged_into_id: Option<String>,
}

/// The distinct ids' table and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinctIdTable {
    /// The table.
    pub table: TableName,
    /// Primary key, an integer.
    pub id: String,
    /// Whose distinct id it is.
    pub team_id: String,
    /// The distinct id.
    pub distinct_id: String,
    /// The person, by [`PersonTable::id`].
    pub person_id: String,
    /// Only read with [`VersionRule::Column`].
    pub version: String,
    /// A boolean: whether the distinct id is deleted, though its row stays.
    pub is_deleted: Option<String>,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

const VERSIONS: &[(&str, VersionRule)] = &[("wal", VersionRule::Wal), ("column", VersionRule::Column)];
const AUDITS: &[(&str, Audit)] = &[("off", Audit::Off), ("check", Audit::Check), ("repair", Audit::Repair)];

pub(super) fn persons(table: &mut Table<'_>, base: &Path) -> Option<Persons> {
    let flush = table.or("flush_ms", millis(DEFAULT_PERSONS_FLUSH), rules::integer(1..=LONGEST_FLUSH_MS));
    let topic = table.or("topic", DEFAULT_PERSON_TOPIC, rules::topic_name);
    let distinct_id_topic = table.or("distinct_id_topic", DEFAULT_DISTINCT_ID_TOPIC, rules::topic_name);
    if topic == distinct_id_topic {
        table.fault("distinct_id_topic", "is the topic of persons too: give each a topic of its own");
    }
    let group = table.or("group", DEFAULT_PERSONS_GROUP, rules::literal);
    let postgres = match table.holds("postgres") {
        true => Some(table.section("postgres", |table| postgres(table, base))?),
        false => None,
    };
    let consumer = consumer(table);
    let flush = Duration::from_millis(flush);
    Some(Persons { topic, distinct_id_topic, group, consumer, flush, postgres })
}

fn postgres(table: &mut Table<'_>, base: &Path) -> Option<Postgres> {
    let address = table.required("address", r#""127.0.0.1:5432""#, rules::host_port);
    let database = table.required("database", r#""posthog""#, rules::text);
    let user = table.required("user", r#""posthouse""#, rules::text);
    let (_, password) = password::password(table, base, POSTGRES_PASSWORD_VARIABLE);
    let period = DEFAULT_AUDIT_PERIOD.as_secs();
    Some(Postgres {
        slot: table.or("slot", DEFAULT_SLOT, rules::identifier),
        publication: table.or("publication", DEFAULT_SLOT, rules::identifier),
        state_topic: table.or("state_topic", DEFAULT_STATE_TOPIC, rules::topic_name),
        version: table.or("version", VersionRule::Wal, rules::one_of(VERSIONS)),
        version_base: table.or("version_base", 0_u64, rules::integer(0..=i64::MAX.unsigned_abs() / 2)),
        other_producer_stopped_at: table.optional("other_producer_stopped_at", rules::timestamp),
        lag_limit: table.or("lag_limit_mib", DEFAULT_LAG_LIMIT_MIB, rules::integer(1..=LARGEST_LAG_MIB))
            << 20,
        readers: table.or("readers", DEFAULT_READERS, rules::integer(1..=MOST_READERS)),
        cached_persons: table.or("cached_persons", DEFAULT_CACHED_PERSONS, rules::integer(1..=MOST_CACHED)),
        audit: table.or("audit", Audit::Check, rules::one_of(AUDITS)),
        audit_period: Duration::from_secs(table.or(
            "audit_period_s",
            period,
            rules::integer(1..=LONGEST_AUDIT_S),
        )),
        person: table.section("person", person_table),
        distinct_id: table.section("distinct_id", distinct_id_table),
        address: address?,
        database: database?,
        user: user?,
        password,
    })
}

fn person_table(table: &mut Table<'_>) -> PersonTable {
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

fn distinct_id_table(table: &mut Table<'_>) -> DistinctIdTable {
    DistinctIdTable {
        table: table_name(table, "posthog_persondistinctid"),
        id: column(table, "id"),
        team_id: column(table, "team_id"),
        distinct_id: column(table, "distinct_id"),
        person_id: column(table, "person_id"),
        version: column(table, "version"),
        is_deleted: table.optional("is_deleted", rules::text),
    }
}

/// Keys are called as the columns are by default.
fn column(table: &mut Table<'_>, name: &'static str) -> String {
    table.or(name, name, rules::text)
}

fn table_name(table: &mut Table<'_>, default: &'static str) -> TableName {
    TableName {
        schema: table.or("schema", "public", rules::text),
        name: table.or("table", default, rules::text),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
