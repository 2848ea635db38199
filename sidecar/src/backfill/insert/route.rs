//! The two ways into the shards, with the same blocks and the same result.

use std::fmt;

use futures_util::future::join_all;
use posthouse_udf::shard::{ShardError, Weights};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::node::{Node, NodeError, NodesError};
use crate::schema::{ClusterError, cluster_differences};
use crate::sql::{self, RenderError};

/// How blocks get to their shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// To a node of the shard, into `sharded_events`.
    Direct,
    /// To any node, into `writable_events`, which passes them on.
    Distributed,
}

/// Which way somebody wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RouteChoice {
    /// Direct if every shard can be reached from here, else through others.
    #[default]
    Auto,
    /// Direct, or not at all.
    Direct,
    /// Through `writable_events`.
    Distributed,
}

/// Where a shard's blocks go.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The shard, from 1.
    pub shard: u32,
    /// The first slot that it owns, by which ledger records find it.
    pub slot: u32,
    /// The nodes that take its blocks, each as good as the others; never empty.
    pub nodes: Vec<Node>,
    /// The table blocks are inserted into.
    pub events: &'static str,
    /// The table in which they can be looked for.
    pub stored: &'static str,
    /// The table of its ledger.
    pub ledger: &'static str,
    /// Settings of every insert beside the loader's own, as the nodes' version has them.
    pub settings: Vec<(&'static str, &'static str)>,
}

/// The way into every shard that takes rows.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which one it is.
    pub way: Way,
    /// One for each shard with a weight, in order.
    pub destinations: Vec<Destination>,
    /// The rule by which rows are routed, the same as the live cluster's.
    pub rule: Weights,
    /// The weights that the rule is made of, in the order of shards.
    pub shard_weights: Vec<u32>,
    /// Nodes that answer, for what any node can be asked; never empty.
    pub nodes: Vec<Node>,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// No node answers, or one that the chosen way needs does not.
    #[error(transparent)]
    Unreachable(#[from] NodesError),
    /// A node refused a question.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The nodes route by other weights than the config.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A template does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The config's weights choose no shard.
    #[error(transparent)]
    Weights(#[from] ShardError),
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
    /// Asks the nodes, compares their cluster with the config, and chooses.
    ///
    /// # Errors
    /// See [`RouteError`]; nothing was written.
    pub async fn choose(config: &Config, choice: RouteChoice) -> Result<Self, RouteError> {
        let weights: Vec<u32> = config.shards.iter().map(|shard| shard.weight).collect();
        let rule = Weights::new(&weights)?;
        let (nodes, errors) = reachable(Node::all(config)).await?;
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

    /// A node for what any node can be asked.
    pub fn any(&self) -> &Node {
        // `reachable` gives at least one.
        &self.nodes[0]
    }

    /// The shards that take rows.
    pub fn shards(&self) -> Vec<u32> {
        self.destinations.iter().map(|destination| destination.shard).collect()
    }
}

/// Has each of these replicas catch up with what others have acknowledged of a replicated table, before it is asked.
///
/// # Errors
/// See [`RouteError`].
pub async fn settle(database: &str, nodes: &[Node], table: &str) -> Result<(), RouteError> {
    let sql = sql::render("backfill/sync_replica.sql", minijinja::context! { database, table })?;
    for node in nodes {
        node.execute(&sql).await?;
    }
    Ok(())
}

/// A setting of newer versions that would make a node take a token for nothing, if a profile has it so.
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

/// All nodes, those of the shard first: their `writable_events` writes its rows without another hop.
fn nearest(nodes: &[Node], shard: u32) -> Vec<Node> {
    let mut nodes = nodes.to_vec();
    nodes.sort_by_key(|node| node.shard != shard as usize);
    nodes
}

/// Each shard that owns slots, with the first of them.
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

/// The nodes that answer, at least one, and why the others do not.
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
