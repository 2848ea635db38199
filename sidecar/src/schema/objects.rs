//! Registry of the schema's tables and views.

use crate::config::{Config, Consumer, NodeRole};
use crate::node::Node;

/// A table or view of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SchemaObject {
    pub(crate) name: &'static str,
    /// Path below `sql/`.
    pub(crate) file: &'static str,
    /// Decides when the object is created and how it may change.
    pub(crate) role: Role,
    /// The section of the config that asks for the object.
    pub(crate) section: Section,
}

/// A section of the config; without it, its objects are not created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// `[events]`, part of every config.
    Events,
    /// `[persons]`; without it the person topics do not exist.
    Persons,
    /// `[persons]`, and events with a person of their own: see
    /// [`Config::keeps_overrides`](crate::config::Config::keeps_overrides).
    Overrides,
}

impl Section {
    /// Returns the reader of the section's topics, as the config has it.
    pub(crate) fn consumer(self, config: &Config) -> Consumer {
        match self {
            Self::Events => config.events.consumer,
            Self::Persons | Self::Overrides => {
                config.persons.as_ref().map_or(Consumer::None, |persons| persons.consumer)
            }
        }
    }

    /// Whether the section's topics are read on the node. Each node with data needs persons: it
    /// reads them itself, unless its tables are replicas of those of a node that does.
    fn is_read_on(self, config: &Config, node: &Node) -> bool {
        let ingests = node.has(NodeRole::Ingest);
        match self {
            Self::Events => ingests,
            Self::Persons | Self::Overrides => {
                let is_filled = config.replicated && config.has_ingesting_replica();
                node.has(NodeRole::Data) && (ingests || !is_filled)
            }
        }
    }
}

/// The role of an object in ingestion, in the order of creation.
///
/// A consumer comes after its views. The engine streams as soon as one view is attached, so
/// a consumer with one of its two views would advance the offsets past messages that belong
/// to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// A MergeTree that holds data: altered, never dropped.
    Storage,
    /// A Distributed table for writes. Its columns are altered; for any other change it is flushed
    /// and recreated.
    Route,
    /// A materialized view: recreated while no messages stream through it.
    View,
    /// A Kafka table: recreated. Its offsets live in Keeper or in the group.
    Consumer,
    /// A Distributed table for reads: changed last, when every shard has the columns that it lists.
    Front,
    /// A parameterized view without data: recreated on any difference.
    Query,
}

/// The file of the distinct ids' table, which has one of two names, and that of the view of the
/// other name.
const DISTINCT_ID_TABLE: &str = "persons/6_person_distinct_id.sql";
const DISTINCT_ID_VIEW: &str = "queries/person_distinct_id_names.sql";

/// Records the upgrades of a node.
pub(super) const UPGRADES_TABLE: &str = "posthouse_upgrades";

/// All objects, in the order of their files.
pub(crate) const OBJECTS: &[SchemaObject] = &[
    events(UPGRADES_TABLE, "upgrades/posthouse_upgrades.sql", Role::Storage),
    events("kafka_events", "events/1_kafka_events.sql", Role::Consumer),
    events("events_mv", "events/2_events_mv.sql", Role::View),
    events("writable_events", "events/3_writable_events.sql", Role::Route),
    events("sharded_events", "events/4_sharded_events.sql", Role::Storage),
    events("events", "events/5_events.sql", Role::Front),
    events("events_dead_letter_mv", "events/6_events_dead_letter_mv.sql", Role::View),
    events("sharded_events_dead_letter", "events/7_sharded_events_dead_letter.sql", Role::Storage),
    events("events_dead_letter", "events/8_events_dead_letter.sql", Role::Route),
    events("sharded_backfill_files", "backfill/1_sharded_backfill_files.sql", Role::Storage),
    events("backfill_files", "backfill/2_backfill_files.sql", Role::Route),
    events("sharded_backfill_ledger", "backfill/3_sharded_backfill_ledger.sql", Role::Storage),
    events("backfill_ledger", "backfill/4_backfill_ledger.sql", Role::Route),
    events("shard_rows", "queries/shard_rows.sql", Role::Query),
    events("wrong_shard_rows", "queries/wrong_shard_rows.sql", Role::Query),
    events("duplicate_events", "queries/duplicate_events.sql", Role::Query),
    events("duplicate_uuids", "queries/duplicate_uuids.sql", Role::Query),
    events("duplicate_removal", "queries/duplicate_removal.sql", Role::Query),
    events("reshard_plan", "queries/reshard_plan.sql", Role::Query),
    persons("kafka_person", "persons/1_kafka_person.sql", Role::Consumer),
    persons("person_mv", "persons/2_person_mv.sql", Role::View),
    persons("person", "persons/3_person.sql", Role::Storage),
    persons("kafka_person_distinct_id", "persons/4_kafka_person_distinct_id.sql", Role::Consumer),
    persons("person_distinct_id_mv", "persons/5_person_distinct_id_mv.sql", Role::View),
    persons("person_distinct_id", DISTINCT_ID_TABLE, Role::Storage),
    persons("person_distinct_id2", DISTINCT_ID_TABLE, Role::Storage),
    persons("person_dead_letter_mv", "persons/7_person_dead_letter_mv.sql", Role::View),
    persons(
        "person_distinct_id_dead_letter_mv",
        "persons/8_person_distinct_id_dead_letter_mv.sql",
        Role::View,
    ),
    persons("person_dead_letter", "persons/9_person_dead_letter.sql", Role::Storage),
    overrides("person_distinct_id_overrides", "persons/10_person_distinct_id_overrides.sql", Role::Storage),
    overrides(
        "person_distinct_id_overrides_mv",
        "persons/11_person_distinct_id_overrides_mv.sql",
        Role::View,
    ),
    overrides("person_squash", "persons/12_person_squash.sql", Role::Storage),
    overrides("person_squash_lookup", "persons/13_person_squash_lookup.sql", Role::Storage),
    persons("person_distinct_id", DISTINCT_ID_VIEW, Role::Query),
    persons("person_distinct_id2", DISTINCT_ID_VIEW, Role::Query),
    persons("persons", "queries/persons.sql", Role::Query),
    persons("persons_where", "queries/persons_where.sql", Role::Query),
    persons("person_distinct_ids", "queries/person_distinct_ids.sql", Role::Query),
    persons("events_with_person", "queries/events_with_person.sql", Role::Query),
    persons("unique_persons", "queries/unique_persons.sql", Role::Query),
    persons("person_events", "queries/person_events.sql", Role::Query),
];

const fn events(name: &'static str, file: &'static str, role: Role) -> SchemaObject {
    SchemaObject { name, file, role, section: Section::Events }
}

const fn persons(name: &'static str, file: &'static str, role: Role) -> SchemaObject {
    SchemaObject { name, file, role, section: Section::Persons }
}

const fn overrides(name: &'static str, file: &'static str, role: Role) -> SchemaObject {
    SchemaObject { name, file, role, section: Section::Overrides }
}

impl SchemaObject {
    /// Returns the objects of the sections that `config` has.
    pub(crate) fn wanted(config: &Config) -> impl Iterator<Item = &'static Self> {
        OBJECTS.iter().filter(|object| object.is_wanted(config))
    }

    fn is_wanted(&self, config: &Config) -> bool {
        match (self.section, &config.persons) {
            (Section::Events, _) => true,
            (Section::Overrides, _) => config.keeps_overrides(),
            (Section::Persons, None) => false,
            (Section::Persons, Some(persons)) => match self.file {
                DISTINCT_ID_TABLE => self.name == persons.distinct_id_table,
                DISTINCT_ID_VIEW => config.distinct_id_view() == Some(self.name),
                _ => true,
            },
        }
    }

    /// The other name of the distinct ids' table, for that table.
    pub(crate) fn former_name(&self) -> Option<&'static str> {
        let is_other = |other: &&Self| other.file == DISTINCT_ID_TABLE && other.name != self.name;
        let other = OBJECTS.iter().find(is_other)?;
        (self.file == DISTINCT_ID_TABLE).then_some(other.name)
    }

    /// Whether only our own consumer needs the object: the Kafka table, its views, and the
    /// dead letters.
    pub(crate) fn ingests(&self) -> bool {
        matches!(self.role, Role::Consumer | Role::View) || self.name.ends_with("dead_letter")
    }

    /// Whether the config asks for the object on the node. Objects that only our own consumer needs
    /// are not desired if another program ingests.
    pub(crate) fn is_desired(&self, config: &Config, node: &Node) -> bool {
        let is_used = !self.ingests() || self.section.consumer(config) == Consumer::Own;
        is_used && self.fits(config, node)
    }

    /// Whether the node's roles need the object.
    fn fits(&self, config: &Config, node: &Node) -> bool {
        match (self.role, self.section) {
            (Role::Consumer | Role::View, section) => section.is_read_on(config, node),
            // Each node is upgraded by itself.
            (Role::Storage, Section::Events) if self.name == UPGRADES_TABLE => true,
            (Role::Storage, _) | (_, Section::Persons | Section::Overrides) => node.has(NodeRole::Data),
            (Role::Route | Role::Front | Role::Query, Section::Events) => true,
        }
    }

    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        OBJECTS.iter().find(|object| object.name == name)
    }
}
