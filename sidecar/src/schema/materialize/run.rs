//! Writing of old parts, one partition of each shard at a time.

use std::time::{Duration, Instant};

use anyhow::bail;
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::time::sleep;

use super::old_parts::{Mutation, OldParts, ShardTable};
use super::plan::{MaterializePlan, ShardParts};
use super::progress::MaterializeProgress;
use crate::backfill::insert::{Throttle, observe as pressure};
use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::node::Node;
use crate::sql;

/// Waits between two looks at a mutation: short for small partitions, and long enough that a look
/// at thousands of parts is no load.
const MIN_POLL: Duration = Duration::from_millis(100);
const MAX_POLL: Duration = Duration::from_secs(2);
/// A mutation without any progress for this time has no thread, or is stuck.
const STALL_TIMEOUT: Duration = Duration::from_secs(600);
/// A mutation without progress for this time is shown with the reason.
const SLOW: Duration = Duration::from_secs(2);
/// A failing mutation is retried by the server. Full memory or disks heal within this time, or need
/// an operator.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a server with too many parts or too little disk.
const PRESSURE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Writes the old parts of the plan, all shards at the same time. Returns the number of partitions
/// that it wrote.
///
/// # Errors
/// The first failure, at once. Mutations of other shards go on.
pub(crate) async fn materialize(
    cluster: &Cluster,
    plan: &MaterializePlan,
    progress: &MaterializeProgress,
) -> anyhow::Result<usize> {
    let runs = tables(cluster, plan)
        .map(async |(shard, table)| ShardRun { table, indexes: &plan.indexes, progress }.run(shard).await);
    Ok(try_join_all(runs).await?.into_iter().sum())
}

/// The table of each shard on the node that writes it.
fn tables<'p>(
    cluster: &'p Cluster,
    plan: &'p MaterializePlan,
) -> impl Iterator<Item = (&'p ShardParts, ShardTable<'p>)> {
    plan.shards.iter().filter_map(|shard| {
        let node = cluster.nodes.iter().find(|node| node.name == shard.node)?;
        Some((shard, ShardTable { node, database: &cluster.config.database, columns: &plan.columns }))
    })
}

/// A mutation that its server continues without posthouse.
#[derive(Debug)]
pub(crate) struct RunningMutation {
    pub(crate) node: String,
    /// The statement that ends it.
    pub(crate) kill: String,
}

/// Mutations that store columns now. Nodes that do not answer have none.
pub(crate) async fn running_mutations(cluster: &Cluster, plan: &MaterializePlan) -> Vec<RunningMutation> {
    let mut running = Vec::new();
    for (shard, table) in tables(cluster, plan) {
        let found = table.mutations().await.unwrap_or_default().into_iter().filter(Mutation::materializes);
        running.extend(found.map(|mutation| RunningMutation {
            node: shard.node.clone(),
            kill: format!(
                "KILL MUTATION WHERE database = '{}' AND table = 'sharded_events' AND mutation_id = '{}'",
                table.database, mutation.id
            ),
        }));
    }
    running
}

struct ShardRun<'a> {
    table: ShardTable<'a>,
    indexes: &'a [String],
    progress: &'a MaterializeProgress,
}

/// Values of the statement that writes a partition.
#[derive(Serialize)]
struct StatementValues<'a> {
    database: &'a str,
    columns: &'a [String],
    indexes: &'a [String],
    partition: &'a str,
}

impl ShardRun<'_> {
    async fn run(&self, shard: &ShardParts) -> anyhow::Result<usize> {
        let mut written = 0;
        for planned in &shard.partitions {
            self.wait_for_mutations(planned).await?;
            self.wait_for_capacity().await?;
            // A mutation from before may have written it.
            if let Some(old) = self.table.old_parts_of(&planned.partition).await? {
                self.start(&old.partition).await?;
                self.wait_for_mutations(planned).await?;
                self.check(&old.partition).await?;
                written += 1;
            }
            self.progress.finish(self.node().shard, planned.rows);
        }
        Ok(written)
    }

    fn node(&self) -> &Node {
        self.table.node
    }

    async fn start(&self, partition: &str) -> anyhow::Result<()> {
        let (database, columns) = (self.table.database, self.table.columns);
        let values = StatementValues { database, columns, indexes: self.indexes, partition };
        let statement = sql::render("changes/materialize.sql", values)?;
        // A profile may have the setting, and the answer would come after hours.
        let query = self.node().query(&statement).setting("mutations_sync", 0).setting("alter_sync", 0);
        Ok(query.execute().await?)
    }

    /// Waits until the table has no mutation in progress, ours or another one.
    async fn wait_for_mutations(&self, planned: &OldParts) -> anyhow::Result<()> {
        let (mut polls, mut watch) = (Backoff::new(MIN_POLL, MAX_POLL), StallWatch::new());
        while let Some(mutation) = self.table.mutations().await?.into_iter().next() {
            let left = self.table.old_parts_of(&planned.partition).await?.map_or(0, |old| old.rows);
            watch.check(&mutation, Instant::now())?;
            let state = watch.state(&mutation, Instant::now());
            let status = format!("shard {}: partition {}, {state}", self.node().shard, planned.partition);
            let stored = planned.rows.saturating_sub(left);
            self.progress.works(self.node().shard, status, stored);
            sleep(polls.wait()).await;
        }
        Ok(())
    }

    /// Waits while merges don't keep up, or a disk is full.
    async fn wait_for_capacity(&self) -> anyhow::Result<()> {
        let (mut polls, since) = (Backoff::new(MIN_POLL, MAX_POLL), Instant::now());
        loop {
            let pressure = pressure(self.node(), self.table.database).await?;
            let reason = match pressure.as_ref().map_or(Throttle::None, Throttle::of) {
                Throttle::None => return Ok(()),
                Throttle::Delay { reason, .. } | Throttle::Pause { reason } => reason,
            };
            if since.elapsed() > PRESSURE_TIMEOUT {
                let minutes = PRESSURE_TIMEOUT.as_secs() / 60;
                bail!(
                    "{} was busy for {minutes} minutes ({reason}); the same command continues",
                    self.node().name
                );
            }
            self.progress.waits(self.node().shard, format!("shard {} waits: {reason}", self.node().shard));
            sleep(polls.wait()).await;
        }
    }

    /// A mutation that was killed ends without its work.
    async fn check(&self, partition: &str) -> anyhow::Result<()> {
        match self.table.old_parts_of(partition).await? {
            None => Ok(()),
            Some(old) => bail!(
                "{} parts of partition {partition} on {} still lack a column: was the mutation killed? The same command \
                 continues",
                old.parts,
                self.node().name
            ),
        }
    }
}

/// The last change of a mutation's state.
pub(crate) struct StallWatch {
    last: Option<(String, u64, u64)>,
    /// When that was observed.
    since: Instant,
}

impl StallWatch {
    pub(crate) fn new() -> Self {
        Self { last: None, since: Instant::now() }
    }

    /// Describes a mutation, with the reason why it waits.
    pub(crate) fn state(&self, mutation: &Mutation, now: Instant) -> String {
        let is_slow = now.saturating_duration_since(self.since) > SLOW;
        let delay = mutation.delay().filter(|_| is_slow).map(|delay| format!(": {delay}"));
        format!("{} parts left to {}{}", mutation.parts, mutation.id, delay.unwrap_or_default())
    }

    /// # Errors
    /// Fails if the mutation has made no progress for too long.
    pub(crate) fn check(&mut self, mutation: &Mutation, now: Instant) -> anyhow::Result<()> {
        let fails = !mutation.failure.is_empty();
        // Each attempt of a failing mutation reads rows, and makes no progress.
        let rows_read = if fails { 0 } else { mutation.rows_read };
        let state = (mutation.id.clone(), mutation.parts, rows_read);
        if self.last.as_ref() != Some(&state) {
            (self.last, self.since) = (Some(state), now);
        }
        match (fails, now.saturating_duration_since(self.since)) {
            (true, waited) if waited > FAILURE_TIMEOUT => {
                bail!("mutation {} ({}) fails: {}", mutation.id, mutation.command, mutation.failure)
            }
            (false, waited) if waited > STALL_TIMEOUT => bail!(
                "mutation {} ({}) made no progress for {} minutes{}",
                mutation.id,
                mutation.command,
                STALL_TIMEOUT.as_secs() / 60,
                mutation.delay().map(|delay| format!(": {delay}")).unwrap_or_default()
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutation(parts: u64, rows_read: u64, failure: &str) -> Mutation {
        Mutation {
            id: "m".to_owned(),
            command: "c".to_owned(),
            table_name: "db.sharded_events".to_owned(),
            parts,
            running: 0,
            postponed: String::new(),
            failure: failure.to_owned(),
            rows_read,
        }
    }

    #[test]
    fn a_mutation_may_take_long_and_may_not_stall_or_fail() {
        let (mut watch, begin) = (StallWatch::new(), Instant::now());
        let mut after = |minutes: u64, mutation: &Mutation| {
            let now = begin + Duration::from_secs(60 * minutes);
            watch.check(mutation, now).map_err(|error| error.to_string())
        };
        assert_eq!(after(0, &mutation(2, 1, "")), Ok(()));
        assert_eq!(after(60, &mutation(2, 2, "")), Ok(()));
        assert_eq!(StallWatch::new().state(&mutation(2, 2, ""), Instant::now()), "2 parts left to m");
        let stalled = after(71, &mutation(2, 2, ""));
        let words = ["no progress for 10 minutes", "SYSTEM START MERGES db.sharded_events"];
        assert!(stalled.is_err_and(|error| words.iter().all(|words| error.contains(words))));
        assert_eq!(after(72, &mutation(2, 3, "disk is full")), Ok(()));
        let failing = after(74, &mutation(2, 4, "disk is full"));
        assert!(failing.is_err_and(|error| error.contains("disk is full")));
    }
}
