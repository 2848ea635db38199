//! Checks of the schema's Kafka tables and their replicas in Keeper.

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckInput, Finding, fault, listed};
use crate::cluster::Cluster;
use crate::schema::{Role, SchemaObject};

/// Kafka tables of the config, with their database, and the nodes that should have each. Excludes
/// objects that posthouse does not manage.
pub(super) fn desired_consumers(cluster: &Cluster) -> BTreeMap<String, BTreeSet<String>> {
    let config = &cluster.config;
    let consumers = SchemaObject::wanted(config).filter(|object| object.role == Role::Consumer);
    let desired = consumers.map(|object| {
        let nodes = cluster.all_nodes.iter().filter(|node| object.is_desired(config, node));
        let name = format!("{}.{}", config.database, object.name);
        (name, nodes.map(|node| node.name.clone()).collect::<BTreeSet<_>>())
    });
    desired.filter(|(_, nodes)| !nodes.is_empty()).collect()
}

pub(super) fn check(found: &CheckInput) -> Vec<Finding> {
    let mut findings: Vec<Finding> = found
        .desired
        .keys()
        .flat_map(|table| [missing(found, table), detached(found, table)])
        .flatten()
        .collect();
    findings.extend(stale(found));
    findings
}

/// Reachable nodes that should have the table and lack it.
pub(super) fn lacking<'f>(found: &'f CheckInput, table: &str) -> impl Iterator<Item = &'f str> {
    let has: BTreeSet<&String> = found
        .seen
        .tables
        .iter()
        .filter(|there| there.full_name() == table)
        .map(|there| &there.node)
        .collect();
    let nodes = found.desired.get(table).into_iter().flatten();
    let nodes = nodes.filter(|node| !found.seen.silent.contains_key(*node));
    nodes.filter(move |node| !has.contains(node)).map(String::as_str)
}

fn is_detached(found: &CheckInput, node: &str, table: &str) -> bool {
    found.detached.contains(&(node.to_owned(), table.to_owned()))
}

fn missing(found: &CheckInput, table: &str) -> Option<Finding> {
    let nodes: Vec<&str> = lacking(found, table).filter(|node| !is_detached(found, node, table)).collect();
    let text = format!(
        "it is missing on {}, and the schema requires it there: an apply was stopped, or a pause was left behind",
        listed(nodes.iter().copied())
    );
    let next = "posthouse schema apply creates it, and it continues at its offsets";
    (!nodes.is_empty()).then(|| fault(format!("table {table}"), text, next))
}

fn detached(found: &CheckInput, table: &str) -> Option<Finding> {
    let nodes: Vec<&str> = lacking(found, table).filter(|node| is_detached(found, node, table)).collect();
    let nodes = listed(nodes);
    let text = format!(
        "it is detached on {nodes}, and the schema requires it there: its share of the partitions waits for other nodes"
    );
    let next = format!("ATTACH TABLE {table} on {nodes}");
    (!nodes.is_empty()).then(|| fault(format!("table {table}"), text, next))
}

/// Replicas in Keeper below a path without a table. An unreachable node may have the table.
fn stale(found: &CheckInput) -> Vec<Finding> {
    if !found.seen.silent.is_empty() {
        return Vec::new();
    }
    let stale = |(path, replicas): (&String, &BTreeSet<String>)| {
        let tables = found.seen.tables.iter().filter(|table| table.keeper_path.as_ref() == Some(path));
        let live: Option<BTreeSet<&String>> = tables.map(|table| table.replica.as_ref()).collect();
        // A macro differs from node to node, and a named collection hides the name.
        let live = live.filter(|names| names.iter().all(|name| !name.contains('{')))?;
        let stale: Vec<&str> =
            replicas.iter().filter(|name| !live.contains(name)).map(String::as_str).collect();
        (!stale.is_empty()).then(|| (path.clone(), listed(stale)))
    };
    let replicas: BTreeMap<String, String> = found.replicas.iter().filter_map(stale).collect();
    let finding = |(path, replicas): (String, String)| {
        let text = format!(
            "Keeper knows {replicas} there, and no node has such a table: ClickHouse still leaves partitions to it, which \
             are read late or not at all"
        );
        let next = format!(
            "ATTACH the table where it is detached; for a node that is gone for good, remove {path}/replicas/NAME from Keeper"
        );
        fault(format!("keeper path {path}"), text, next)
    };
    replicas.into_iter().map(finding).collect()
}
