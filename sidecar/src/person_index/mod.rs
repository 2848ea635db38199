//! Person index of a node: the files that the function `personOf` reads.

mod clock;
mod source;
mod rows;
mod sorted;
mod folder;
mod newest;
mod merges;
mod live;
mod build;
mod indexed_node;
mod follow;
mod keep;
mod status;
mod verify;

pub(crate) use self::build::{BuildReport, build};
pub(crate) use self::keep::keep;
pub(crate) use self::status::{IndexState, IndexStatus, status};
pub(crate) use self::verify::{IndexComparison, verify};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::node::Node;

/// The nodes whose disk is on this machine.
///
/// # Errors
/// Fails if there is none, or if the config has no persons.
pub(crate) fn local_nodes(cluster: &Cluster) -> anyhow::Result<Vec<&Node>> {
    anyhow::ensure!(
        cluster.config.persons.is_some(),
        "the config has no [persons], so that nodes have no distinct ids: add it first"
    );
    let nodes: Vec<&Node> = cluster.nodes.iter().filter(|node| node.files.is_some()).collect();
    anyhow::ensure!(
        !nodes.is_empty(),
        "no node of the config has its files on this machine: give it user_scripts_path and functions_config_file"
    );
    Ok(nodes)
}

/// The table of distinct ids that an index is made of.
fn table(config: &Config) -> &'static str {
    config.persons.as_ref().map_or(crate::config::DISTINCT_ID_TABLES[0], |persons| persons.distinct_id_table)
}
