//! The config of a living cluster, read from its nodes.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;
use url::Url;

use super::cluster::Row;
use super::column::ColumnDeclaration;
use super::definition::Definition;
use super::feeders::{Feeder, feeders};
use super::observe::{ObserveError, Replays, observe, tables};
use super::plan::{Action, Plan};
use super::{KafkaTable, kafka_tables};
use crate::config::{Config, ConfigError, EVENT_COLUMNS};
use crate::node::Node;
use crate::sql;

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A node can't be asked, or the tables can't be compared.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// No such cluster.
    #[error(
        "remote_servers of {url} has no cluster {cluster}: give its name with --cluster (it has {known})"
    )]
    NoCluster {
        /// The node that was asked.
        url: Url,
        /// As it was given.
        cluster: String,
        /// The clusters that the node knows.
        known: String,
    },
    /// Names of the cluster do not fit into a config.
    #[error("the cluster does not fit into a config: please report this")]
    Config(#[from] ConfigError),
}

/// The node to ask, and the names to look for.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The HTTP interface of any node.
    pub url: Url,
    /// The user; the password comes from the environment.
    pub user: String,
    /// The cluster in `remote_servers`.
    pub cluster: String,
    /// The database of the tables.
    pub database: String,
}

#[derive(Deserialize)]
struct Ports {
    shard: usize,
    tcp_port: u16,
    http_port: u16,
}

#[derive(Deserialize)]
struct Name {
    cluster: String,
}

/// The text of a config with which the first plan is empty, or small and true.
///
/// # Errors
/// See [`ImportError`].
pub async fn import(request: &ImportRequest) -> Result<String, ImportError> {
    let head = head(request);
    let asked = format!(
        "{head}[[shards]]\nweight = 1\n[[shards.replicas]]\nname = \"import\"\nurl = {}\naddress = \"localhost:9000\"\n\
         [kafka]\nbrokers = [\"localhost:9092\"]\n",
        quoted(request.url.as_str())
    );
    let config = Config::parse(&asked, Path::new(""))?;
    let nodes = Node::all(&config);
    let Some(node) = nodes.first() else { return Ok(head) };
    let shards = shards(request, node).await?;
    let found = Found {
        tables: tables(&config, node).await.map_err(ObserveError::from)?.into_iter().collect(),
        feeders: feeders(&config, node).await.map_err(ObserveError::from)?,
        kafka: kafka_tables(node).await.map_err(ObserveError::from)?,
    };
    let text = format!("{head}{}{shards}{}", found.replicated(), found.sections(&request.database));
    let config = Config::parse(&text, Path::new(""))?;
    let plans = observe(&config, &Node::all(&config), Replays::new()).await?;
    Ok(text + &unmanaged(&plans))
}

fn head(request: &ImportRequest) -> String {
    let ImportRequest { user, cluster, database, .. } = request;
    let mut text = "# Written by posthouse schema import: what the nodes have. posthouse.example.toml describes every key.\n"
        .to_owned();
    for (key, value) in [("database", database), ("cluster", cluster), ("clickhouse.user", user)] {
        let _ = writeln!(text, "{key} = {}", quoted(value));
    }
    text
}

/// `[[shards]]` as `system.clusters` has them.
async fn shards(request: &ImportRequest, node: &Node) -> Result<String, ImportError> {
    let rows = node.query(sql::text("inspect/cluster.sql").unwrap_or_default());
    let rows: Vec<Row> = rows.param("cluster", &request.cluster).rows().await.map_err(ObserveError::from)?;
    if rows.is_empty() {
        let names: Vec<Name> = node
            .rows(sql::text("inspect/clusters.sql").unwrap_or_default())
            .await
            .map_err(ObserveError::from)?;
        let known = names.into_iter().map(|row| row.cluster).collect::<Vec<_>>().join(", ");
        return Err(ImportError::NoCluster {
            url: request.url.clone(),
            cluster: request.cluster.clone(),
            known,
        });
    }
    let ports = sql::render("inspect/http_ports.sql", minijinja::context! { cluster => &request.cluster });
    let ports: Vec<Ports> =
        node.rows(&ports.map_err(ObserveError::from)?).await.map_err(ObserveError::from)?;
    let mut text = String::new();
    let mut last = 0;
    for row in &rows {
        if row.shard != last {
            let _ = writeln!(text, "\n[[shards]]\nweight = {}", row.weight);
            last = row.shard;
        }
        let of_shard = || ports.iter().filter(|ports| ports.shard == row.shard);
        let port = of_shard().find(|ports| ports.tcp_port == row.port).or_else(|| of_shard().next());
        let port = port.map_or(8123, |ports| ports.http_port);
        let host = if row.host.contains(':') { format!("[{}]", row.host) } else { row.host.clone() };
        let name = format!("shard{}-{}", row.shard, row.replica);
        let (url, address) =
            (format!("{}://{host}:{port}", request.url.scheme()), format!("{host}:{}", row.port));
        let _ = writeln!(
            text,
            "\n[[shards.replicas]]\nname = \"{name}\"\nurl = {}\naddress = {}",
            quoted(&url),
            quoted(&address)
        );
    }
    Ok(text)
}

/// The tables of one node that a config describes.
struct Found {
    tables: Vec<(String, Definition)>,
    feeders: Vec<Feeder>,
    kafka: Vec<KafkaTable>,
}

impl Found {
    fn table(&self, name: &str) -> Option<&Definition> {
        self.tables.iter().find_map(|(table, definition)| (table == name).then_some(definition))
    }

    fn replicated(&self) -> &'static str {
        let engine = self.table("sharded_events").and_then(|table| table.clauses.get("ENGINE"));
        match engine.is_some_and(|engine| engine.contains("Replicated")) {
            true => "replicated = true\n",
            false => "replicated = false\n",
        }
    }

    /// `[kafka]` and `[events]`.
    fn sections(&self, database: &str) -> String {
        let foreign = self.feeders.iter().find_map(|feeder| Some((feeder, feeder.consumer.as_ref()?)));
        let ours = self.kafka.iter().find(|table| table.database == database && table.name == "kafka_events");
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
        text.push_str("\n[events]\n");
        if let Some(table) = consumer {
            let topic = table.topics.first().map(String::as_str).unwrap_or_default();
            let _ = writeln!(text, "topic = {}\ngroup = {}", quoted(topic), quoted(&table.group));
        }
        if let Some((feeder, _)) = foreign {
            let _ = writeln!(
                text,
                "# {} feeds {}, and goes on. To take over, set \"own\" and run posthouse schema apply --adopt {}\n\
                 consumer = \"none\"",
                feeder.source, feeder.target, feeder.source
            );
        }
        text + &self.columns() + &self.materialized()
    }

    /// Columns that messages fill: those of `writable_events` beyond the documented ones.
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
            if EVENT_COLUMNS.contains(&name) {
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

    /// Columns of `sharded_events` that are made of a property the way posthouse makes them.
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
            if let Some((name, property)) = property {
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

/// `[schema]` with the differences that only a person could remove, so that they stay as they are.
fn unmanaged(plans: &[Plan]) -> String {
    let left = plans
        .iter()
        .flat_map(|plan| &plan.changes)
        .filter(|change| matches!(change.action, Action::Leave { .. }));
    let mut parts: BTreeSet<String> = BTreeSet::new();
    for change in left {
        for difference in &change.differences {
            parts.insert(format!("{} {}", change.object, difference.part));
            // Distributed tables keep the types of their storage.
            for table in ["writable_events", "events"] {
                if change.object == "sharded_events" && difference.part.starts_with('`') {
                    parts.insert(format!("{table} {}", difference.part));
                }
            }
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    let lines: String = parts.iter().map(|part| format!("    {},\n", quoted(part))).collect();
    format!(
        "\n# Differences that stay: posthouse can't remove them without rewriting data.\n[schema]\nunmanaged = [\n{lines}]\n"
    )
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
