//! Deletion of rows from one shard, partition by partition.

use std::time::{Duration, Instant};

use anyhow::bail;
use minijinja::context;
use tokio::time::sleep;

use super::survey::PartitionSurvey;
use super::{OnUndoStep, Undo, UndoStep};
use crate::backfill::insert::{Throttle, observe};
use crate::backoff::Backoff;
use crate::node::{Node, NodeError};
use crate::schema::{Mutation, StallWatch};
use crate::sql;

/// Slices of one statement. A statement of the server has at most 256 KiB.
const SLICES_PER_STATEMENT: usize = 8_000;
/// Waits between two looks at a mutation.
const MIN_POLL: Duration = Duration::from_millis(50);
const MAX_POLL: Duration = Duration::from_secs(2);
/// Wait before the load of a busy node is read again.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest wait for a node with too high a load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3600);

impl Undo<'_> {
    /// Deletes the rows of `partitions`, the newest first, through the first of a shard's nodes,
    /// and waits until all of them have done it.
    pub(super) async fn delete(
        &self,
        nodes: &[Node],
        partitions: &[PartitionSurvey],
        on_step: OnUndoStep<'_>,
    ) -> anyhow::Result<()> {
        for PartitionSurvey { partition, rows, slices, .. } in partitions.iter().rev() {
            let node = &nodes[0];
            self.wait_for_capacity(node, on_step).await?;
            on_step(UndoStep::Deleting {
                node: node.name.clone(),
                partition: partition.clone(),
                rows: *rows,
            });
            let slices: Vec<u64> = slices.keys().copied().collect();
            for slices in slices.chunks(SLICES_PER_STATEMENT) {
                let values = context! { partition, slices => slices.to_vec(), ..self.values() };
                let statement = sql::render("backfill/undo_delete.sql", values)?;
                // A profile may have other values, and the answer would come after hours.
                let query = node.query(&statement).setting("lightweight_deletes_sync", 0);
                query.setting("mutations_sync", 0).execute().await?;
                self.wait_for_mutations(nodes, on_step).await?;
            }
        }
        Ok(())
    }

    /// Waits until no node of a shard has a mutation of events in progress, also one of an undo
    /// that was killed.
    ///
    /// # Errors
    /// Fails if a mutation fails or makes no progress.
    pub(super) async fn wait_for_mutations(
        &self,
        nodes: &[Node],
        on_step: OnUndoStep<'_>,
    ) -> anyhow::Result<()> {
        for node in nodes {
            let (mut polls, mut watch) = (Backoff::new(MIN_POLL, MAX_POLL), StallWatch::new());
            let mut reported = Instant::now();
            while let Some(mutation) = self.mutation(node).await? {
                watch.check(&mutation, Instant::now())?;
                if reported.elapsed() > PAUSE {
                    reported = Instant::now();
                    let reason = format!("for {}: {}", node.name, watch.state(&mutation, reported));
                    on_step(UndoStep::Waiting { reason });
                }
                sleep(polls.wait()).await;
            }
        }
        Ok(())
    }

    /// The oldest mutation in progress.
    async fn mutation(&self, node: &Node) -> Result<Option<Mutation>, NodeError> {
        let query = node.query(sql::text("inspect/mutations.sql").unwrap_or_default());
        Ok(query.param("database", &self.cluster.config.database).rows().await?.into_iter().next())
    }

    /// Waits while a node has too many parts or too little disk.
    async fn wait_for_capacity(&self, node: &Node, on_step: OnUndoStep<'_>) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let load = observe(node, &self.cluster.config.database).await?;
            let reason = match load.map_or(Throttle::None, |load| Throttle::of(&load)) {
                Throttle::None => return Ok(()),
                Throttle::Delay { pause, .. } => {
                    sleep(pause).await;
                    return Ok(());
                }
                Throttle::Pause { reason } => reason,
            };
            if begun.elapsed() > LOAD_TIMEOUT {
                bail!(
                    "node {} has been too busy for an hour: {reason}; the same command continues",
                    node.name
                );
            }
            on_step(UndoStep::Waiting { reason: format!("for {}: {reason}", node.name) });
            sleep(PAUSE).await;
        }
    }
}
