//! `posthouse udf check`: functions of every node against the server's own.

use clap::Args;
use serde::Serialize;

use crate::cli::Outcome;
use crate::cli::output::{Output, table};
use crate::cluster::Cluster;
use crate::node::reach_all;
use crate::udf;

pub(super) const HELP: &str = "\
On every node, each function must return the documented results of its examples (FUNCTIONS.md), with the declared type;
shardKey(id) must be sipHash64(id), and shardOf(id, weights) the shard that a Distributed table with
these weights picks: for the weights of the config and for some others, on 100,000 generated ids each.

Examples:
  posthouse udf check
  posthouse udf check --seed 42    the same ids as the check that printed this seed";

#[derive(Debug, Args)]
pub(in crate::cli) struct UdfCheck {
    /// Seed of the generated ids [default: random]
    #[arg(long)]
    seed: Option<u64>,
}

/// JSON output of `udf check`.
#[derive(Serialize)]
struct CheckedNode {
    seed: u64,
    nodes: Vec<udf::FunctionCheck>,
}

impl UdfCheck {
    pub(super) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        reach_all(&cluster.all_nodes).await?;
        let weights: Vec<u32> = cluster.config.shards.iter().map(|shard| shard.weight).collect();
        let mut checked = CheckedNode { seed: self.seed.unwrap_or_else(rand::random), nodes: Vec::new() };
        for node in &cluster.all_nodes {
            checked.nodes.push(udf::check(node, &weights, checked.seed).await?);
        }
        output.print(&checked, checked_text)?;
        Ok(Outcome::differs_if(!checked.nodes.iter().all(udf::FunctionCheck::is_clean)))
    }
}

fn checked_text(checked: &CheckedNode) -> String {
    let mut rows = vec![["node", "weights", "ids", "not utf-8", "differing"].map(str::to_owned).to_vec()];
    let mut details = String::new();
    for node in &checked.nodes {
        for name in &node.missing {
            details
                .push_str(&format!("node {} has no function {name}: run posthouse udf install\n", node.node));
        }
        for mismatch in &node.mismatches {
            details.push_str(&format!(
                "node {}: {} is {}, expected {}\n",
                node.node, mismatch.call, mismatch.found, mismatch.expected
            ));
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
    let otherwise: usize = checked.nodes.iter().map(|node| node.mismatches.len()).sum();
    format!(
        "{compared}{details}{differing} of {ids} answers differ from the built-ins (seed {}), \
         {otherwise} examples have other results than documented",
        checked.seed
    )
}
