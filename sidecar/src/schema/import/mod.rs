//! Import of the config of a running cluster from its nodes.

mod events;
mod nodes;
mod persons;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use url::Url;

use self::events::DescribedTables;
use super::feeders::feeders;
use super::kafka_tables;
use super::observe::{Replays, observe, tables};
use super::plan::{Action, SchemaPlan};
use crate::cluster::Cluster;
use crate::config::Config;

/// The node to query, and the names to look for.
#[derive(Debug, Clone)]
pub(crate) struct ImportRequest {
    /// HTTP interface of any node.
    pub(crate) url: Url,
    /// Keys of `[clickhouse.tls]` with their absolute paths.
    pub(crate) tls: Vec<(&'static str, String)>,
    /// Its password comes from the environment.
    pub(crate) user: String,
    /// Name of the cluster in `remote_servers`.
    pub(crate) cluster: String,
    /// Database of the tables.
    pub(crate) database: String,
}

/// Returns the text of a config whose first plan is empty, or has only the real differences.
pub(crate) async fn import(request: &ImportRequest) -> anyhow::Result<String> {
    let head = head(request);
    let asked =
        nodes::ImportedReplica { name: "import".to_owned(), ..nodes::ImportedReplica::at(&request.url) };
    let Cluster { config, nodes, .. } = &cluster(&format!("{head}{}{NO_BROKERS}", nodes::text(&[asked])))?;
    let Some(node) = nodes.first() else { return Ok(head) };
    let mut replicas = nodes::replicas(request, node).await?;
    let found = DescribedTables {
        database: request.database.clone(),
        tables: tables(config, node).await?.into_iter().collect(),
        feeders: feeders(config, node).await?,
        kafka: kafka_tables(node).await?,
    };
    let named = cluster(&format!("{head}{}{}{NO_BROKERS}", found.replicated(), nodes::text(&replicas)))?;
    nodes::describe(&mut replicas, &named.nodes, &request.database).await?;
    let text = format!(
        "{head}{}{}{}{}",
        found.replicated(),
        nodes::text(&replicas),
        found.sections(),
        persons::section(&found, &request.database)
    );
    let plans = observe(&cluster(&text)?, Replays::new()).await?;
    Ok(text + &unmanaged(&plans))
}

/// Brokers that a config needs to parse; no connection is made to them.
const NO_BROKERS: &str = "\n[kafka]\nbrokers = [\"localhost:9092\"]\n";

fn cluster(text: &str) -> anyhow::Result<Cluster> {
    let config = Config::parse(text, Path::new(""));
    Ok(Cluster::new(config.context("the cluster does not fit into a config: please report this")?)?)
}

fn head(request: &ImportRequest) -> String {
    let ImportRequest { user, cluster, database, tls, .. } = request;
    let mut text = "# Written by posthouse schema import from the state of the nodes. posthouse.example.toml describes every key.\n"
        .to_owned();
    for (key, value) in [("database", database), ("cluster", cluster), ("clickhouse.user", user)] {
        let _ = writeln!(text, "{key} = {}", quoted(value));
    }
    for (key, path) in tls {
        let _ = writeln!(text, "clickhouse.tls.{key} = {}", quoted(path));
    }
    text
}

/// `[schema]` with the differences that only an operator could remove, so that they stay.
fn unmanaged(plans: &[SchemaPlan]) -> String {
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

/// Returns a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
