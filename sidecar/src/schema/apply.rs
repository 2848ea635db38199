//! Execution of steps, stage by stage.
//!
//! Apply stops at the first failed step. The next run continues from there.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use futures_util::future::join_all;

use crate::cluster::Cluster;
use crate::node::{Node, NodeError};
use crate::sql;

use super::steps::SchemaStep;

/// Settings that the statements need beyond the server's defaults, with the reason.
const SETTINGS: [(&str, &str); 2] = [
    // ClickHouse 26.7 still marks offsets in Keeper as experimental.
    ("allow_experimental_kafka_offsets_storage_in_keeper", "1"),
    // Views are created before the Kafka table that they read, so that it never streams
    // to one of two.
    ("allow_materialized_view_with_bad_select", "1"),
];

/// Carries out `steps`, and calls `done` after each with its number, counted from 1. Once `stop` is
/// set, it ends before the next stage at which no node is paused.
///
/// # Errors
/// Returns the first failure, after the other steps of its stage have ended and the node's
/// ingestion is resumed.
pub(crate) async fn apply(
    cluster: &Cluster,
    steps: &[SchemaStep],
    stop: &AtomicBool,
    mut done: impl FnMut(usize, &SchemaStep),
) -> anyhow::Result<()> {
    let numbered: Vec<(usize, &SchemaStep)> = (1..).zip(steps).collect();
    let (mut paused, count) = (false, steps.len());
    for stage in numbered.chunk_by(|(_, one), (_, next)| one.stage == next.stage) {
        let number = stage.first().map_or(1, |(number, _)| *number);
        if stop.load(Ordering::Relaxed) && !paused {
            bail!(
                "stopped by a signal after step {} of {count}; no node was left paused: run apply again for the rest",
                number - 1
            );
        }
        let taken = stage.iter().map(async |&(number, step)| (number, step, take(cluster, step).await));
        for (number, step, taken) in join_all(taken).await {
            if let Err(error) = taken {
                let left = match paused || step.paused {
                    true => resume(cluster, step, &steps[number..]).await.err(),
                    false => None,
                };
                let left = left.map(|why| format!(", and ingestion is PAUSED there ({why})"));
                return Err(error.context(format!(
                    "step {number} of {count} ({}: {}) failed; the steps before it are done{}: fix the cause and run apply again",
                    step.node,
                    step.summary,
                    left.unwrap_or_default()
                )));
            }
            paused = step.paused;
            done(number, step);
        }
    }
    Ok(())
}

/// Recreates the node's views and consumers after a step failed during a pause. The failed step is
/// retried first if it creates one of them, because a consumer must not stream to one of two views.
async fn resume(cluster: &Cluster, failed: &SchemaStep, rest: &[SchemaStep]) -> anyhow::Result<()> {
    // The pause ends with the first step after which the node is not paused.
    let length = rest.iter().position(|step| !step.paused).map_or(rest.len(), |last| last + 1);
    let window = if failed.paused { &rest[..length] } else { &[] };
    for step in std::iter::once(failed).chain(window).filter(|step| step.resumes()) {
        take(cluster, step).await?;
    }
    Ok(())
}

async fn take(cluster: &Cluster, step: &SchemaStep) -> anyhow::Result<()> {
    for node in cluster.all_nodes.iter().filter(|node| node.name == step.node) {
        execute(node, &step.sql).await?;
        if let Some(upgrade) = step.upgrade {
            let values = minijinja::context! { database => &cluster.config.database };
            let sql = sql::render("upgrades/record.sql", values)?;
            let record = node.query(&sql).param("name", upgrade.name);
            record.param("checksum", upgrade.checksum()).execute().await?;
        }
    }
    Ok(())
}

async fn execute(node: &Node, sql: &str) -> Result<(), NodeError> {
    let query = node.query(sql);
    SETTINGS.iter().fold(query, |query, (name, value)| query.setting(name, value)).execute().await
}
