//! `posthouse udf`: installing the functions on the nodes, and proving that they answer rightly.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use posthouse::config::Config;
use posthouse::node::{Node, reach_all};
use posthouse::udf::release::PROGRAM;
use posthouse::udf::{self, FileState, Installed, Release};
use serde::Serialize;

use super::Outcome;
use super::output::{Output, table};

const INSTALL: &str = "\
The program goes to USER_SCRIPTS/posthouse-VERSION-CHECKSUM/, so that a running one is never overwritten; the XML
is replaced in one step, the node reads it again, and its answers are compared with its own sipHash64.
Nodes are done one after the other, and the first that fails ends it. Safe to repeat.

Examples:
  posthouse udf install
  posthouse udf install --binary target/release/posthouse-udf";

const CHECK: &str = "\
On every node, shardKey(id) must be sipHash64(id), and shardOf(id, weights) the shard that a Distributed table with
these weights picks: for the weights of the config and for some others, on 100,000 generated ids each.

Examples:
  posthouse udf check
  posthouse udf check --seed 42    the same ids again, as a failed check printed them";

#[derive(Debug, Subcommand)]
pub(super) enum Udf {
    /// Put the functions on every node whose disk this machine holds
    #[command(after_help = INSTALL)]
    Install(Install),
    /// Compare the functions of every node with the server's own; exit code 3 if they differ
    #[command(after_help = CHECK)]
    Check(Check),
}

#[derive(Debug, Args)]
pub(super) struct Install {
    /// The program to install [default: posthouse-udf beside posthouse]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// What the ids are generated from [default: random]
    #[arg(long)]
    seed: Option<u64>,
}

impl Udf {
    pub(super) async fn run(&self, config: &Config, output: Output) -> anyhow::Result<Outcome> {
        let nodes = Node::all(config);
        match self {
            Self::Install(verb) => verb.run(&nodes, output).await,
            Self::Check(verb) => verb.run(config, &nodes, output).await,
        }
    }
}

impl Install {
    async fn run(&self, nodes: &[Node], output: Output) -> anyhow::Result<Outcome> {
        let release = Release::read(&self.program()?)?;
        release.try_out().await?;
        let (ours, others): (Vec<Node>, Vec<Node>) =
            nodes.iter().cloned().partition(|node| node.files.is_some());
        if ours.is_empty() {
            bail!(
                "no node has user_scripts and functions in the config: add them for the nodes on this machine"
            );
        }
        for node in others {
            tracing::warn!(
                "node {} is left out: the config does not give its user_scripts and functions",
                node.name
            );
        }
        reach_all(&ours).await?;
        let mut installed = Vec::new();
        for node in &ours {
            let Some(files) = &node.files else { continue };
            installed.push(udf::install(node, files, &release).await?);
        }
        output.print(&installed, |installed| installed_text(installed))?;
        Ok(Outcome::Clean)
    }

    fn program(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.binary {
            return Ok(path.clone());
        }
        let posthouse = std::env::current_exe().context("can't tell where posthouse is: give --binary")?;
        Ok(posthouse.with_file_name(PROGRAM))
    }
}

fn installed_text(installed: &[Installed]) -> String {
    let state = |state| match state {
        FileState::Written => "written".to_owned(),
        FileState::Unchanged => "unchanged".to_owned(),
    };
    let mut rows = vec![["node", "program", "functions", "release"].map(str::to_owned).to_vec()];
    rows.extend(installed.iter().map(|done| {
        vec![done.node.clone(), state(done.program), state(done.functions), done.release.clone()]
    }));
    table(&rows)
}

/// What `udf check --json` prints.
#[derive(Serialize)]
struct Checked {
    seed: u64,
    nodes: Vec<udf::Check>,
}

impl Check {
    async fn run(&self, config: &Config, nodes: &[Node], output: Output) -> anyhow::Result<Outcome> {
        reach_all(nodes).await?;
        let weights: Vec<u32> = config.shards.iter().map(|shard| shard.weight).collect();
        let mut checked = Checked { seed: self.seed.unwrap_or_else(rand::random), nodes: Vec::new() };
        for node in nodes {
            checked.nodes.push(udf::check(node, &weights, checked.seed).await?);
        }
        output.print(&checked, checked_text)?;
        Ok(Outcome::differs_if(!checked.nodes.iter().all(udf::Check::is_clean)))
    }
}

fn checked_text(checked: &Checked) -> String {
    let mut rows = vec![["node", "weights", "ids", "not utf-8", "differing"].map(str::to_owned).to_vec()];
    let mut details = String::new();
    for node in &checked.nodes {
        for name in &node.missing {
            details
                .push_str(&format!("node {} has no function {name}: run posthouse udf install\n", node.node));
        }
        for compared in &node.compared {
            let (weights, answer) = (format!("{:?}", compared.weights), &compared.answer);
            let counts = [answer.rows, answer.not_utf8, answer.differing].map(|count| count.to_string());
            rows.push([vec![node.node.clone(), weights.clone()], counts.to_vec()].concat());
            for first in &answer.first {
                details.push_str(&format!(
                    "node {}, weights {weights}, id unhex('{}'): shardKey {} (sipHash64 {}), shardOf {} (expected {})\n",
                    node.node,
                    first.distinct_id_hex,
                    first.key,
                    first.expected_key,
                    first.shard,
                    first.expected_shard
                ));
            }
        }
    }
    let compared = if rows.len() > 1 { table(&rows) } else { String::new() };
    let answers = || checked.nodes.iter().flat_map(|node| &node.compared).map(|compared| &compared.answer);
    let (ids, differing) = answers().fold((0, 0), |sum, one| (sum.0 + one.rows, sum.1 + one.differing));
    format!(
        "{compared}{details}{differing} of {ids} answers differ from the built-ins (seed {})",
        checked.seed
    )
}
