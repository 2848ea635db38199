//! Person index of a node: the files that the function `personOf` reads.

mod rows;
mod sorted;
mod folder;
mod build;
mod status;
mod verify;

use std::hash::Hasher;

use posthouse_udf::snapshot::Identity;
use siphasher::sip::SipHasher24;

pub(crate) use self::build::{BuildReport, build};
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

/// A new index of the cluster's table.
fn new_identity(config: &Config) -> Identity {
    let mut hasher = SipHasher24::new();
    for part in [config.cluster.as_str(), &config.database, table(config)] {
        hasher.write(part.as_bytes());
        hasher.write_u8(0);
    }
    Identity { seed: rand::random(), source: hasher.finish() }
}
