//! `[kafka]` and `[events]` of an imported config.

use std::fmt::Write;

use super::super::KafkaTable;
use super::super::column::ColumnDeclaration;
use super::super::definition::Definition;
use super::super::feeders::Feeder;
use super::quoted;
use crate::config::{
    DEFAULT_BATCH_ROWS, DEFAULT_CONSUMERS, DEFAULT_DEDUPLICATION_WINDOW, DEFAULT_KEEPER_PATH,
    DEFAULT_POLL_TIMEOUT, DISTINCT_ID_TABLES,
};
use crate::event_columns::{EventColumn, EventProfile, PERSON_KEY_FILE, person_key};
use crate::sql;

/// The tables of one node that a config describes.
pub(super) struct DescribedTables {
    pub(crate) database: String,
    pub(crate) tables: Vec<(String, Definition)>,
    pub(crate) feeders: Vec<Feeder>,
    pub(crate) kafka: Vec<KafkaTable>,
}

impl DescribedTables {
    fn table(&self, name: &str) -> Option<&Definition> {
        self.tables.iter().find_map(|(table, definition)| (table == name).then_some(definition))
    }

    fn is_replicated(&self) -> bool {
        let engine = self.table("sharded_events").and_then(|table| table.clauses.get("ENGINE"));
        engine.is_some_and(|engine| engine.contains("Replicated"))
    }

    /// Returns the config line for replication.
    pub(super) fn replicated(&self) -> &'static str {
        match self.is_replicated() {
            true => "replicated = true\n",
            false => "replicated = false\n",
        }
    }

    /// Returns `[kafka]` and `[events]`.
    pub(super) fn sections(&self) -> String {
        let foreign = self.feeders.iter().find_map(|feeder| Some((feeder, feeder.consumer.as_ref()?)));
        let ours =
            self.kafka.iter().find(|table| table.database == self.database && table.name == "kafka_events");
        let consumer = foreign.map(|(_, table)| table).or(ours);
        let mut text = "\n[kafka]\n".to_owned();
        match consumer.filter(|table| !table.brokers.is_empty()) {
            Some(table) => {
                let brokers: Vec<String> =
                    table.brokers.split(',').map(|broker| quoted(broker.trim())).collect();
                let _ = writeln!(text, "brokers = [{}]", brokers.join(", "));
            }
            None => {
                text.push_str("brokers = [\"localhost:9092\"]  # no Kafka table names any: correct this\n");
            }
        }
        let collection = ours.filter(|_| foreign.is_none()).and_then(|table| table.named_collection.as_ref());
        if let Some(name) = collection {
            let _ = writeln!(text, "named_collection = {}", quoted(name));
        }
        text.push_str("\n[events]\n");
        if let Some(table) = consumer {
            let topic = table.topics.first().map(String::as_str).unwrap_or_default();
            let _ = writeln!(text, "topic = {}\ngroup = {}", quoted(topic), quoted(&table.group));
        }
        match (foreign, ours) {
            (Some((feeder, _)), _) => text.push_str(&format!(
                "# {source} feeds {} and keeps running. To take over, set \"own\" and run posthouse schema apply --adopt {source}\n\
                 consumer = \"none\"\n",
                feeder.target,
                source = feeder.source
            )),
            (None, Some(ours)) => text.push_str(&self.own(ours)),
            (None, None) => {}
        }
        if self.profile() == EventProfile::Posthog {
            text.push_str("profile = \"posthog\"\n");
        }
        if self.has_person_key() {
            text.push_str("person_key = true\n");
        }
        text + &self.columns() + &self.materialized()
    }

    /// The profile whose columns the tables have, so that a plan adds none.
    pub(super) fn profile(&self) -> EventProfile {
        let has = |table: &str, column: &EventColumn| {
            self.table(table).is_some_and(|table| table.item(&format!("`{}`", column.name)).is_some())
        };
        let is_there = |column: &EventColumn| match column.is_written() {
            true => has("writable_events", column) && has("sharded_events", column),
            false => has("sharded_events", column),
        };
        match EventProfile::Posthog.columns().iter().all(is_there) {
            true => EventProfile::Posthog,
            false => EventProfile::Core,
        }
    }

    /// Whether events store the key of the person index, computed by our own expression.
    fn has_person_key(&self) -> bool {
        let column = person_key();
        let item = self.table("sharded_events").and_then(|table| table.item(&format!("`{}`", column.name)));
        let found = item.and_then(ColumnDeclaration::parse).filter(|found| found.kind == column.sql_type);
        let is_ours = |(kind, text): (String, String)| {
            kind == "MATERIALIZED" && sql::render(PERSON_KEY_FILE, ()).is_ok_and(|ours| ours == text)
        };
        found.and_then(|found| found.default).is_some_and(is_ours)
    }

    /// Whether the profile has the column.
    fn is_in_profile(&self, name: &str) -> bool {
        self.profile().columns().iter().any(|column| column.name == name)
    }

    /// The name of the table of distinct ids that merges their versions.
    pub(super) fn distinct_id_table(&self) -> Option<&'static str> {
        let merges = |name: &&str| {
            let engine = self.table(name).and_then(|table| table.clauses.get("ENGINE"));
            engine.is_some_and(|engine| engine.contains("ReplacingMergeTree"))
        };
        DISTINCT_ID_TABLES.into_iter().find(merges)
    }

    /// Whether our view finds the persons of events by a function.
    pub(super) fn looks_up_persons(&self) -> bool {
        self.table("events_with_person").is_some_and(|view| view.query().contains("personOf"))
    }

    /// Returns the settings of our own consumer that differ from the defaults.
    fn own(&self, consumer: &KafkaTable) -> String {
        let mut text = match &consumer.keeper_path {
            None => "offsets = \"group\"\n".to_owned(),
            Some(path) if *path == DEFAULT_KEEPER_PATH.replace("{database}", &self.database) => String::new(),
            Some(path) => format!("keeper_path = {}\n", quoted(path)),
        };
        let setting = match self.is_replicated() {
            true => "replicated_deduplication_window",
            false => "non_replicated_deduplication_window",
        };
        let window = self.table("sharded_events").and_then(|table| table.settings.get(setting)).cloned();
        for (key, value, default) in [
            ("consumers", Some(consumer.consumers.to_string()), DEFAULT_CONSUMERS.to_string()),
            ("batch_rows", consumer.setting("kafka_max_block_size"), DEFAULT_BATCH_ROWS.to_string()),
            ("deduplication_window", window, DEFAULT_DEDUPLICATION_WINDOW.to_string()),
        ] {
            if let Some(value) = value.filter(|value| *value != default) {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        let default_poll = DEFAULT_POLL_TIMEOUT.as_millis().to_string();
        let poll = consumer.setting("kafka_poll_timeout_ms").filter(|poll| *poll != default_poll);
        if let Some(poll) = poll {
            let _ = writeln!(text, "poll_timeout = \"{poll}ms\"");
        }
        text
    }

    /// Columns that messages fill: the columns of `writable_events` beyond the documented ones.
    fn columns(&self) -> String {
        let mut text = String::new();
        let storage = self.table("sharded_events");
        for (key, item) in
            self.table("writable_events").map(|table| table.items.as_slice()).unwrap_or_default()
        {
            let stored = storage.and_then(|table| table.item(key)).unwrap_or(item);
            let Some(column) = ColumnDeclaration::parse(stored).filter(ColumnDeclaration::is_stored_as_sent)
            else {
                continue;
            };
            let name = column.name.trim_matches('`');
            if self.is_in_profile(name) {
                continue;
            }
            let value = match name {
                "_partition" => "value = \"partition\"\n",
                "inserted_at" => "value = \"message_timestamp\"\n",
                _ => "",
            };
            let _ = write!(
                text,
                "\n[[events.columns]]\nname = {}\ntype = {}\n{value}",
                quoted(name),
                quoted(&column.kind)
            );
        }
        text
    }

    /// Columns of `sharded_events` computed from a property with posthouse's own expression.
    fn materialized(&self) -> String {
        let mut text = String::new();
        for (_, item) in self.table("sharded_events").map(|table| table.items.as_slice()).unwrap_or_default()
        {
            let property = ColumnDeclaration::parse(item).and_then(|column| {
                let (kind, expression) = column.default?;
                let property = expression
                    .strip_prefix("replaceRegexpAll(JSONExtractRaw(properties, '")?
                    .strip_suffix("'), '^\"|\"$', '')")?;
                let is_ours = kind == "MATERIALIZED" && column.kind == "String" && !property.contains('\'');
                is_ours.then(|| (column.name.trim_matches('`').to_owned(), property.to_owned()))
            });
            if let Some((name, property)) = property.filter(|(name, _)| !self.is_in_profile(name)) {
                let _ = write!(
                    text,
                    "\n[[events.materialized]]\nname = {}\nproperty = {}\n",
                    quoted(&name),
                    quoted(&property)
                );
            }
        }
        text
    }
}
