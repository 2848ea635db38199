//! Carries out steps one after the other and stops at the first that fails; running again goes on from there.

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

/// A step failed; those before it are done.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The node refused it or is gone.
    #[error("step {number} of {count} ({}: {}) failed; the steps before it are done: mend the cause and run apply again", .step.node, .step.summary)]
    Step {
        /// Which, counted from 1.
        number: usize,
        /// Of how many.
        count: usize,
        /// The step.
        step: Box<Step>,
        /// Why.
        #[source]
        source: NodeError,
    },
    /// An upgrade can't be recorded because its statement does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// Carries out `steps`; `done` hears of each, with its number from 1.
///
/// # Errors
/// [`ApplyError::Step`] at the first that fails.
pub async fn apply(
    config: &Config,
    nodes: &[Node],
    steps: &[Step],
    mut done: impl FnMut(usize, &Step),
) -> Result<(), ApplyError> {
    for (number, step) in (1..).zip(steps) {
        for node in nodes.iter().filter(|node| node.name == step.node) {
            let failed = |source| ApplyError::Step {
                number,
                count: steps.len(),
                step: Box::new(step.clone()),
                source,
            };
            execute(node, &step.sql).await.map_err(failed)?;
            if let Some(upgrade) = step.upgrade {
                let sql =
                    sql::render("upgrades/record.sql", minijinja::context! { database => &config.database })?;
                let record =
                    node.query(&sql).param("name", upgrade.name).param("checksum", upgrade.checksum());
                record.execute().await.map_err(failed)?;
            }
        }
        done(number, step);
    }
    Ok(())
}

async fn execute(node: &Node, sql: &str) -> Result<(), NodeError> {
    let query = node.query(sql);
    SETTINGS.iter().fold(query, |query, (name, value)| query.setting(name, value)).execute().await
}
