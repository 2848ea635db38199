//! Asks every node what stands there, and has it write what is wanted in its own hand, so that both compare.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::cluster::{self, ClusterError};
use super::definition::Definition;
use super::plan::{Plan, Standing, Wanted, plan};
use super::render::{Statement, render};
use super::upgrades::{self, UpgradeError};
use crate::config::Config;
use crate::node::{Node, NodeError, NodesError, reach_all};
use crate::sql::{self, RenderError};

/// Where a node's upgrades are recorded.
const UPGRADES_TABLE: &str = "posthouse_upgrades";

/// Why a plan can't be made. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// One or more nodes do not answer.
    #[error(transparent)]
    Unreachable(#[from] NodesError),
    /// A node refused a question.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The nodes know another cluster than the config.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A released upgrade has changed, or is of a later posthouse.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// A template does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
}

#[derive(Deserialize)]
struct Table {
    name: String,
    definition: String,
}

#[derive(Deserialize)]
struct Formatted {
    definition: String,
}

#[derive(Deserialize)]
struct Recorded {
    name: String,
    checksum: String,
}

/// The plan of every node, in the order of the nodes. Checks the cluster first.
///
/// # Errors
/// See [`ObserveError`].
pub async fn observe(config: &Config, nodes: &[Node]) -> Result<Vec<Plan>, ObserveError> {
    reach_all(nodes).await?;
    let mut differences = Vec::new();
    for node in nodes {
        differences.extend(cluster::differences(config, node).await?);
    }
    if !differences.is_empty() {
        return Err(ClusterError(differences).into());
    }
    let mut plans = Vec::new();
    for node in nodes {
        let standing = standing(config, node).await?;
        let recorded = recorded(config, node, &standing).await?;
        let pending = upgrades::pending(&node.name, &recorded)?;
        plans.push(plan(&node.name, &wanted(config, node).await?, &standing, pending));
    }
    Ok(plans)
}

async fn wanted(config: &Config, node: &Node) -> Result<Vec<Wanted>, ObserveError> {
    let format = sql::text("inspect/format.sql").unwrap_or_default();
    let mut wanted = Vec::new();
    for Statement { object, sql } in render(config, node)? {
        let rows: Vec<Formatted> = node.query(format).param("statement", &sql).rows().await?;
        let text = rows.into_iter().map(|row| row.definition).next().unwrap_or_default();
        wanted.push(Wanted { object, sql, definition: Definition::parse(&text) });
    }
    Ok(wanted)
}

async fn standing(config: &Config, node: &Node) -> Result<Standing, NodeError> {
    let ask = |file| node.query(sql::text(file).unwrap_or_default()).param("database", &config.database);
    let database = !ask("inspect/databases.sql").rows::<serde_json::Value>().await?.is_empty();
    let tables: Vec<Table> = ask("inspect/tables.sql").rows().await?;
    let tables = tables.into_iter().map(|table| (table.name, Definition::parse(&table.definition))).collect();
    Ok(Standing { database, tables })
}

async fn recorded(
    config: &Config,
    node: &Node,
    standing: &Standing,
) -> Result<BTreeMap<String, String>, ObserveError> {
    if !standing.tables.contains_key(UPGRADES_TABLE) {
        return Ok(BTreeMap::new());
    }
    let values = minijinja::context! { database => &config.database };
    let rows: Vec<Recorded> = node.rows(&sql::render("inspect/upgrades.sql", values)?).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.checksum)).collect())
}
