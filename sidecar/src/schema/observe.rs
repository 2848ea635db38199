//! Observation of every node, and its comparison with the config.
//!
//! Each node formats the desired statements with its own formatter, so that both sides compare.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::cluster::{self, ClusterError};
use super::column::ColumnDeclaration;
use super::compare::StorageColumns;
use super::definition::Definition;
use super::feeders::{detached_tables, feeders};
use super::objects::{Role, UPGRADES_TABLE};
use super::plan::{
    Desired, LackingNodes, ObservedSchema, SchemaPlan, Surroundings, distributed_target, index_functions,
    plan,
};
use super::render::{Statement, render};
use super::upgrades::{self, Upgrade};
use crate::cluster::Cluster;
use crate::config::{Config, NodeRole};
use crate::node::{Node, NodeError, reach_all};
use crate::sql;
use crate::udf::function_names;

#[derive(Deserialize)]
struct TableRow {
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

/// The reason why creating a consumer would read its topic from the beginning although its rows are
/// stored, by the consumer's name.
pub(crate) type Replays = BTreeMap<&'static str, String>;

/// Desired and observed state of one node.
struct Side {
    desired: Vec<Desired>,
    observed: ObservedSchema,
    pending: Vec<Upgrade>,
}

/// Returns the plan of every node, in the order of the nodes. Checks the cluster first.
pub(crate) async fn observe(cluster: &Cluster, replays: Replays) -> anyhow::Result<Vec<SchemaPlan>> {
    let Cluster { config, all_nodes: nodes, .. } = cluster;
    reach_all(nodes).await?;
    let mut differences = Vec::new();
    for node in nodes {
        differences.extend(cluster::differences(config, node).await?);
    }
    if !differences.is_empty() {
        return Err(ClusterError(differences).into());
    }
    let mut sides = Vec::new();
    for node in nodes {
        let observed = observed(config, node).await?;
        let recorded = recorded(config, node, &observed).await?;
        let pending = upgrades::pending(&node.name, &recorded)?;
        sides.push(Side { desired: desired(config, node).await?, observed, pending });
    }
    let lacking = lacking(config, nodes, &sides);
    let surroundings = Surroundings { config, storage: storage(&sides), replays, lacking };
    let plans = nodes
        .iter()
        .zip(sides)
        .map(|(node, side)| plan(&node.name, &side.desired, &side.observed, side.pending, &surroundings));
    Ok(plans.collect())
}

/// Returns the nodes with data that lack functions of the person index, if views call them.
fn lacking(config: &Config, nodes: &[Node], sides: &[Side]) -> LackingNodes {
    if !config.looks_up_persons() {
        return LackingNodes::new();
    }
    let data = || nodes.iter().zip(sides).filter(|(node, _)| node.has(NodeRole::Data));
    let without = |name: &str| -> Vec<String> {
        let without = data().filter(|(_, side)| !side.observed.functions.contains(name));
        without.map(|(node, _)| node.name.clone()).collect()
    };
    index_functions().map(|function| (function.name, without(function.name))).collect()
}

/// Returns the columns of every table behind a Distributed one.
fn storage(sides: &[Side]) -> BTreeMap<String, StorageColumns> {
    let targets = sides.iter().flat_map(|side| &side.desired).filter_map(|desired| {
        matches!(desired.object.role, Role::Route | Role::Front)
            .then(|| distributed_target(&desired.definition))
            .flatten()
    });
    targets.map(|target| (target.to_owned(), storage_columns(sides, target))).collect()
}

fn storage_columns(sides: &[Side], table: &str) -> StorageColumns {
    // Nodes without data have no storage.
    let holds =
        |side: &&Side| side.desired.iter().any(|desired| desired.asked_for && desired.object.name == table);
    let definitions = || sides.iter().filter(holds).map(|side| side.observed.tables.get(table));
    let columns = |definition: &Definition| -> Vec<ColumnDeclaration> {
        definition.items.iter().filter_map(|(_, item)| ColumnDeclaration::parse(item)).collect()
    };
    let anywhere = definitions().flatten().flat_map(columns).map(|column| column.name).collect();
    let is_desired = |name: &str| {
        let desired = sides.iter().flat_map(|side| &side.desired);
        desired
            .filter(|desired| desired.object.name == table)
            .any(|desired| desired.definition.item(name).is_some())
    };
    let is_everywhere = |column: &ColumnDeclaration| {
        definitions().all(|definition| {
            let item = definition.and_then(|definition| definition.item(&column.name));
            item.and_then(ColumnDeclaration::parse).is_some_and(|other| other.kind == column.kind)
        })
    };
    let first = definitions().next().flatten().map(columns).unwrap_or_default();
    let extra =
        first.into_iter().filter(|column| !is_desired(&column.name) && is_everywhere(column)).collect();
    StorageColumns { anywhere, extra }
}

async fn desired(config: &Config, node: &Node) -> anyhow::Result<Vec<Desired>> {
    let format = sql::text("inspect/format.sql").unwrap_or_default();
    let mut desired = Vec::new();
    for Statement { object, sql } in render(config, node)? {
        let rows: Vec<Formatted> = node.query(format).param("statement", &sql).rows().await?;
        let text = rows.into_iter().map(|row| row.definition).next().unwrap_or_default();
        let definition = Definition::parse(&text);
        let asked_for = object.is_desired(config, node);
        desired.push(Desired { object, sql, definition, asked_for });
    }
    Ok(desired)
}

async fn observed(config: &Config, node: &Node) -> anyhow::Result<ObservedSchema> {
    let ask = |file| node.query(sql::text(file).unwrap_or_default()).param("database", &config.database);
    let database = !ask("inspect/databases.sql").rows::<serde_json::Value>().await?.is_empty();
    let tables = tables(config, node).await?;
    let detached = detached_tables(node, &config.database).await?.into_iter().collect();
    let functions = match config.looks_up_persons() {
        true => function_names(node).await?,
        false => BTreeSet::new(),
    };
    Ok(ObservedSchema { database, tables, detached, feeders: feeders(config, node).await?, functions })
}

/// Returns the definitions of all tables and views of the database.
pub(super) async fn tables(config: &Config, node: &Node) -> Result<BTreeMap<String, Definition>, NodeError> {
    let query = node.query(sql::text("inspect/tables.sql").unwrap_or_default());
    let tables: Vec<TableRow> = query.param("database", &config.database).rows().await?;
    Ok(tables.into_iter().map(|table| (table.name, Definition::parse(&table.definition))).collect())
}

async fn recorded(
    config: &Config,
    node: &Node,
    observed: &ObservedSchema,
) -> anyhow::Result<BTreeMap<String, String>> {
    if !observed.tables.contains_key(UPGRADES_TABLE) {
        return Ok(BTreeMap::new());
    }
    let values = minijinja::context! { database => &config.database };
    let rows: Vec<Recorded> = node.rows(&sql::render("inspect/upgrades.sql", values)?).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.checksum)).collect())
}
