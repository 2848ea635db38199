//! Squash of overrides: events get the current person of their distinct id.
//!
//! A round takes a set of distinct ids, writes their persons into the events of every shard, counts
//! that no event differs, and only then removes the overrides. After a kill, the next squash writes
//! only events that still differ.

mod backlog;
mod plan;
mod round;
mod set;
mod shard;

use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::config::DISTINCT_ID_TABLES;
use crate::node::reach_all;
use crate::topics::{Lock, LockScope};

pub(crate) use self::plan::{SquashPlan, plan};
use self::round::Round;

/// The distinct ids of a squash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SquashSource {
    /// Those whose person changed: `person_distinct_id_overrides`.
    Overrides,
    /// All of them, for events that were loaded with former persons.
    AllDistinctIds,
}

/// What to squash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SquashRequest {
    pub(crate) source: SquashSource,
    /// Age from which changes are squashed. Events of half this age must have been read, because
    /// they may have former persons.
    pub(crate) older_than: Duration,
    /// Distinct ids of a round, which every node holds in memory.
    pub(crate) ids_per_round: u64,
}

/// A step that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SquashStep {
    /// A round has its distinct ids.
    Taken { round: u64, rounds: u64, ids: u64 },
    /// A partition of a shard is being written.
    Writing { node: String, partition: String, events: u64 },
    /// The next partition waits for the node.
    Waiting { node: String, reason: String },
    /// All events of the round have their persons; its overrides are being removed.
    Removing { ids: u64 },
}

/// What a squash has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SquashReport {
    /// Distinct ids whose events have their current person.
    pub(crate) distinct_ids: u64,
    /// Events that were written with another person.
    pub(crate) events: u64,
}

/// Receiver of the steps.
pub(crate) type OnStep<'a> = &'a (dyn Fn(SquashStep) + Sync);

/// Squashes on all nodes.
///
/// # Errors
/// Fails before any change if a node is unreachable, old events are unread or another squash runs.
/// After a later error the overrides of the round are still there.
pub(crate) async fn run(
    cluster: &Cluster,
    request: &SquashRequest,
    on_step: OnStep<'_>,
) -> anyhow::Result<SquashReport> {
    let lock = Lock::take(cluster.kafka()?, &LockScope::squash(&cluster.config.database)).await?;
    let scope = Scope::new(cluster, request).await?;
    let rounds = scope.rounds(request).await?;
    let mut report = SquashReport::default();
    for round in 0..rounds {
        let round = Round { scope: &scope, lock: &lock, round, rounds };
        let done = round.run(on_step).await?;
        report.distinct_ids += done.distinct_ids;
        report.events += done.events;
    }
    Ok(report)
}

/// The cluster, the source and the cutoff of a squash.
struct Scope<'a> {
    cluster: &'a Cluster,
    /// The table with the distinct ids.
    source: &'static str,
    /// Changes before it are squashed, in seconds since 1970.
    cutoff: i64,
}

impl<'a> Scope<'a> {
    async fn new(cluster: &'a Cluster, request: &SquashRequest) -> anyhow::Result<Self> {
        let config = &cluster.config;
        if !config.keeps_overrides() {
            bail!(
                "events have no person of their own: add a column person_id of type UUID, or set events.profile = \"posthog\""
            );
        }
        reach_all(&cluster.nodes).await?;
        let mapping =
            config.persons.as_ref().map_or(DISTINCT_ID_TABLES[0], |persons| persons.distinct_id_table);
        let source = match request.source {
            SquashSource::Overrides => "person_distinct_id_overrides",
            SquashSource::AllDistinctIds => mapping,
        };
        let age = jiff::SignedDuration::try_from(request.older_than)?;
        let cutoff = jiff::Timestamp::now().checked_sub(age).context("--older-than is before 1970")?;
        // An application may send events with a former person for a while after a change.
        backlog::refuse_older_than(cluster, cutoff.checked_add(age / 2)?).await?;
        Ok(Self { cluster, source, cutoff: cutoff.as_second() })
    }

    /// The number of rounds, from the rows of the source, which are at least its distinct ids.
    async fn rounds(&self, request: &SquashRequest) -> anyhow::Result<u64> {
        let rows = self.count("squash/size.sql", minijinja::context! { ..self.values(0, 1) }).await?;
        Ok(rows.div_ceil(request.ids_per_round).max(1))
    }
}
