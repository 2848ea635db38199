//! Carries out steps stage after stage and stops where one fails; running again goes on from there.

use futures_util::future::join_all;

use crate::config::Config;
use crate::node::{Node, NodeError};
use crate::sql::{self, RenderError};

use super::steps::Step;

/// Settings that a statement needs beyond the server's defaults, with the reason.
const SETTINGS: [(&str, &str); 2] = [
    // Offsets in Keeper are still called experimental in 26.7.
    ("allow_experimental_kafka_offsets_storage_in_keeper", "1"),
    // Views are made before the Kafka table they read, so that it never streams to one of two.
    ("allow_materialized_view_with_bad_select", "1"),
];

/// A step failed; those of the stages before it are done.
#[derive(Debug, thiserror::Error)]
#[error("step {number} of {count} ({}: {}) failed; the steps before it are done: mend the cause and run apply again", .step.node, .step.summary)]
pub struct ApplyError {
    /// Which, counted from 1.
    pub number: usize,
    /// Of how many.
    pub count: usize,
    /// The step.
    pub step: Box<Step>,
    /// Why.
    #[source]
    pub source: StepError,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The node refused the statement or is gone.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What records an upgrade does not render, which is a fault of posthouse.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// Carries out `steps`; `done` hears of each, with its number from 1.
///
/// # Errors
/// The first that fails, once the others of its stage have ended.
pub async fn apply(
    config: &Config,
    nodes: &[Node],
    steps: &[Step],
    mut done: impl FnMut(usize, &Step),
) -> Result<(), ApplyError> {
    let numbered: Vec<(usize, &Step)> = (1..).zip(steps).collect();
    for stage in numbered.chunk_by(|(_, one), (_, next)| one.stage == next.stage) {
        let taken = stage.iter().map(async |&(number, step)| match take(config, nodes, step).await {
            Ok(()) => Ok((number, step)),
            Err(source) => {
                Err(ApplyError { number, count: steps.len(), step: Box::new(step.clone()), source })
            }
        });
        for taken in join_all(taken).await {
            let (number, step) = taken?;
            done(number, step);
        }
    }
    Ok(())
}

async fn take(config: &Config, nodes: &[Node], step: &Step) -> Result<(), StepError> {
    for node in nodes.iter().filter(|node| node.name == step.node) {
        execute(node, &step.sql).await?;
        if let Some(upgrade) = step.upgrade {
            let values = minijinja::context! { database => &config.database };
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
