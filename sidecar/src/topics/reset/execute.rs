//! Execution of a reset.
//!
//! The order matters for the schema's own tables with offsets in Keeper. They take the group's
//! offsets only when they are created, and Keeper drops its own with the last table. So all tables
//! are dropped, the offsets committed, and the tables created.
//!
//! After a crash at any point, the same command finds missing tables or changed offsets and does
//! the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::time::{Instant, sleep};

use super::super::groups::{places, replicas};
use super::{Reset, ResetInput, ResetRequest, SchemaConsumers, look, plan};
use crate::cluster::Cluster;
use crate::config::OffsetStorage;
use crate::kafka::{Client, TopicPartition};
use crate::schema::{self, Replays, SchemaStep};
use crate::topics::apply::lock::{Lock, LockError, LockScope};

/// How long consumers of dropped tables may stay in the group. Consumers of a dead node stay until
/// their session ends (45 s).
const LEAVE_LIMIT: Duration = Duration::from_secs(60);
/// Interval between two checks of the group.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Plans the reset under the lock and executes it. Calls `said` for each step.
pub(crate) async fn execute(
    cluster: &Cluster,
    request: &ResetRequest,
    mut said: impl FnMut(String),
) -> anyhow::Result<Reset> {
    let lock = Lock::take(cluster.kafka()?, &LockScope::topics()).await?;
    let found = look(cluster, request).await?;
    let reset = plan(request, &found)?;
    if found.own.is_some() && !reset.is_done() {
        // A dropped table that can't be created would leave ingestion paused.
        schema::refuse_missing_rights(cluster, &[]).await?;
    }
    let run = Run { cluster, kafka: cluster.kafka()?, lock: &lock };
    match run.carry_out(&reset, &found, &mut said).await {
        Ok(()) => Ok(reset),
        // The lock is lost before the first change.
        Err(error) if error.is::<LockError>() => Err(error),
        Err(error) => Err(error.context(format!(
            "the reset of {} did not finish: run the same command again, or posthouse schema apply to continue at the \
             group's current offsets",
            request.group
        ))),
    }
}

struct Run<'a> {
    cluster: &'a Cluster,
    kafka: &'a Client,
    lock: &'a Lock,
}

impl Run<'_> {
    async fn carry_out(
        &self,
        reset: &Reset,
        found: &ResetInput,
        said: &mut impl FnMut(String),
    ) -> anyhow::Result<()> {
        if reset.moves() {
            self.lock.check().await?;
            if let Some(own) = &found.own {
                self.drop_tables(own, said).await?;
                self.forgotten().await?;
                self.alone(&reset.group).await?;
            }
            let offsets = self.offsets(reset, found).await?;
            self.kafka.commit(&reset.group, &offsets).await?;
            self.read_back(&reset.group, &offsets).await?;
            said(format!("offsets of {} partitions committed", offsets.len()));
        }
        match &found.own {
            Some(own) => self.make_tables(own, reset, said).await,
            None => Ok(()),
        }
    }

    /// Drops the tables node by node. Keeper drops the offsets with the last one.
    async fn drop_tables(&self, own: &SchemaConsumers, said: &mut impl FnMut(String)) -> anyhow::Result<()> {
        let plans = schema::observe(self.cluster, Replays::new()).await?;
        let steps = schema::pause_consumers(&self.cluster.config.database, &plans, &own.names)?;
        schema::apply(self.cluster, &steps, &AtomicBool::new(false), |_, step| said(step_text(step))).await
    }

    /// Checks that Keeper has no replica left, if a node can read Keeper.
    async fn forgotten(&self) -> anyhow::Result<()> {
        let path = &self.cluster.config.events.keeper_path;
        let (OffsetStorage::Keeper, Some(node)) =
            (self.cluster.config.events.offsets, self.cluster.ingesting_nodes().next())
        else {
            return Ok(());
        };
        let left = replicas(node, path).await?.unwrap_or_default();
        let left: Vec<String> = left.iter().map(|name| format!("{path}/replicas/{name}")).collect();
        ensure!(
            left.is_empty(),
            "the tables are dropped, and Keeper still knows {}: these offsets would take precedence. Remove the replicas of \
             nodes that are gone",
            left.join(", ")
        );
        Ok(())
    }

    /// Waits until the group has no members, because brokers reject an outside commit before that.
    async fn alone(&self, group: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + LEAVE_LIMIT;
        loop {
            let known = self.kafka.groups(Some(group)).await?;
            let members: Vec<String> = known
                .into_iter()
                .flat_map(|group| group.members)
                .map(|member| super::called(&member))
                .collect();
            if members.is_empty() {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the tables are dropped, and {} are still in the group: stop these consumers",
                members.join(", ")
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Offsets to commit: the moved partitions. For the schema's own tables also the unmoved
    /// partitions, with Keeper's offset if the group was behind, because Keeper has dropped it.
    async fn offsets(
        &self,
        reset: &Reset,
        found: &ResetInput,
    ) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
        let mut offsets: BTreeMap<TopicPartition, i64> =
            reset.moves.iter().map(|step| (step.place.clone(), step.to)).collect();
        let topics = found.own.iter().flat_map(|own| &own.topics);
        let rest: BTreeSet<TopicPartition> = topics
            .flat_map(|topic| places(&found.seen.cluster, topic))
            .filter(|place| !offsets.contains_key(place))
            .collect();
        let committed = self.kafka.committed(&reset.group, rest.clone()).await?;
        for place in rest {
            let kept = found.seen.kept_position(&reset.group, &place);
            let stays = committed.get(&place).copied().flatten().max(kept);
            offsets.extend(stays.map(|offset| (place, offset)));
        }
        Ok(offsets)
    }

    async fn read_back(&self, group: &str, wanted: &BTreeMap<TopicPartition, i64>) -> anyhow::Result<()> {
        let committed = self.kafka.committed(group, wanted.keys().cloned().collect()).await?;
        let kept = |(place, offset): &(&TopicPartition, &i64)| committed.get(place) == Some(&Some(**offset));
        let others = wanted.iter().filter(|pair| !kept(pair)).count();
        ensure!(
            others == 0,
            "{others} partitions have other offsets than were committed: check for another program that commits for the group"
        );
        Ok(())
    }

    async fn make_tables(
        &self,
        own: &SchemaConsumers,
        reset: &Reset,
        said: &mut impl FnMut(String),
    ) -> anyhow::Result<()> {
        let plans = schema::observe(self.cluster, Replays::new()).await?;
        let names = |name: &str| own.names.contains(name);
        let back = plans.iter().find_map(|plan| {
            let (table, _) = plan.consumers.iter().find(|(table, _)| names(table.name))?;
            Some(format!("{} on {}", table.name, plan.node))
        });
        if let (Some(back), true) = (back, reset.moves()) {
            bail!(
                "{back} was created while the offsets were set, and may have begun at the old ones: check for another \
                 posthouse schema apply"
            );
        }
        let steps = schema::steps(&self.cluster.config.database, &plans)?;
        schema::apply(self.cluster, &steps, &AtomicBool::new(false), |_, step| said(step_text(step))).await
    }
}

fn step_text(step: &SchemaStep) -> String {
    format!("{} {}", step.node, step.summary)
}
