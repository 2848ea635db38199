//! `posthouse udf`: installation, checks and removal of the functions.

mod check;
mod install;
mod list;
mod uninstall;

use anyhow::bail;
use clap::Subcommand;

use self::check::UdfCheck;
use self::install::Install;
use self::uninstall::Uninstall;
use super::Outcome;
use super::output::Output;
use crate::cluster::Cluster;
use crate::config::NodeFiles;
use crate::node::{Node, reach_all};

#[derive(Debug, Subcommand)]
pub(super) enum Udf {
    /// Install the functions on every node whose disk this machine holds
    #[command(after_help = install::HELP)]
    Install(Install),
    /// Compare the functions of every node with the server's own; exit code 3 if they differ
    #[command(after_help = check::HELP)]
    Check(UdfCheck),
    /// List the releases and missing functions of every node, and the release it runs
    #[command(after_help = list::HELP)]
    List,
    /// Remove the functions and their programs from every node whose disk this machine holds
    #[command(after_help = uninstall::HELP)]
    Uninstall(Uninstall),
}

impl Udf {
    pub(super) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        let nodes = &cluster.all_nodes;
        match self {
            Self::Install(verb) => verb.run(nodes, output).await,
            Self::Check(verb) => verb.run(cluster, output).await,
            Self::List => list::run(nodes, output).await,
            Self::Uninstall(verb) => verb.run(cluster, output).await,
        }
    }
}

/// Returns the nodes whose disk this machine holds, after all of them answered. Logs the names
/// of the others.
async fn on_this_machine(nodes: &[Node]) -> anyhow::Result<Vec<(Node, NodeFiles)>> {
    let mut here = Vec::new();
    for node in nodes {
        match &node.files {
            Some(files) => here.push((node.clone(), files.clone())),
            None => tracing::warn!(
                node = node.name,
                "node is skipped: the config has no user_scripts_path and functions_config_file for it"
            ),
        }
    }
    if here.is_empty() {
        bail!(
            "no node has user_scripts_path and functions_config_file in the config: add them for the nodes on this machine"
        );
    }
    reach_all(&here.iter().map(|(node, _)| node.clone()).collect::<Vec<_>>()).await?;
    Ok(here)
}
