//! The registry of tables and views: what each is called, which file makes it, and what part it plays.

/// A table or view of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its name in the database.
    pub name: &'static str,
    /// Its file below `sql/`.
    pub file: &'static str,
    /// Its part, which decides when it is made and how it may be changed.
    pub role: Role,
}

/// What an object is in its journey, in the order in which objects are made.
///
/// A consumer comes after its views: the engine streams as soon as one view is attached, so that a consumer with one
/// of its two views would advance the offsets past messages that belong to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A MergeTree that holds data: altered, never dropped.
    Storage,
    /// A Distributed table that rows are written through: its columns are altered; otherwise it is flushed and made again.
    Route,
    /// A materialized view: made again while nothing streams through it.
    View,
    /// A Kafka table: made again; its offsets live in Keeper or in the group.
    Consumer,
    /// A Distributed table that is only read: changed last, when every shard has what it lists.
    Front,
    /// A view with parameters, which holds nothing: made again whenever it differs.
    Query,
}

/// Every object, in the order of its journey's files.
pub const OBJECTS: &[Object] = &[
    Object { name: "posthouse_upgrades", file: "upgrades/posthouse_upgrades.sql", role: Role::Storage },
    Object { name: "kafka_events", file: "events/1_kafka_events.sql", role: Role::Consumer },
    Object { name: "events_mv", file: "events/2_events_mv.sql", role: Role::View },
    Object { name: "writable_events", file: "events/3_writable_events.sql", role: Role::Route },
    Object { name: "sharded_events", file: "events/4_sharded_events.sql", role: Role::Storage },
    Object { name: "events", file: "events/5_events.sql", role: Role::Front },
    Object { name: "events_dead_letter_mv", file: "events/6_events_dead_letter_mv.sql", role: Role::View },
    Object {
        name: "sharded_events_dead_letter",
        file: "events/7_sharded_events_dead_letter.sql",
        role: Role::Storage,
    },
    Object { name: "events_dead_letter", file: "events/8_events_dead_letter.sql", role: Role::Route },
    Object {
        name: "sharded_backfill_files",
        file: "backfill/1_sharded_backfill_files.sql",
        role: Role::Storage,
    },
    Object { name: "backfill_files", file: "backfill/2_backfill_files.sql", role: Role::Route },
    Object {
        name: "sharded_backfill_ledger",
        file: "backfill/3_sharded_backfill_ledger.sql",
        role: Role::Storage,
    },
    Object { name: "backfill_ledger", file: "backfill/4_backfill_ledger.sql", role: Role::Route },
    Object { name: "shard_rows", file: "queries/shard_rows.sql", role: Role::Query },
    Object { name: "wrong_shard_rows", file: "queries/wrong_shard_rows.sql", role: Role::Query },
    Object { name: "duplicate_events", file: "queries/duplicate_events.sql", role: Role::Query },
    Object { name: "reshard_plan", file: "queries/reshard_plan.sql", role: Role::Query },
];

impl Object {
    /// The object called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        OBJECTS.iter().find(|object| object.name == name)
    }
}
