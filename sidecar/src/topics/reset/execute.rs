//! Does a reset. For the schema's own tables in the only order in which it holds: with offsets in Keeper they take the
//! group's only when they are created, and Keeper forgets its own when the last of them is dropped.
//!
//! A crash anywhere is mended by the same command again: it finds tables missing or offsets moved, and does the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::groups::{places, replicas};
use super::{Found, Own, Refusals, Request, Reset, look, plan};
use crate::config::{Config, Offsets};
use crate::kafka::{Client, KafkaError, Place};
use crate::node::{Node, NodeError};
use crate::schema::{self, Replays, Step};
use crate::sql::RenderError;
use crate::topics::apply::lock::{Lock, LockError, LockScope};

/// How long consumers of dropped tables may stay in the group: those of a node that died, until its session ends (45 s).
const LEAVE_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Why a reset ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// Something stands against it; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusals),
    /// Somebody else changes topics; nothing was changed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The brokers can't be asked.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A node can't be asked.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The schema can't be compared.
    #[error(transparent)]
    Schema(#[from] schema::ObserveError),
    /// A statement does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A table could not be dropped or made.
    #[error(transparent)]
    Apply(#[from] schema::ApplyError),
    /// Keeper still has what it should have forgotten.
    #[error(
        "the tables are dropped, and Keeper still knows {}: the offsets there would win. Remove what belongs to nodes that \
         are gone", .0.join(", ")
    )]
    Kept(Vec<String>),
    /// Somebody is in the group.
    #[error("the tables are dropped, and {} still in the group: stop what reads in it", .0.join(", "))]
    Members(Vec<String>),
    /// The group has other offsets than were committed.
    #[error(
        "{0} partitions have other offsets than were committed: does somebody else commit for the group?"
    )]
    NotKept(usize),
    /// A table came back before its time.
    #[error(
        "{0} was created while the offsets were set, and may have begun at the old ones: does somebody else run posthouse schema apply?"
    )]
    CameBack(String),
}

impl ResetError {
    /// Whether nothing can have been changed.
    fn is_harmless(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Lock(_))
    }
}

/// Why a reset was not done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// Nothing was changed.
    #[error(transparent)]
    Before(#[from] ResetError),
    /// It had begun.
    #[error(
        "the reset of {group} ended before its end: run the same command again; or posthouse schema apply, to go on from the \
         offsets that the group has now"
    )]
    Interrupted {
        /// The group.
        group: String,
        /// What happened.
        #[source]
        source: ResetError,
    },
}

/// Looks again under the lock and does it; `said` hears of each step.
///
/// # Errors
/// See [`ExecuteError`].
pub async fn execute(
    config: &Config,
    client: &Client,
    nodes: &[Node],
    request: &Request,
    mut said: impl FnMut(String),
) -> Result<Reset, ExecuteError> {
    let lock = Lock::take(client, &LockScope::topics()).await.map_err(ResetError::from)?;
    let found = look(config, client, nodes, request).await?;
    let reset = plan(request, &found).map_err(ResetError::from)?;
    let run = Run { config, client, nodes, lock: &lock };
    match run.carry_out(&reset, &found, &mut said).await {
        Ok(()) => Ok(reset),
        Err(error) if error.is_harmless() => Err(error.into()),
        Err(source) => Err(ExecuteError::Interrupted { group: request.group.clone(), source }),
    }
}

struct Run<'a> {
    config: &'a Config,
    client: &'a Client,
    nodes: &'a [Node],
    lock: &'a Lock,
}

impl Run<'_> {
    async fn carry_out(
        &self,
        reset: &Reset,
        found: &Found,
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
            self.client.commit(&reset.group, &offsets).await?;
            self.read_back(&reset.group, &offsets).await?;
            said(format!("offsets of {} partitions committed", offsets.len()));
        }
        match &found.own {
            Some(own) => self.make_tables(own, reset, said).await,
            None => Ok(()),
        }
    }

    /// Node after node: Keeper forgets the offsets with the last one.
    async fn drop_tables(&self, own: &Own, said: &mut impl FnMut(String)) -> Result<(), ResetError> {
        let plans = schema::observe(self.config, self.nodes, Replays::new()).await?;
        let steps = schema::stops(&self.config.database, &plans, &own.names)?;
        Ok(schema::apply(self.config, self.nodes, &steps, &AtomicBool::new(false), |_, step| {
            said(step_text(step));
        })
        .await?)
    }

    /// Where a node can tell, that Keeper knows no replica any more.
    async fn forgotten(&self) -> Result<(), ResetError> {
        let path = &self.config.events.keeper_path;
        let (Offsets::Keeper, Some(node)) = (self.config.events.offsets, self.nodes.first()) else {
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

    /// Until nobody is in the group: brokers refuse a commit from outside as long as somebody is.
    async fn alone(&self, group: &str) -> Result<(), ResetError> {
        let deadline = Instant::now() + LEAVE_LIMIT;
        loop {
            let known = self.client.groups(Some(group)).await?;
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
            sleep(LOOK_AGAIN).await;
        }
    }

    /// What is committed: where the partitions go; and for the schema's own tables, what Keeper had of the partitions that
    /// stay, if the group was behind: that is forgotten now.
    async fn offsets(&self, reset: &Reset, found: &Found) -> Result<BTreeMap<Place, i64>, ResetError> {
        let mut offsets: BTreeMap<Place, i64> =
            reset.moves.iter().map(|step| (step.place.clone(), step.to)).collect();
        let topics = found.own.iter().flat_map(|own| &own.topics);
        let rest: BTreeSet<Place> = topics
            .flat_map(|topic| places(&found.seen.cluster, topic))
            .filter(|place| !offsets.contains_key(place))
            .collect();
        let committed = self.client.committed(&reset.group, rest.clone()).await?;
        for place in rest {
            let kept = found.seen.kept_position(&reset.group, &place);
            let stays = committed.get(&place).copied().flatten().max(kept);
            offsets.extend(stays.map(|offset| (place, offset)));
        }
        Ok(offsets)
    }

    async fn read_back(&self, group: &str, wanted: &BTreeMap<Place, i64>) -> Result<(), ResetError> {
        let committed = self.client.committed(group, wanted.keys().cloned().collect()).await?;
        let kept = |(place, offset): &(&Place, &i64)| committed.get(place) == Some(&Some(**offset));
        match wanted.iter().filter(|pair| !kept(pair)).count() {
            0 => Ok(()),
            others => Err(ResetError::NotKept(others)),
        }
    }

    async fn make_tables(
        &self,
        own: &Own,
        reset: &Reset,
        said: &mut impl FnMut(String),
    ) -> Result<(), ResetError> {
        let plans = schema::observe(self.config, self.nodes, Replays::new()).await?;
        let names = |name: &str| own.names.contains(name);
        let back = plans.iter().find_map(|plan| {
            let (table, _) = plan.consumers.iter().find(|(table, _)| names(table.name))?;
            Some(format!("{} on {}", table.name, plan.node))
        });
        if let (Some(back), true) = (back, reset.moves()) {
            return Err(ResetError::CameBack(back));
        }
        let steps = schema::steps(&self.config.database, &plans)?;
        Ok(schema::apply(self.config, self.nodes, &steps, &AtomicBool::new(false), |_, step| {
            said(step_text(step));
        })
        .await?)
    }
}

fn step_text(step: &Step) -> String {
    format!("{} {}", step.node, step.summary)
}
