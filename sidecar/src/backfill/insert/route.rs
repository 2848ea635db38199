//! Routes for blocks into the shards: direct or distributed.
//!
//! Both routes send the same blocks and give the same result.

use std::fmt;

use futures_util::future::join_all;
use posthouse_udf::shard::Weights;
use serde::{Deserialize, Serialize};

use crate::backfill::ledger::LedgerError;
use crate::cluster::Cluster;
use crate::node::{Node, NodeError, NodesError};
use crate::schema::{ClusterError, cluster_differences};
use crate::sql;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// To a node of the shard, into `sharded_events`.
    Direct,
    /// To any node, into `writable_events`, which forwards them.
    Distributed,
}

/// Route requested by the user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum RouteChoice {
    /// Direct if every shard is reachable from here, else distributed.
    #[default]
    Auto,
    /// Fails if direct is impossible.
    Direct,
    /// Through `writable_events`.
    Distributed,
}

/// Target of a shard's blocks.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// From 1.
    pub(crate) shard: u32,
    /// The first slot that the shard owns, used to find its ledger records.
    pub(crate) slot: u32,
    /// Interchangeable nodes that accept the shard's blocks; never empty.
    pub(crate) nodes: Vec<Node>,
    /// Table for inserts.
    pub(crate) events: &'static str,
    /// Table in which stored blocks are looked up.
    pub(crate) stored: &'static str,
    /// Table of the shard's ledger.
    pub(crate) ledger: &'static str,
    /// Insert settings beyond the loader's, depending on the nodes' version.
    pub(crate) settings: Vec<(&'static str, &'static str)>,
}

/// The route to every shard that takes rows.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) way: Way,
    /// One for each shard with a weight, in order.
    pub(crate) destinations: Vec<Destination>,
    /// The shard rule, the same as the live cluster's.
    pub(crate) rule: Weights,
    /// Weights of the shards in order, which define the rule.
    pub(crate) shard_weights: Vec<u32>,
    /// Reachable nodes, for queries that any node can answer; never empty.
    pub(crate) nodes: Vec<Node>,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "straight into sharded_events of every shard",
            Self::Distributed => "through writable_events",
        })
    }
}

impl Route {
    /// Queries the nodes, compares their cluster with the config, and chooses a route. Writes no
    /// data.
    pub(crate) async fn choose(cluster: &Cluster, choice: RouteChoice) -> anyhow::Result<Self> {
        let config = &cluster.config;
        let weights: Vec<u32> = config.shards.iter().map(|shard| shard.weight).collect();
        let rule = Weights::new(&weights)?;
        let (nodes, errors) = reachable(cluster.nodes.clone()).await?;
        if config.replicated {
            for table in ["sharded_backfill_files", "sharded_backfill_ledger"] {
                settle(&config.database, &nodes, table).await?;
            }
        }
        let mut differences = Vec::new();
        for node in &nodes {
            differences.extend(cluster_differences(config, node).await?);
        }
        if !differences.is_empty() {
            return Err(ClusterError(differences).into());
        }
        let of_shard = |shard: u32| -> Vec<Node> {
            nodes.iter().filter(|node| node.shard == shard as usize).cloned().collect()
        };
        let slots = slots(&weights);
        let everywhere = slots.iter().all(|(shard, _)| !of_shard(*shard).is_empty());
        let way = match (choice, everywhere) {
            (RouteChoice::Distributed, _) | (RouteChoice::Auto, false) => Way::Distributed,
            (RouteChoice::Direct, false) => return Err(NodesError(errors).into()),
            (RouteChoice::Direct | RouteChoice::Auto, true) => Way::Direct,
        };
        let settings = insert_settings(&nodes[0]).await?;
        let destinations = slots.into_iter().map(|(shard, slot)| match way {
            Way::Direct => Destination {
                shard,
                slot,
                nodes: of_shard(shard),
                events: "sharded_events",
                stored: "sharded_events",
                ledger: "sharded_backfill_ledger",
                settings: settings.clone(),
            },
            Way::Distributed => Destination {
                shard,
                slot,
                nodes: nearest(&nodes, shard),
                events: "writable_events",
                stored: "events",
                ledger: "backfill_ledger",
                settings: settings.clone(),
            },
        });
        Ok(Self { way, destinations: destinations.collect(), rule, shard_weights: weights, nodes })
    }

    /// A node for queries that any node can answer.
    pub(crate) fn any(&self) -> &Node {
        // `reachable` returns at least one.
        &self.nodes[0]
    }

    /// Shards that take rows.
    pub(crate) fn shards(&self) -> Vec<u32> {
        self.destinations.iter().map(|destination| destination.shard).collect()
    }
}

/// Waits until these replicas have every acknowledged change of a replicated table.
pub(crate) async fn settle(database: &str, nodes: &[Node], table: &str) -> Result<(), LedgerError> {
    let sql = sql::render("backfill/sync_replica.sql", minijinja::context! { database, table })?;
    for node in nodes {
        node.execute(&sql).await?;
    }
    Ok(())
}

/// Settings of newer versions without which a profile could make a node ignore the token.
async fn insert_settings(node: &Node) -> Result<Vec<(&'static str, &'static str)>, NodeError> {
    let query = node.query(sql::text("backfill/known_settings.sql").unwrap_or_default());
    let known: Vec<Setting> = query.rows().await?;
    let wanted = [("deduplicate_insert", "enable")];
    Ok(wanted.into_iter().filter(|(name, _)| known.iter().any(|setting| setting.name == *name)).collect())
}

#[derive(Deserialize)]
struct Setting {
    name: String,
}

/// All nodes, the shard's first: their `writable_events` stores rows without another hop.
fn nearest(nodes: &[Node], shard: u32) -> Vec<Node> {
    let mut nodes = nodes.to_vec();
    nodes.sort_by_key(|node| node.shard != shard as usize);
    nodes
}

/// Each shard that owns slots, with its first slot.
fn slots(weights: &[u32]) -> Vec<(u32, u32)> {
    let mut next = 0;
    let mut slots = Vec::new();
    for (shard, weight) in (1..).zip(weights) {
        if *weight > 0 {
            slots.push((shard, next));
        }
        next += weight;
    }
    slots
}

/// Reachable nodes, at least one, and the errors of the others.
async fn reachable(nodes: Vec<Node>) -> Result<(Vec<Node>, Vec<NodeError>), NodesError> {
    let reached = join_all(nodes.iter().map(Node::reach)).await;
    let (mut answering, mut errors) = (Vec::new(), Vec::new());
    for (node, reached) in nodes.into_iter().zip(reached) {
        match reached {
            Ok(()) => answering.push(node),
            Err(error) => errors.push(error),
        }
    }
    if answering.is_empty() { Err(NodesError(errors)) } else { Ok((answering, errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_without_weight_own_no_slot() {
        assert_eq!(slots(&[2, 0, 3]), [(1, 0), (3, 2)]);
    }
}
