//! Plan of a squash: distinct ids, and the events that differ from them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use minijinja::{Value, context};
use serde::{Deserialize, Serialize};

use super::{Scope, SquashRequest};
use crate::cluster::Cluster;
use crate::node::Node;
use crate::sql;

/// What a squash would write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SquashPlan {
    /// The table with the distinct ids.
    pub(crate) source: &'static str,
    /// Changes before this time are squashed, in ISO 8601.
    pub(crate) before: String,
    /// Distinct ids with a change before that time.
    pub(crate) distinct_ids: u64,
    pub(crate) rounds: u64,
    pub(crate) shards: Vec<ShardPlan>,
}

/// The events of one shard that a squash would write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShardPlan {
    pub(crate) shard: usize,
    /// The node that was asked.
    pub(crate) node: String,
    /// In the order of the squash.
    pub(crate) partitions: Vec<PartitionPlan>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartitionPlan {
    pub(crate) partition: String,
    /// Events whose person is not that of their distinct id.
    pub(crate) events: u64,
}

impl SquashPlan {
    pub(crate) fn events(&self) -> u64 {
        self.shards.iter().flat_map(|shard| &shard.partitions).map(|partition| partition.events).sum()
    }
}

#[derive(Deserialize)]
struct IdCount {
    rows: u64,
}

/// Counts what a squash would write. Changes nothing.
///
/// # Errors
/// Fails where a squash would be refused.
pub(crate) async fn plan(cluster: &Cluster, request: &SquashRequest) -> anyhow::Result<SquashPlan> {
    let scope = Scope::new(cluster, request).await?;
    let rounds = scope.rounds(request).await?;
    let mut distinct_ids = 0;
    let mut shards = Vec::new();
    for round in 0..rounds {
        distinct_ids += scope.count("squash/ids.sql", scope.values(round, rounds)).await?;
    }
    for node in scope.shards() {
        let mut events: BTreeMap<String, u64> = BTreeMap::new();
        for round in 0..rounds {
            let values = context! { is_loaded => false, ..scope.values(round, rounds) };
            for found in differing(node, values).await? {
                *events.entry(found.partition).or_default() += found.events;
            }
        }
        let partitions = events.into_iter().rev();
        let partitions = partitions.map(|(partition, events)| PartitionPlan { partition, events }).collect();
        shards.push(ShardPlan { shard: node.shard, node: node.name.clone(), partitions });
    }
    let before = Timestamp::from_second(scope.cutoff)?.to_string();
    Ok(SquashPlan { source: scope.source, before, distinct_ids, rounds, shards })
}

/// Events that differ, by partition, the newest partition first.
pub(super) async fn differing(node: &Node, values: Value) -> anyhow::Result<Vec<PartitionPlan>> {
    Ok(node.rows(&sql::render("squash/differing.sql", values)?).await?)
}

impl Scope<'_> {
    /// Values for the files of `sql/squash`.
    pub(super) fn values(&self, round: u64, rounds: u64) -> Value {
        let (source, cutoff) = (self.source, self.cutoff);
        context! { database => &self.cluster.config.database, source, cutoff, round, rounds }
    }

    /// A node of each shard.
    pub(super) fn shards(&self) -> impl Iterator<Item = &Node> {
        self.cluster.nodes.iter().filter(|node| node.replica == 1)
    }

    /// A count on the first node.
    pub(super) async fn count(&self, file: &str, values: Value) -> anyhow::Result<u64> {
        let Some(node) = self.cluster.nodes.first() else { return Ok(0) };
        let rows: Vec<IdCount> = node.rows(&sql::render(file, values)?).await?;
        Ok(rows.first().map_or(0, |count| count.rows))
    }
}
