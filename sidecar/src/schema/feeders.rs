//! Foreign consumers of our topics, and foreign views that write our tables.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Once;

use serde::{Deserialize, Serialize};

use super::definition::Definition;
use super::kafka_table::{KafkaTable, kafka_tables};
use super::objects::{OBJECTS, Role, SchemaObject};
use crate::config::{Config, Consumer};
use crate::node::{Node, NodeError};
use crate::sql;

/// ClickHouse's error code for a database engine without `system.detached_tables`.
const NOT_IMPLEMENTED: u32 = 48;
/// ClickHouse's error code for a missing right.
const ACCESS_DENIED: u32 = 497;

/// A foreign consumer or view that inserts into one of our tables or reads messages of our group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Feeder {
    /// The table that the view reads, with its database.
    pub(crate) source: String,
    /// Definition of the source, if it is an existing Kafka table.
    pub(crate) consumer: Option<KafkaTable>,
    /// Messages that its group has not read; `None` if the brokers did not answer.
    pub(crate) lag: Option<i64>,
    /// Whether the source is detached permanently, as after an adoption.
    pub(crate) paused: bool,
    /// The view with its database; empty for a Kafka table that only shares our group.
    pub(crate) view: String,
    /// Our table that the view writes; empty for a Kafka table that only shares our group.
    pub(crate) target: String,
    /// The columns that the view fills, with backticks.
    pub(crate) columns: Vec<String>,
    /// Columns that our own view would leave empty.
    pub(crate) lost: Vec<String>,
    /// Other views that read the source.
    pub(crate) others: Vec<String>,
    /// Whether our own consumer writes the same tables, so that rows would be stored twice.
    pub(crate) conflicts: bool,
}

impl fmt::Display for Feeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if !self.view.is_empty() {
            write!(f, " → {} → {}", self.view, self.target)?;
        }
        match &self.consumer {
            Some(table) => write!(f, ", group {}", table.group),
            None if self.paused => write!(f, ", paused (detached permanently)"),
            None => Ok(()),
        }?;
        if let Some(lag) = self.lag {
            write!(f, ", lag {lag}")?;
        }
        if !self.lost.is_empty() && self.conflicts {
            write!(f, "; it fills columns that this config does not: {}", self.lost.join(", "))?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct ViewRow {
    database: String,
    name: String,
    definition: String,
}

#[derive(Deserialize)]
struct SourceRow {
    database: String,
    name: String,
    engine: String,
    view_databases: Vec<String>,
    view_names: Vec<String>,
}

#[derive(Deserialize)]
struct Detached {
    name: String,
}

/// The tables and views of one node that matter to ingestion, across all databases.
#[derive(Default)]
struct Neighbours {
    views: Vec<ViewRow>,
    sources: Vec<SourceRow>,
    kafka: Vec<KafkaTable>,
    /// Names with their database.
    detached: BTreeSet<String>,
}

/// Returns the feeders of `node`.
pub(super) async fn feeders(config: &Config, node: &Node) -> Result<Vec<Feeder>, NodeError> {
    let views = node.query(sql::text("inspect/views.sql").unwrap_or_default());
    let views: Vec<ViewRow> = views.param("database", &config.database).rows().await?;
    let sources = node.rows(sql::text("inspect/view_sources.sql").unwrap_or_default()).await?;
    let kafka = kafka_tables(node).await?;
    let databases: BTreeSet<&String> = views.iter().map(|view| &view.database).collect();
    let mut detached = BTreeSet::new();
    for database in databases {
        let names = detached_tables(node, database).await?;
        detached.extend(names.into_iter().map(|name| format!("{database}.{name}")));
    }
    Ok(judge(config, &Neighbours { views, sources, kafka, detached }))
}

/// Names of the detached tables of a database; empty if the server can't list them.
pub(super) async fn detached_tables(node: &Node, database: &str) -> Result<Vec<String>, NodeError> {
    // Each plan asks for several databases, and one warning has the statement for all.
    static WARNING: Once = Once::new();
    let query = node.query(sql::text("inspect/detached_tables.sql").unwrap_or_default());
    let tables: Vec<Detached> = match query.param("database", database).rows().await {
        Err(error) if error.code() == Some(NOT_IMPLEMENTED) => {
            tracing::debug!(database, node = %node.name, error = %error, "detached tables can't be listed");
            Vec::new()
        }
        Err(error) if error.code() == Some(ACCESS_DENIED) => {
            WARNING.call_once(|| tracing::warn!(error = %error, "detached tables count as missing"));
            Vec::new()
        }
        answer => answer?,
    };
    Ok(tables.into_iter().map(|table| table.name).collect())
}

fn judge(config: &Config, neighbours: &Neighbours) -> Vec<Feeder> {
    let mut feeders: Vec<Feeder> =
        neighbours.views.iter().flat_map(|view| of_view(config, neighbours, view)).collect();
    feeders.extend(
        neighbours
            .kafka
            .iter()
            .filter_map(|table| sharer(config, table))
            .filter(|sharer| {
                // Its views already identified this table as a feeder.
                !feeders.iter().any(|feeder| feeder.source == sharer.source)
            })
            .collect::<Vec<_>>(),
    );
    feeders
}

/// Returns a feeder for each source of a foreign view that writes one of our tables.
fn of_view(config: &Config, neighbours: &Neighbours, view: &ViewRow) -> Vec<Feeder> {
    let definition = Definition::parse(&view.definition);
    let Some(target) = our_target(config, &definition) else { return Vec::new() };
    let name = full_name(&view.database, &view.name);
    if view.database == config.database && is_ours(&view.name) {
        return Vec::new();
    }
    let is_source = |source: &&SourceRow| views(source).any(|fed| fed == name);
    let sources = neighbours.sources.iter().filter(is_source);
    let mut found: Vec<Feeder> = sources
        .map(|source| {
            let source_name = full_name(&source.database, &source.name);
            let consumer = neighbours.kafka.iter().find(|table| table.full_name() == source_name);
            Feeder {
                consumer: consumer.filter(|_| source.engine == "Kafka").cloned(),
                others: views(source).filter(|fed| *fed != name).collect(),
                ..feeder(config, source_name, &name, target, &definition)
            }
        })
        .collect();
    if found.is_empty() {
        let paused = neighbours.detached.iter().filter(|table| reads(definition.query(), table));
        found.extend(paused.map(|table| Feeder {
            paused: true,
            conflicts: false,
            ..feeder(config, table.clone(), &name, target, &definition)
        }));
    }
    found
}

fn feeder(
    config: &Config,
    source: String,
    view: &str,
    target: &SchemaObject,
    definition: &Definition,
) -> Feeder {
    Feeder {
        source,
        consumer: None,
        lag: None,
        paused: false,
        view: view.to_owned(),
        target: target.name.to_owned(),
        columns: definition.items.iter().map(|(name, _)| name.clone()).collect(),
        lost: Vec::new(),
        others: Vec::new(),
        conflicts: target.section.consumer(config) == Consumer::Own,
    }
}

/// A foreign Kafka table that reads in our group. Each message reaches only one of the two tables.
fn sharer(config: &Config, table: &KafkaTable) -> Option<Feeder> {
    let ours = table.database == config.database && is_ours(&table.name);
    let shares = table.group == config.events.group
        && table.topics.contains(&config.events.topic)
        && config.events.consumer == Consumer::Own;
    (shares && !ours).then(|| Feeder {
        source: table.full_name(),
        consumer: Some(table.clone()),
        lag: None,
        paused: false,
        view: String::new(),
        target: String::new(),
        columns: Vec::new(),
        lost: Vec::new(),
        others: Vec::new(),
        conflicts: true,
    })
}

/// Our table that a view writes: `CREATE MATERIALIZED VIEW database.view TO database.table`.
fn our_target(config: &Config, definition: &Definition) -> Option<&'static SchemaObject> {
    let (_, target) = definition.head.split_once(" TO ")?;
    let (database, table) = target.split_once('.')?;
    let bare = |name: &str| name.trim().trim_matches('`').to_owned();
    let object = OBJECTS.iter().find(|object| object.name == bare(table))?;
    let is_data = matches!(object.role, Role::Storage | Role::Route | Role::Front);
    (bare(database) == config.database && is_data).then_some(object)
}

fn is_ours(name: &str) -> bool {
    OBJECTS.iter().any(|object| object.name == name)
}

fn full_name(database: &str, name: &str) -> String {
    format!("{database}.{name}")
}

fn views(source: &SourceRow) -> impl Iterator<Item = String> {
    source.view_databases.iter().zip(&source.view_names).map(|(database, name)| full_name(database, name))
}

/// Whether a view's query names the table as one of its sources.
fn reads(query: &str, table: &str) -> bool {
    let is_end = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    ["FROM ", "JOIN "].iter().any(|keyword| {
        query
            .match_indices(&format!("{keyword}{table}"))
            .any(|(place, text)| is_end(&query[place + text.len()..]))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(consumer: &str) -> Config {
        let text = format!(
            "kafka.brokers = [\"b:1\"]\nevents.consumer = \"{consumer}\"\n[[shards]]\nweight = 1\n\
             [[shards.replicas]]\nname = \"a\"\nurl = \"http://a:8123\"\naddress = \"a:9000\"\n"
        );
        Config::parse(&text, Path::new("")).expect("a config")
    }

    fn neighbours() -> Neighbours {
        let view = |name: &str, to: &str| ViewRow {
            database: "posthog".to_owned(),
            name: name.to_owned(),
            definition: format!(
                "CREATE MATERIALIZED VIEW posthog.{name} TO {to}\n(\n    `uuid` UUID,\n    `person_id` UUID\n)\n\
                 AS SELECT *\nFROM posthog.kafka_events_json"
            ),
        };
        let kafka = KafkaTable {
            node: "a".to_owned(),
            database: "posthog".to_owned(),
            name: "kafka_events_json".to_owned(),
            topics: vec!["clickhouse_events_json".to_owned()],
            group: "group1".to_owned(),
            ..KafkaTable::default()
        };
        Neighbours {
            views: vec![view("events_json_mv", "posthog.writable_events"), view("x_mv", "posthog.x")],
            sources: vec![SourceRow {
                database: "posthog".to_owned(),
                name: "kafka_events_json".to_owned(),
                engine: "Kafka".to_owned(),
                view_databases: vec!["posthog".to_owned(); 2],
                view_names: vec!["events_json_mv".to_owned(), "x_mv".to_owned()],
            }],
            kafka: vec![kafka],
            detached: BTreeSet::new(),
        }
    }

    #[test]
    fn finds_a_foreign_consumer_by_the_table_that_its_view_writes() {
        let feeders = judge(&config("own"), &neighbours());
        let [feeder] = &feeders[..] else { panic!("{feeders:?}") };
        assert_eq!(
            (feeder.source.as_str(), feeder.target.as_str()),
            ("posthog.kafka_events_json", "writable_events")
        );
        assert_eq!((feeder.others.as_slice(), feeder.conflicts), (&["posthog.x_mv".to_owned()][..], true));
        assert_eq!(feeder.columns, ["`uuid`", "`person_id`"]);
        assert!(!judge(&config("none"), &neighbours())[0].conflicts);
    }

    #[test]
    fn finds_a_paused_consumer_by_the_query_of_its_view() {
        let mut neighbours = neighbours();
        neighbours.sources.clear();
        neighbours.kafka.clear();
        assert_eq!(judge(&config("own"), &neighbours), []);
        neighbours.detached =
            BTreeSet::from(["posthog.kafka_events_json".to_owned(), "posthog.kafka_events".to_owned()]);
        let feeders = judge(&config("own"), &neighbours);
        let [feeder] = &feeders[..] else { panic!("{feeders:?}") };
        assert!(
            feeder.paused && !feeder.conflicts && feeder.source == "posthog.kafka_events_json",
            "{feeder:?}"
        );
    }

    #[test]
    fn finds_a_table_that_shares_our_group() {
        let mut neighbours = neighbours();
        neighbours.views.clear();
        assert_eq!(judge(&config("own"), &neighbours), []);
        neighbours.kafka[0].group = "clickhouse_events".to_owned();
        assert_eq!(judge(&config("own"), &neighbours).len(), 1);
    }
}
