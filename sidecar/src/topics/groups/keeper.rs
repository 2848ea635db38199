//! Offsets that Kafka tables keep in Keeper, read through a node.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::partitions::places;
use crate::kafka::{KafkaCluster, TopicPartition};
use crate::node::{Node, NodeError};
use crate::schema::KafkaTable;
use crate::sql;

/// ClickHouse's code for a missing table. A server without Keeper has no `system.zookeeper`, nor
/// has libchdb.
const UNKNOWN_TABLE: u32 = 60;
/// ClickHouse's code for every error of Keeper.
const KEEPER_EXCEPTION: u32 = 999;

/// Offsets below one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Without partitions of which no message was read.
    Offsets(BTreeMap<TopicPartition, i64>),
    /// Reason why they can't be read.
    Unreadable(String),
}

#[derive(Deserialize)]
struct Offset {
    path: String,
    value: String,
}

#[derive(Deserialize)]
struct Child {
    name: String,
}

/// Offsets of all tables that keep them in Keeper, by path. Each path is read through a node that
/// has the table.
pub(super) async fn offsets(
    nodes: &[Node],
    tables: &[KafkaTable],
    cluster: &KafkaCluster,
) -> BTreeMap<String, Kept> {
    let mut found = BTreeMap::new();
    for table in tables {
        let Some(path) = &table.keeper_path else { continue };
        let known = matches!(found.get(path), Some(Kept::Offsets(_)));
        let node = nodes.iter().find(|node| node.name == table.node);
        let Some(node) = node.filter(|_| !known) else { continue };
        let topics: BTreeSet<&String> = tables
            .iter()
            .filter(|table| table.keeper_path.as_ref() == Some(path))
            .flat_map(|t| &t.topics)
            .collect();
        let places: Vec<TopicPartition> =
            topics.into_iter().flat_map(|topic| places(cluster, topic)).collect();
        let kept = match read(node, path, places).await {
            Ok(offsets) => Kept::Offsets(offsets),
            Err(error) => Kept::Unreadable(why(&node.name, &error)),
        };
        found.insert(path.clone(), kept);
    }
    found
}

async fn read(
    node: &Node,
    path: &str,
    places: Vec<TopicPartition>,
) -> Result<BTreeMap<TopicPartition, i64>, NodeError> {
    let places: BTreeMap<String, TopicPartition> =
        places.into_iter().map(|place| (partition_path(path, &place), place)).collect();
    if places.is_empty() {
        return Ok(BTreeMap::new());
    }
    let paths: Vec<&String> = places.keys().collect();
    let query = node.query(sql::text("inspect/keeper_offsets.sql").unwrap_or_default());
    let rows: Vec<Offset> = match query.param("paths", &paths).rows().await {
        Err(error) if is_no_node(&error) => Vec::new(),
        answer => answer?,
    };
    let offsets = rows.into_iter().filter_map(|row| {
        let place = places.get(row.path.trim_end_matches('/'))?;
        Some((place.clone(), row.value.trim().parse().ok()?))
    });
    Ok(offsets.collect())
}

fn partition_path(path: &str, place: &TopicPartition) -> String {
    format!("{}/topics/{}/partitions/{}", path.trim_end_matches('/'), place.topic, place.partition)
}

/// Replicas of a Kafka table in Keeper; `None` if this node has no `system.zookeeper`.
pub(crate) async fn replicas(node: &Node, path: &str) -> Result<Option<Vec<String>>, NodeError> {
    children(node, &format!("{}/replicas", path.trim_end_matches('/'))).await
}

/// Names below a path of Keeper; `None` if this node has no `system.zookeeper`.
pub(super) async fn children(node: &Node, path: &str) -> Result<Option<Vec<String>>, NodeError> {
    let query = node.query(sql::text("inspect/keeper_children.sql").unwrap_or_default());
    match query.param("path", path).rows::<Child>().await {
        Ok(children) => Ok(Some(children.into_iter().map(|child| child.name).collect())),
        Err(error) if is_no_node(&error) => Ok(Some(Vec::new())),
        Err(error) if error.code() == Some(UNKNOWN_TABLE) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_no_node(error: &NodeError) -> bool {
    error.code() == Some(KEEPER_EXCEPTION) && error.to_string().contains("No node")
}

fn why(node: &str, error: &NodeError) -> String {
    match error.code() {
        Some(UNKNOWN_TABLE) => format!("{node} has no system.zookeeper"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_its_place_below_the_path() {
        let place = TopicPartition { topic: "events".to_owned(), partition: 3 };
        assert_eq!(partition_path("/a/b/", &place), "/a/b/topics/events/partitions/3");
    }
}
