//! One round: a set of distinct ids, all shards, then their overrides.

use futures_util::future::try_join_all;
use minijinja::{Value, context};

use super::{OnStep, Scope, SquashReport, SquashStep};
use crate::topics::Lock;

/// A share of the distinct ids.
pub(super) struct Round<'a> {
    pub(super) scope: &'a Scope<'a>,
    /// Another squash would replace the set.
    pub(super) lock: &'a Lock,
    /// From 0.
    pub(super) round: u64,
    pub(super) rounds: u64,
}

impl Round<'_> {
    pub(super) async fn run(&self, on_step: OnStep<'_>) -> anyhow::Result<SquashReport> {
        let set = self.take().await?;
        let ids = set.taken;
        if ids == 0 {
            return Ok(SquashReport::default());
        }
        on_step(SquashStep::Taken { round: self.round + 1, rounds: self.rounds, ids });
        let shards = self.scope.shards().map(|node| self.write(node, on_step));
        let events = try_join_all(shards).await?.into_iter().sum();
        on_step(SquashStep::Removing { ids });
        // With another set, or none, no event would have differed.
        self.expect(&set).await?;
        self.forget().await?;
        self.clear().await?;
        Ok(SquashReport { distinct_ids: ids, events })
    }

    /// Removes the overrides. The first node is the last one, because the next squash takes its
    /// distinct ids from it.
    async fn forget(&self) -> anyhow::Result<()> {
        let replicated = self.scope.cluster.config.replicated;
        for (place, node) in self.scope.cluster.nodes.iter().enumerate().rev() {
            self.lock.check().await?;
            if place == 0 || !replicated {
                self.mutate(node, "squash/forget.sql", context! {}).await?;
            }
        }
        Ok(())
    }

    pub(super) fn values(&self) -> Value {
        self.scope.values(self.round, self.rounds)
    }
}
