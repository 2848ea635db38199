//! Comparison of the config's shards, weights and addresses with each node's `remote_servers`.

use serde::Deserialize;

use crate::config::{Config, NodeRole};
use crate::node::{Node, NodeError};
use crate::sql;

/// One row of `system.clusters`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ClusterRow {
    pub(crate) shard: usize,
    pub(crate) weight: u32,
    pub(crate) replica: usize,
    pub(crate) host: String,
    pub(crate) address: String,
    pub(crate) port: u16,
    /// Whether the node recognizes the address as its own; 0 in all rows if it recognizes none.
    pub(crate) is_local: u8,
}

/// One row of `system.macros`.
#[derive(Debug, Deserialize)]
struct Macro {
    r#macro: String,
    substitution: String,
}

/// The config and a node disagree about the cluster, so rows would go to other shards than
/// queries expect.
#[derive(Debug, thiserror::Error)]
#[error("the config and the nodes know different clusters; no change was made\n  {}", .0.join("\n  "))]
pub(crate) struct ClusterError(
    /// At least one difference.
    pub(crate) Vec<String>,
);

/// Returns all differences between the cluster of `node` and the config.
pub(crate) async fn differences(config: &Config, node: &Node) -> Result<Vec<String>, NodeError> {
    let query = node.query(sql::text("inspect/cluster.sql").unwrap_or_default());
    let rows = query.param("cluster", &config.cluster).rows().await?;
    let mut differences = compare(config, &node.name, &rows);
    differences.extend(another_node(node, &rows));
    if config.replicated && node.has(NodeRole::Data) {
        let macros = node.rows::<Macro>(sql::text("inspect/macros.sql").unwrap_or_default()).await?;
        differences.extend(compare_macros(node, &macros));
    }
    Ok(differences)
}

fn compare(config: &Config, node: &str, rows: &[ClusterRow]) -> Vec<String> {
    if rows.is_empty() {
        return vec![format!(
            "{node}: remote_servers has no cluster {}: define it there, or name another in the config",
            config.cluster
        )];
    }
    let mut differences = Vec::new();
    for (number, shard) in (1..).zip(&config.shards) {
        for (place, replica) in (1..).zip(&shard.replicas) {
            let wanted = &replica.address;
            match rows.iter().find(|row| (row.shard, row.replica) == (number, place)) {
                None => differences.push(format!(
                    "{node}: shard {number} replica {place} is {} ({wanted}) in the config and missing there",
                    replica.name
                )),
                Some(row) => {
                    if row.port != wanted.port || (row.host != wanted.host && row.address != wanted.host) {
                        differences.push(format!(
                            "{node}: shard {number} replica {place} is {}:{} there and {wanted} in the config",
                            row.host, row.port
                        ));
                    }
                    // Replicas of a shard share its weight, so it is reported once.
                    if place == 1 && row.weight != shard.weight {
                        differences.push(format!(
                            "{node}: shard {number} has weight {} there and {} in the config",
                            row.weight, shard.weight
                        ));
                    }
                }
            }
        }
    }
    let known = |row: &ClusterRow| {
        let shard = row.shard.checked_sub(1).and_then(|index| config.shards.get(index));
        shard.is_some_and(|shard| row.replica <= shard.replicas.len())
    };
    differences.extend(rows.iter().filter(|row| !known(row)).map(|row| {
        format!(
            "{node}: shard {} replica {} is {}:{} there and missing in the config",
            row.shard, row.replica, row.host, row.port
        )
    }));
    differences
}

/// Returns a difference if the URL leads to another node of the cluster, because a direct load
/// would go to the wrong shard.
fn another_node(node: &Node, rows: &[ClusterRow]) -> Option<String> {
    let is_here = |row: &&ClusterRow| (row.shard, row.replica) == (node.shard, node.replica);
    let local = rows.iter().find(|row| row.is_local == 1)?;
    if !node.has(NodeRole::Data) {
        return Some(format!(
            "{}: {} leads to shard {} replica {} of remote_servers ({}:{}): list it below [[shards]], or take it out there",
            node.name, node.url, local.shard, local.replica, local.host, local.port
        ));
    }
    let here = rows.iter().find(is_here)?;
    (here.is_local == 0).then(|| {
        format!(
            "{}: {} leads to the node that remote_servers calls shard {} replica {} ({}:{}): are the urls of two nodes swapped?",
            node.name, node.url, local.shard, local.replica, local.host, local.port
        )
    })
}

/// Compares the macros that replicated paths are built from, `{shard}` and `{replica}`. A wrong
/// macro would join two shards into one table.
fn compare_macros(node: &Node, macros: &[Macro]) -> Vec<String> {
    let value = |name: &str| {
        macros.iter().find(|found| found.r#macro == name).map(|found| found.substitution.as_str())
    };
    let mut differences = Vec::new();
    match value("shard") {
        None => differences
            .push(format!("{}: macro shard is not defined there: replicated paths need it", node.name)),
        Some(shard) if shard.parse() != Ok(node.shard) => differences.push(format!(
            "{}: macro shard is {shard} there and the config has it in shard {}",
            node.name, node.shard
        )),
        Some(_) => {}
    }
    if value("replica").is_none() {
        differences
            .push(format!("{}: macro replica is not defined there: replicated paths need it", node.name));
    }
    differences
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> Config {
        let text = "kafka.brokers = [\"b:1\"]\n\
            [[shards]]\nweight = 1\n[[shards.replicas]]\nname = \"a\"\nurl = \"http://a:8123\"\naddress = \"a:9000\"\n\
            [[shards]]\nweight = 3\n[[shards.replicas]]\nname = \"b\"\nurl = \"http://b:8123\"\naddress = \"b:9000\"\n";
        Config::parse(text, Path::new("")).expect("a config")
    }

    fn row(shard: usize, weight: u32, host: &str) -> ClusterRow {
        let (host, address) = (host.to_owned(), "10.0.0.9".to_owned());
        ClusterRow { shard, weight, replica: 1, host, address, port: 9000, is_local: 0 }
    }

    #[test]
    fn names_the_node_that_a_swapped_url_leads_to() {
        let nodes = Node::all(&config()).expect("nodes");
        let rows = |local| {
            [1, 2].map(|shard| ClusterRow { is_local: u8::from(shard == local), ..row(shard, 1, "a") })
        };
        assert_eq!(another_node(&nodes[0], &rows(1)), None);
        assert_eq!(another_node(&nodes[0], &rows(0)), None);
        assert!(another_node(&nodes[0], &rows(2)).is_some_and(|text| text.contains("shard 2 replica 1")));
    }

    #[test]
    fn the_same_cluster_has_no_difference() {
        assert_eq!(compare(&config(), "a", &[row(1, 1, "a"), row(2, 3, "b")]), Vec::<String>::new());
    }

    #[test]
    fn weight_address_missing_and_extra_shards_are_all_named_at_once() {
        let differences = compare(&config(), "a", &[row(1, 2, "c"), row(3, 1, "d")]);
        assert_eq!(differences.len(), 4, "{differences:?}");
        for (difference, part) in
            differences.iter().zip(["c:9000", "weight 2", "shard 2 replica 1", "d:9000"])
        {
            assert!(difference.contains(part) && difference.starts_with("a: "), "{difference}");
        }
    }

    #[test]
    fn an_unknown_cluster_says_where_to_define_it() {
        assert!(compare(&config(), "a", &[])[0].contains("remote_servers"));
    }
}
