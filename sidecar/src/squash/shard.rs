//! The events of one shard: partition by partition, until none differs.

use std::time::Duration;

use anyhow::bail;
use minijinja::context;
use tokio::time::{Instant, sleep};

use super::plan::{PartitionPlan, differing};
use super::round::Round;
use super::{OnStep, SquashStep};
use crate::backfill::insert::{Throttle, observe};
use crate::node::Node;

/// Passes over the partitions. A second one writes what was merged or stored meanwhile.
const PASSES: usize = 3;
/// Wait before the node's load is read again.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest wait for a node with too high a load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3600);

impl Round<'_> {
    /// Writes the round's persons into the shard's events. Returns the number of events.
    ///
    /// # Errors
    /// Fails if events still differ after all passes; their overrides stay.
    pub(super) async fn write(&self, node: &Node, on_step: OnStep<'_>) -> anyhow::Result<u64> {
        let mut written = 0;
        for _ in 0..PASSES {
            let differing = self.differing(node).await?;
            if differing.is_empty() {
                return Ok(written);
            }
            for PartitionPlan { partition, events } in differing {
                self.wait_for(node, on_step).await?;
                self.lock.check().await?;
                on_step(SquashStep::Writing {
                    node: node.name.clone(),
                    partition: partition.clone(),
                    events,
                });
                self.mutate(node, "squash/write.sql", context! { partition }).await?;
                written += events;
            }
        }
        let left: u64 = self.differing(node).await?.iter().map(|partition| partition.events).sum();
        if left > 0 {
            bail!(
                "{left} events of shard {} on {} got former persons while they were written: the overrides stay; squash \
                 again later, with a larger --older-than",
                node.shard,
                node.name
            );
        }
        Ok(written)
    }

    async fn differing(&self, node: &Node) -> anyhow::Result<Vec<PartitionPlan>> {
        if self.scope.cluster.config.replicated {
            // Another replica may have stored events that this one has not fetched.
            self.statement(node, "backfill/sync_replica.sql", context! { table => "sharded_events" }).await?;
        }
        differing(node, context! { is_loaded => true, ..self.values() }).await
    }

    /// Waits while the node has too many parts, or too little disk for a copy.
    async fn wait_for(&self, node: &Node, on_step: OnStep<'_>) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let load = observe(node, &self.scope.cluster.config.database).await?;
            let throttle = load.map_or(Throttle::None, |load| Throttle::of(&load));
            let (pause, reason) = match throttle {
                Throttle::None => return Ok(()),
                Throttle::Delay { pause, reason } => (Some(pause), reason),
                Throttle::Pause { reason } => (None, reason),
            };
            if pause.is_none() && begun.elapsed() > LOAD_TIMEOUT {
                bail!(
                    "node {} has been too busy for an hour: {reason}; squash again when it has caught up",
                    node.name
                );
            }
            on_step(SquashStep::Waiting { node: node.name.clone(), reason });
            sleep(pause.unwrap_or(PAUSE)).await;
            if pause.is_some() {
                return Ok(());
            }
        }
    }
}
