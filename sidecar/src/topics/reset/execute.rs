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

use tokio::time::{Instant, sleep};

use super::super::groups::{places, replicas};
use super::{Reset, ResetError, ResetInput, ResetRequest, SchemaConsumers, look, plan};
use crate::cluster::Cluster;
use crate::config::OffsetStorage;
use crate::kafka::{Client, TopicPartition};
use crate::schema::{self, Replays, SchemaStep};
use crate::topics::apply::lock::{Lock, LockScope};

/// How long consumers of dropped tables may stay in the group. Consumers of a dead node stay until
/// their session ends (45 s).
const LEAVE_LIMIT: Duration = Duration::from_secs(60);
/// Interval between two checks of the group.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Error of a reset, before or after its first change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecuteError {
    /// No change was made.
    #[error(transparent)]
    Before(#[from] ResetError),
    /// The reset had begun.
    #[error(
        "the reset of {group} did not finish: run the same command again, or posthouse schema apply to continue at the \
         group's current offsets"
    )]
    Interrupted {
        group: String,
        #[source]
        source: ResetError,
    },
}

/// Plans the reset under the lock and executes it. Calls `said` for each step.
pub(crate) async fn execute(
    cluster: &Cluster,
    request: &ResetRequest,
    mut said: impl FnMut(String),
) -> Result<Reset, ExecuteError> {
    let lock = Lock::take(cluster.kafka().map_err(ResetError::from)?, &LockScope::topics())
        .await
        .map_err(ResetError::from)?;
    let found = look(cluster, request).await?;
    let reset = plan(request, &found).map_err(ResetError::from)?;
    let run = Run { cluster, kafka: cluster.kafka().map_err(ResetError::from)?, lock: &lock };
    match run.carry_out(&reset, &found, &mut said).await {
        Ok(()) => Ok(reset),
        Err(error) if error.is_harmless() => Err(error.into()),
        Err(source) => Err(ExecuteError::Interrupted { group: request.group.clone(), source }),
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
    ) -> Result<(), ResetError> {
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
    async fn drop_tables(
        &self,
        own: &SchemaConsumers,
        said: &mut impl FnMut(String),
    ) -> Result<(), ResetError> {
        let plans = schema::observe(self.cluster, Replays::new()).await?;
        let steps = schema::pause_consumers(&self.cluster.config.database, &plans, &own.names)?;
        Ok(schema::apply(self.cluster, &steps, &AtomicBool::new(false), |_, step| {
            said(step_text(step));
        })
        .await?)
    }

    /// Checks that Keeper has no replica left, if a node can read Keeper.
    async fn forgotten(&self) -> Result<(), ResetError> {
        let path = &self.cluster.config.events.keeper_path;
        let (OffsetStorage::Keeper, Some(node)) =
            (self.cluster.config.events.offsets, self.cluster.nodes.first())
        else {
            return Ok(());
        };
        let left = replicas(node, path).await?.unwrap_or_default();
        match left.is_empty() {
            true => Ok(()),
            false => {
                Err(ResetError::Kept(left.iter().map(|name| format!("{path}/replicas/{name}")).collect()))
            }
        }
    }

    /// Waits until the group has no members, because brokers reject an outside commit before that.
    async fn alone(&self, group: &str) -> Result<(), ResetError> {
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
            if Instant::now() >= deadline {
                return Err(ResetError::Members(members));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Offsets to commit: the moved partitions. For the schema's own tables also the unmoved
    /// partitions, with Keeper's offset if the group was behind, because Keeper has dropped it.
    async fn offsets(
        &self,
        reset: &Reset,
        found: &ResetInput,
    ) -> Result<BTreeMap<TopicPartition, i64>, ResetError> {
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

    async fn read_back(&self, group: &str, wanted: &BTreeMap<TopicPartition, i64>) -> Result<(), ResetError> {
        let committed = self.kafka.committed(group, wanted.keys().cloned().collect()).await?;
        let kept = |(place, offset): &(&TopicPartition, &i64)| committed.get(place) == Some(&Some(**offset));
        match wanted.iter().filter(|pair| !kept(pair)).count() {
            0 => Ok(()),
            others => Err(ResetError::NotKept(others)),
        }
    }

    async fn make_tables(
        &self,
        own: &SchemaConsumers,
        reset: &Reset,
        said: &mut impl FnMut(String),
    ) -> Result<(), ResetError> {
        let plans = schema::observe(self.cluster, Replays::new()).await?;
        let names = |name: &str| own.names.contains(name);
        let back = plans.iter().find_map(|plan| {
            let (table, _) = plan.consumers.iter().find(|(table, _)| names(table.name))?;
            Some(format!("{} on {}", table.name, plan.node))
        });
        if let (Some(back), true) = (back, reset.moves()) {
            return Err(ResetError::CameBack(back));
        }
        let steps = schema::steps(&self.cluster.config.database, &plans)?;
        Ok(schema::apply(self.cluster, &steps, &AtomicBool::new(false), |_, step| {
            said(step_text(step));
        })
        .await?)
    }
}

fn step_text(step: &SchemaStep) -> String {
    format!("{} {}", step.node, step.summary)
}
