//! Takeover of a foreign consumer of events, and its reversal.
//!
//! Both consumers use one group. The offsets of the group mark the end of one consumer and the
//! start of the other, because ours reads them when it is created. The foreign table is detached
//! and not dropped, so that every step can be undone until an operator removes the table by name.

mod judge;
mod steps;
mod verify;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::config::OffsetStorage;
use crate::kafka::TopicPartition;
use crate::schema::{self, Confirmed, Replays, SchemaPlan, SchemaStep, Section};
use crate::topics::groups::{self, Lag};

pub(crate) use self::judge::TakeoverRefusal;
pub(crate) use self::steps::removal_steps;
pub(crate) use self::verify::Verified;

/// Longest stay in the group of consumers of detached tables: the default session of the
/// engine is 45 s.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(60);
const LEAVE_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The cluster of a takeover, and its stop signal.
pub(crate) struct Takeover<'a> {
    pub(crate) cluster: &'a Cluster,
    /// Set by a signal.
    pub(crate) stop: &'a AtomicBool,
}

impl Takeover<'_> {
    /// Checks that `consumer` could be taken over now.
    ///
    /// # Errors
    /// A [`TakeoverRefusal`], or the refusal of the remaining plan by [`schema::check`].
    pub(crate) fn check(
        &self,
        plans: &[SchemaPlan],
        consumer: &str,
        confirmed: &Confirmed,
    ) -> anyhow::Result<()> {
        judge::adoption(&self.cluster.config, plans, consumer)?;
        let mut without = plans.to_vec();
        let feeders = without.iter_mut().flat_map(|plan| &mut plan.feeders);
        feeders.filter(|feeder| feeder.source == consumer).for_each(|feeder| feeder.conflicts = false);
        Ok(schema::check(&without, confirmed)?)
    }

    /// Pauses the foreign consumer, creates ours at the same offsets, and waits until ours has read
    /// the messages present at the takeover.
    pub(crate) async fn adopt(
        &self,
        consumer: &str,
        confirmed: &Confirmed,
        mut report: impl FnMut(&str),
    ) -> anyhow::Result<Verified> {
        let plans = self.plans().await?;
        self.check(&plans, consumer, confirmed)?;
        self.refuse_stale_offsets(&plans).await?;
        self.shown_offsets().await?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let pause = steps::pause_steps(&plans, consumer)?;
        self.carry_out(consumer, &pause, &mut report).await?;
        self.wait_until_empty(consumer).await?;
        let before = verify::twice(self.cluster, since).await?;
        let plans = self.plans().await?;
        schema::check(&plans, confirmed)?;
        let steps = schema::steps(&self.cluster.config.database, &plans)?;
        self.carry_out(consumer, &steps, &mut report).await?;
        verify::verify(self, consumer, since, before).await
    }

    /// Drops our consumer and reattaches the foreign one at the offsets where ours ended. Our
    /// consumer is only detached until the group has these offsets, so that a repeated run after a
    /// kill still finds them.
    pub(crate) async fn hand_back(&self, consumer: &str, mut report: impl FnMut(&str)) -> anyhow::Result<()> {
        let plans = self.plans().await?;
        judge::hand_back(&self.cluster.config, &plans, consumer)?;
        let (group, database) = (&self.cluster.config.events.group, &self.cluster.config.database);
        let paused = self.nodes_with_own_paused().await?;
        let resume = steps::resume_own_steps(paused.iter().map(String::as_str), database)?;
        self.carry_out(consumer, &resume, &mut report).await?;
        let plans = self.plans().await?;
        let kept = positions(&self.shown_offsets().await?, group);
        self.carry_out(consumer, &steps::pause_own_steps(&plans, database)?, &mut report).await?;
        self.wait_until_empty(consumer).await?;
        // The engine commits to the group after Keeper, so an outage of the brokers can leave the
        // group behind.
        let committed = positions(&groups::observe(self.cluster, Some(group)).await?, group);
        let behind: BTreeMap<TopicPartition, i64> = kept
            .into_iter()
            .filter(|(place, offset)| committed.get(place).is_none_or(|committed| committed < offset))
            .collect();
        if !behind.is_empty() {
            self.cluster.kafka()?.commit(group, &behind).await.with_context(|| {
                format!(
                    "our consumer is paused, and group {group} lacks its last offsets: fix the cause, then run the \
                     same command again"
                )
            })?;
        }
        self.carry_out(consumer, &steps::remove_own_steps(&plans, database)?, &mut report).await?;
        let resume = steps::resume_steps(&plans, consumer)?;
        self.carry_out(consumer, &resume, &mut report).await
    }

    /// Nodes on which our consumer is detached because a reversal was killed.
    async fn nodes_with_own_paused(&self) -> anyhow::Result<Vec<String>> {
        let mut paused = Vec::new();
        for node in &self.cluster.all_nodes {
            if schema::is_detached(node, &self.cluster.config.database, steps::OWN_CONSUMER).await? {
                paused.push(node.name.clone());
            }
        }
        Ok(paused)
    }

    /// Refuses replicas below our Keeper path that have no table. Their offsets would win over the
    /// group's, and our consumer would replay messages that the other consumer has stored.
    async fn refuse_stale_offsets(&self, plans: &[SchemaPlan]) -> anyhow::Result<()> {
        let (path, Some(node)) =
            (&self.cluster.config.events.keeper_path, self.cluster.ingesting_nodes().next())
        else {
            return Ok(());
        };
        let exists = plans
            .iter()
            .flat_map(|plan| &plan.consumers)
            .any(|(object, _)| object.section == Section::Events);
        if exists || self.cluster.config.events.offsets == OffsetStorage::Group {
            return Ok(());
        }
        let replicas = groups::replicas(node, path).await?.unwrap_or_default();
        match replicas.is_empty() {
            true => Ok(()),
            false => {
                Err(TakeoverRefusal::StaleOffsets { path: path.clone(), replicas: replicas.join(", ") }
                    .into())
            }
        }
    }

    /// Returns the offsets of the group. Called before the first step, because brokers hide a group
    /// and a topic that this user may not describe: the takeover would not wait for the members of
    /// the one, and the return would not commit the offsets in the other.
    async fn shown_offsets(&self) -> anyhow::Result<groups::GroupSnapshot> {
        let events = &self.cluster.config.events;
        let seen = groups::observe(self.cluster, Some(&events.group)).await?;
        seen.cluster.topic(&events.topic)?;
        Ok(seen)
    }

    async fn plans(&self) -> anyhow::Result<Vec<SchemaPlan>> {
        schema::observe(self.cluster, Replays::new()).await
    }

    async fn carry_out(
        &self,
        consumer: &str,
        steps: &[SchemaStep],
        report: &mut impl FnMut(&str),
    ) -> anyhow::Result<()> {
        let say = |_, step: &SchemaStep| report(&format!("{} {}", step.node, step.summary));
        let done = schema::apply(self.cluster, steps, self.stop, say).await;
        done.with_context(|| {
            format!(
                "{consumer} may be paused: run the same command again, or go back with consumer = \"none\" in the config \
                 and posthouse schema apply --hand-back {consumer}"
            )
        })
    }

    async fn wait_until_empty(&self, consumer: &str) -> anyhow::Result<()> {
        let (deadline, group) = (Instant::now() + LEAVE_TIMEOUT, &self.cluster.config.events.group);
        loop {
            let groups = self.cluster.kafka()?.groups(Some(group)).await?;
            let members: usize = groups.iter().map(|group| group.members.len()).sum();
            if members == 0 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{consumer} is paused, and {members} members are still in group {group}: stop them, then run the same \
                 command again"
            );
            sleep(LEAVE_POLL_INTERVAL).await;
        }
    }
}

/// Returns the offset of a group in each partition, from Keeper or from the brokers.
fn positions(seen: &groups::GroupSnapshot, group: &str) -> BTreeMap<TopicPartition, i64> {
    let places = |lag: Lag| {
        lag.partitions.into_iter().filter_map(move |partition| {
            let place = TopicPartition { topic: lag.topic.clone(), partition: partition.partition };
            Some((place, partition.committed?))
        })
    };
    groups::lags(seen, Some(group)).into_iter().flat_map(places).collect()
}
