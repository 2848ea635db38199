//! Kafka tables of every node, ours and foreign.

use serde::{Deserialize, Serialize};

use crate::node::{Node, NodeError};
use crate::sql;

/// ClickHouse's error codes for a missing table or database: `UNKNOWN_TABLE`, `UNKNOWN_DATABASE`,
/// `CANNOT_GET_CREATE_TABLE_QUERY`.
const NO_SUCH_TABLE: [u32; 3] = [60, 81, 390];

/// A table of the Kafka engine on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct KafkaTable {
    /// Name of the node in the config.
    pub(crate) node: String,
    pub(crate) database: String,
    pub(crate) name: String,
    /// Brokers in its definition; empty if its named collection has them.
    pub(crate) brokers: String,
    /// The named collection of its definition.
    pub(crate) named_collection: Option<String>,
    pub(crate) topics: Vec<String>,
    pub(crate) group: String,
    /// Number of consumers on this node.
    pub(crate) consumers: u32,
    /// Keeper path of its offsets, if they are kept in Keeper.
    pub(crate) keeper_path: Option<String>,
    /// Name of the replica below that path.
    pub(crate) replica: Option<String>,
    /// Number of materialized views that read the table. Without a view it reads no messages.
    pub(crate) views: u64,
    /// Text after SETTINGS in its definition.
    #[serde(skip)]
    pub(crate) settings: String,
}

#[derive(Deserialize)]
struct Exists {
    result: u8,
}

#[derive(Deserialize)]
struct KafkaTableRow {
    database: String,
    name: String,
    engine_full: String,
    views: u64,
}

impl KafkaTable {
    /// Returns a setting of its definition.
    pub(super) fn setting(&self, name: &str) -> Option<String> {
        setting(&self.settings, name)
    }

    /// Where it connects to.
    pub(crate) fn connection(&self) -> String {
        match &self.named_collection {
            Some(name) if self.brokers.is_empty() => format!("those of named collection {name}"),
            _ => self.brokers.clone(),
        }
    }

    /// Returns the name with its database.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }
}

/// Returns the Kafka tables of a node.
pub(crate) async fn kafka_tables(node: &Node) -> Result<Vec<KafkaTable>, NodeError> {
    let rows: Vec<KafkaTableRow> =
        node.rows(sql::text("inspect/kafka_tables.sql").unwrap_or_default()).await?;
    Ok(rows.into_iter().map(|row| table(node, row)).collect())
}

/// Whether a table is detached: the server has its definition, but the table does not exist. A
/// table created between the two queries counts as existing.
pub(crate) async fn is_detached(node: &Node, database: &str, name: &str) -> Result<bool, NodeError> {
    let ask = |file| {
        let query = node.query(sql::text(file).unwrap_or_default());
        query.param("database", database).param("table", name)
    };
    match ask("inspect/definition.sql").rows::<serde_json::Value>().await {
        Err(error) if error.code().is_some_and(|code| NO_SUCH_TABLE.contains(&code)) => Ok(false),
        Err(error) => Err(error),
        Ok(_) => {
            let answer: Vec<Exists> = ask("inspect/exists.sql").rows().await?;
            Ok(answer.iter().all(|answer| answer.result == 0))
        }
    }
}

fn table(node: &Node, row: KafkaTableRow) -> KafkaTable {
    let engine = row.engine_full;
    let (positional, settings) = engine.split_once(" SETTINGS ").unwrap_or((engine.as_str(), ""));
    // Kafka('brokers', 'topics', 'group', 'format'), the form before settings existed.
    let arguments: Vec<String> = positional
        .split_once('(')
        .map(|(_, arguments)| literals(arguments).map(|(_, literal)| literal).collect())
        .unwrap_or_default();
    let named = |name: &str| setting(settings, name);
    let either = |name: &str, place: usize| named(name).or_else(|| arguments.get(place).cloned());
    let topics = either("kafka_topic_list", 1).unwrap_or_default();
    KafkaTable {
        node: node.name.clone(),
        database: row.database,
        name: row.name,
        brokers: either("kafka_broker_list", 0).unwrap_or_default(),
        named_collection: named_collection(positional).map(str::to_owned),
        topics: topics.split(',').map(|topic| topic.trim().to_owned()).filter(|t| !t.is_empty()).collect(),
        group: either("kafka_group_name", 2).unwrap_or_default(),
        consumers: named("kafka_num_consumers").and_then(|count| count.parse().ok()).unwrap_or(1),
        keeper_path: named("kafka_keeper_path"),
        replica: named("kafka_replica_name"),
        views: row.views,
        settings: settings.to_owned(),
    }
}

/// Returns the first argument of `Kafka(name)` or `Kafka(name, key = 'value')`, unless it is a
/// literal.
fn named_collection(engine: &str) -> Option<&str> {
    let (_, arguments) = engine.split_once('(')?;
    let first = arguments.split([',', ')']).next()?.trim().trim_matches('`');
    (!first.is_empty() && !first.contains('\'')).then_some(first)
}

/// Returns the value of a setting in `a = 1, b = 'x'`. Quoted values may hold any characters.
fn setting(settings: &str, name: &str) -> Option<String> {
    let mut outside = String::new();
    let mut rest = settings;
    let mut values = Vec::new();
    for (length, literal) in literals(settings) {
        let place = rest.find('\'').unwrap_or(rest.len());
        outside.push_str(&rest[..place]);
        outside.push('\'');
        rest = &rest[place + length..];
        values.push(literal);
    }
    outside.push_str(rest);
    let mut values = values.into_iter();
    outside.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        let value = if value == "'" { values.next()? } else { value.to_owned() };
        (key.trim() == name).then_some(value)
    })
}

/// Returns the quoted texts of some SQL, each with its length in bytes there, quotes included.
fn literals(sql: &str) -> impl Iterator<Item = (usize, String)> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        let begin = rest.find('\'')?;
        let mut literal = String::new();
        let mut characters = rest[begin + 1..].char_indices();
        let length = loop {
            match characters.next()? {
                (_, '\\') => literal.push(characters.next()?.1),
                (place, '\'') => break place + 2,
                (_, character) => literal.push(character),
            }
        };
        rest = &rest[begin + length..];
        Some((length, literal))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_whatever_other_values_hold() {
        let settings = r"kafka_broker_list = 'a:1,b = 2', kafka_group_name = 'it\'s, x = 1', kafka_num_consumers = 3, kafka_keeper_path = '/p'";
        assert_eq!(setting(settings, "kafka_group_name").as_deref(), Some("it's, x = 1"));
        assert_eq!(setting(settings, "kafka_num_consumers").as_deref(), Some("3"));
        assert_eq!(setting(settings, "kafka_keeper_path").as_deref(), Some("/p"));
        assert_eq!(setting(settings, "b"), None);
        assert_eq!(setting("", "b"), None);
    }

    #[test]
    fn arguments_by_place_are_read_too() {
        let found: Vec<String> =
            literals("'b:9092', 't1, t2', 'g', 'JSONEachRow')").map(|(_, literal)| literal).collect();
        assert_eq!(found, ["b:9092", "t1, t2", "g", "JSONEachRow"]);
    }

    #[test]
    fn names_the_collection_of_an_engine() {
        assert_eq!(named_collection("Kafka(brokers)"), Some("brokers"));
        assert_eq!(named_collection("Kafka(brokers, kafka_topic_list = 't')"), Some("brokers"));
        for engine in ["Kafka", "Kafka()", "Kafka('b:1', 't', 'g', 'RawBLOB')"] {
            assert_eq!(named_collection(engine), None, "{engine}");
        }
    }
}
