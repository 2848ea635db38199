//! Undo of a load: its rows are taken out again by their row ids.
//!
//! The files are marked in the ledger, so that no load sends a block of them any more. When none
//! can be in flight, the undo judges whether merges have put events of others into rows of the
//! job, deletes the rows partition by partition, counts on every node, and records the files as
//! undone. After a kill at any point, another undo continues.

mod collapse;
mod delete;
mod files;
mod judge;
mod merges;
mod quiet;
mod survey;
mod unrecorded;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use futures_util::future::try_join_all;
use minijinja::{Value, context};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::files::FilesChoice;
use self::files::UndoFiles;
use self::judge::Judged;
pub(crate) use self::judge::at_risk_text;
pub(crate) use self::quiet::longest_send;
pub(crate) use self::survey::{PartitionSurvey, ShardSurvey};
use super::insert::{Route, settle};
use super::ledger::{LedgerError, Record, State, note, record};
use super::place::{ROW_BITS, UnitId};
use crate::cluster::Cluster;
use crate::node::{Node, reach_all};
use crate::sql;

/// Passes over the partitions. A second one takes rows that were stored meanwhile.
const PASSES: usize = 3;

/// A requested undo.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UndoRequest<'a> {
    pub(crate) job: &'a str,
    /// Choice among the files; `None` takes all, and refuses files of other jobs.
    pub(crate) files: Option<FilesChoice>,
    /// Events of others that may be lost.
    pub(crate) accept_collapsed: u64,
    /// Time for which a load may send blocks without asking the ledger.
    pub(crate) answer_holds: Duration,
}

/// The effects of an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UndoPlan {
    pub(crate) job: String,
    pub(crate) files: usize,
    /// Files that stay, because other jobs have loaded them too.
    pub(crate) kept_files: usize,
    /// Whether an earlier undo has begun.
    pub(crate) is_begun: bool,
    pub(crate) rows: u64,
    /// Slices that a killed run has stored without a record.
    pub(crate) unrecorded_slices: usize,
    /// Events of others that may be lost, at most.
    pub(crate) at_risk: u64,
    /// The reason why a load seems to run; empty if none does.
    pub(crate) running: String,
    pub(crate) shards: Vec<ShardSurvey>,
}

/// A step that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UndoStep {
    /// Loads of the files are stopped from now on.
    Marked { files: usize },
    /// The undo waits for loads, a node or a mutation.
    Waiting { reason: String },
    /// The rows of a partition are being deleted.
    Deleting { node: String, partition: String, rows: u64 },
    /// All rows are deleted, and the nodes are being counted.
    Counting,
}

/// The result of an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UndoReport {
    pub(crate) job: String,
    pub(crate) files: usize,
    pub(crate) kept_files: usize,
    /// Rows of the job before the first was deleted. No node has any of them.
    pub(crate) rows: u64,
    /// Partitions of all shards that had rows.
    pub(crate) partitions: usize,
    /// Rows of others in these partitions now.
    pub(crate) other_rows: u64,
    /// Partitions with fewer rows of others than before.
    pub(crate) fewer: Vec<FewerRows>,
}

/// A partition that has fewer rows of others than before an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FewerRows {
    pub(crate) shard: u32,
    pub(crate) partition: String,
    pub(crate) before: u64,
    pub(crate) after: u64,
}

/// Receiver of the steps.
pub(crate) type OnUndoStep<'a> = &'a (dyn Fn(UndoStep) + Sync);

/// Rows of the files of a job that are undone, by shard. There should be none.
pub(crate) async fn rows_left(
    cluster: &Cluster,
    route: &Route,
    job: &str,
) -> anyhow::Result<Vec<ShardSurvey>> {
    reach_all(&cluster.nodes).await?;
    let undo = Undo { cluster, route, job, files: UndoFiles::undone() };
    undo.settle("sharded_events").await?;
    let units = undo.open_units().await?;
    let unrecorded = undo.unrecorded(&units).await?;
    Ok(undo.survey(&unrecorded.slices()).await?)
}

/// Makes the plan of an undo. Only reads.
///
/// # Errors
/// Fails if files of the job can't be undone alone, or a node is unreachable.
pub(crate) async fn plan(
    cluster: &Cluster,
    route: &Route,
    request: &UndoRequest<'_>,
) -> anyhow::Result<UndoPlan> {
    Undo::new(cluster, route, request).await?.plan(request).await
}

/// Takes the rows of a job out on all shards.
///
/// # Errors
/// Fails before any change if a load of the files runs, or if more events of others may be lost
/// than the request accepts. After a later error, another undo continues.
pub(crate) async fn execute(
    cluster: &Cluster,
    route: &Route,
    request: &UndoRequest<'_>,
    on_step: OnUndoStep<'_>,
) -> anyhow::Result<UndoReport> {
    let mut undo = Undo::new(cluster, route, request).await?;
    if undo.files.is_undone() {
        return undo.take_out(request, on_step).await;
    }
    if !undo.files.is_begun() {
        let plan = undo.plan(request).await?;
        if !plan.running.is_empty() {
            bail!("{}", plan.running);
        }
        if plan.at_risk > request.accept_collapsed {
            bail!("{}", at_risk_text(request.job, &plan.shards));
        }
    }
    undo.mark(on_step).await?;
    let is_open = !undo.open_units().await?.is_empty() || undo.is_incomplete().await?;
    undo.wait_until_quiet(is_open, request.answer_holds, on_step).await?;
    undo.take_out(request, on_step).await
}

/// An undo with its cluster.
struct Undo<'a> {
    cluster: &'a Cluster,
    route: &'a Route,
    job: &'a str,
    files: UndoFiles,
}

impl<'a> Undo<'a> {
    async fn new(cluster: &'a Cluster, route: &'a Route, request: &UndoRequest<'a>) -> anyhow::Result<Self> {
        reach_all(&cluster.nodes).await?;
        let job = request.job;
        let files = UndoFiles::choose(route.any(), &cluster.config.database, request).await?;
        Ok(Self { cluster, route, job, files })
    }

    async fn plan(&self, request: &UndoRequest<'_>) -> anyhow::Result<UndoPlan> {
        self.settle("sharded_events").await?;
        let units = self.open_units().await?;
        let running = match self.files.is_begun() || self.files.is_undone() {
            true => None,
            false => self.running_load(!units.is_empty(), request.answer_holds).await?,
        };
        let unrecorded = self.unrecorded(&units).await?;
        let more = unrecorded.slices();
        let mut shards = self.survey(&more).await?;
        self.add_risks(&mut shards, &self.judged().await?.partitions(), &more).await?;
        Ok(UndoPlan {
            job: self.job.to_owned(),
            files: self.files.count(),
            kept_files: self.files.kept(),
            is_begun: self.files.is_begun(),
            rows: shards.iter().map(ShardSurvey::rows).sum(),
            unrecorded_slices: more.len(),
            at_risk: shards.iter().map(ShardSurvey::at_risk).sum(),
            running: running.unwrap_or_default(),
            shards,
        })
    }

    /// Marks the files on every shard, and stops loads that have them.
    async fn mark(&mut self, on_step: OnUndoStep<'_>) -> anyhow::Result<()> {
        let database = &self.cluster.config.database;
        for (shard, nodes) in self.shards() {
            let marked: u64 = match self.files.is_begun() {
                true => self.count(&nodes[0], "backfill/undo_marked.sql").await?,
                false => 0,
            };
            if marked < self.files.count() as u64 {
                let of_file = |file: &String| Record::of_file(self.job, file, shard, 0, State::Undoing);
                let records: Vec<Record> = self.files.ids().iter().map(of_file).collect();
                record(&nodes, database, "sharded_backfill_ledger", &records).await?;
            }
        }
        if !self.files.is_begun() {
            for job in self.files.jobs(self.job) {
                note(self.route, database, job, State::Cancelled).await?;
            }
        }
        self.files.begin();
        self.settle("sharded_backfill_ledger").await?;
        on_step(UndoStep::Marked { files: self.files.count() });
        Ok(())
    }

    /// Takes the rows out, and records it.
    async fn take_out(
        &self,
        request: &UndoRequest<'_>,
        on_step: OnUndoStep<'_>,
    ) -> anyhow::Result<UndoReport> {
        self.settle("sharded_events").await?;
        self.settle("sharded_backfill_ledger").await?;
        let unrecorded = self.unrecorded(&self.open_units().await?).await?;
        self.record_unrecorded(&unrecorded).await?;
        self.delete_all(request, on_step).await?;
        let judged = self.judged().await?;
        let report = self.report(&judged).await?;
        self.record_undone(&judged, &report).await?;
        Ok(report)
    }

    /// Deletes the rows until no node has any.
    async fn delete_all(&self, request: &UndoRequest<'_>, on_step: OnUndoStep<'_>) -> anyhow::Result<()> {
        let shards = self.shards();
        // A mutation of an undo that was killed would change the counts.
        for (_, nodes) in &shards {
            self.wait_for_mutations(nodes, on_step).await?;
        }
        let mut surveys = self.survey(&[]).await?;
        for _ in 0..PASSES {
            if surveys.iter().all(|survey| survey.partitions.is_empty()) {
                return Ok(());
            }
            self.judge(request, &mut surveys).await?;
            let deletions = shards.iter().zip(&surveys);
            let deletions =
                deletions.map(|((_, nodes), survey)| self.delete(nodes, &survey.partitions, on_step));
            try_join_all(deletions).await?;
            on_step(UndoStep::Counting);
            self.settle("sharded_events").await?;
            surveys = self.survey(&[]).await?;
        }
        let left: u64 = surveys.iter().map(ShardSurvey::rows).sum();
        if left > 0 {
            bail!(
                "{left} rows of job {} are still stored after {PASSES} passes: were mutations killed, or rows copied? \
                 posthouse backfill undo {} --execute continues",
                self.job,
                self.job
            );
        }
        Ok(())
    }

    /// Compares the rows of others with those from before the first deletion.
    async fn report(&self, judged: &Judged) -> anyhow::Result<UndoReport> {
        let (mut other_rows, mut fewer) = (0, Vec::new());
        for (shard, nodes) in self.shards() {
            let before = judged.of_shard(shard);
            let partitions: Vec<String> = before.keys().cloned().collect();
            let after = self.other_rows(&nodes[0], &partitions, &[]).await?;
            for (partition, counts) in before {
                let after = after.get(&partition).copied().unwrap_or_default();
                other_rows += after;
                if after < counts.others {
                    fewer.push(FewerRows { shard, partition, before: counts.others, after });
                }
            }
        }
        let (rows, partitions) = judged.totals();
        let (files, kept_files) = (self.files.count(), self.files.kept());
        Ok(UndoReport { job: self.job.to_owned(), files, kept_files, rows, partitions, other_rows, fewer })
    }

    /// Records the counts of each partition, and then the files as undone, all at once.
    async fn record_undone(&self, judged: &Judged, report: &UndoReport) -> anyhow::Result<()> {
        let (database, table) = (&self.cluster.config.database, "sharded_backfill_ledger");
        let shards = self.shards();
        for (shard, nodes) in &shards {
            let done = judged.of_shard(*shard).into_iter().map(|(partition, counts)| Record {
                rows: counts.rows,
                checksum: counts.others,
                ..self.of_partition(*shard, &partition, State::Undone)
            });
            record(nodes, database, table, &done.collect::<Vec<_>>()).await?;
        }
        tracing::info!(job = report.job, rows = report.rows, "job is undone");
        let Some((shard, nodes)) = shards.first() else { return Ok(()) };
        let of_file = |file: &String| Record::of_file(self.job, file, *shard, 0, State::Undone);
        let records: Vec<Record> = self.files.ids().iter().map(of_file).collect();
        record(nodes, database, table, &records).await?;
        self.settle(table).await
    }

    /// Record of this undo for a partition of a shard.
    fn of_partition(&self, shard: u32, partition: &str, state: State) -> Record {
        let month = partition.parse().unwrap_or_default();
        Record { unit: self.id().to_string(), month, ..Record::of_job(self.job, shard, 0, state) }
    }

    /// Id of this undo, from its files. The same files of a later load have other ids.
    fn id(&self) -> UnitId {
        let files = self.files.ids().iter().map(String::as_str);
        UnitId::of(&["undo"].into_iter().chain(files).collect::<Vec<_>>())
    }

    /// The shards with their nodes, which are at least one each.
    fn shards(&self) -> Vec<(u32, Vec<Node>)> {
        let mut shards: BTreeMap<u32, Vec<Node>> = BTreeMap::new();
        for node in &self.cluster.nodes {
            shards.entry(u32::try_from(node.shard).unwrap_or_default()).or_default().push(node.clone());
        }
        shards.into_iter().collect()
    }

    /// Makes every replica fetch the rows that others have acknowledged.
    async fn settle(&self, table: &str) -> anyhow::Result<()> {
        let config = &self.cluster.config;
        if config.replicated {
            settle(&config.database, &self.cluster.nodes, table).await?;
        }
        Ok(())
    }

    fn values(&self) -> Value {
        let (database, set) = (&self.cluster.config.database, self.files.set().name());
        context! { database, set, row_bits => ROW_BITS }
    }

    /// Rows of a query about the files of this undo, and about `more` slices.
    async fn rows<T: DeserializeOwned>(
        &self,
        node: &Node,
        file: &str,
        params: UndoParams<'_>,
    ) -> Result<Vec<T>, LedgerError> {
        let sql = sql::render(file, context! { limit => params.limit, ..self.values() })?;
        let query = node.query(&sql).param("job", self.job).param("more", params.more);
        let query = query.param("partitions", params.partitions).param("undo", self.id().to_string());
        let partition = params.partitions.first().map_or("", String::as_str);
        Ok(query.param("partition", partition).param("undated", params.undated).rows().await?)
    }

    /// Whether a load may be about to begin a unit of the files.
    async fn is_incomplete(&self) -> Result<bool, LedgerError> {
        Ok(self.count(self.route.any(), "backfill/undo_incomplete.sql").await? > 0)
    }

    async fn count(&self, node: &Node, file: &str) -> Result<u64, LedgerError> {
        let rows: Vec<BTreeMap<String, u64>> = self.rows(node, file, UndoParams::default()).await?;
        Ok(rows.iter().flat_map(BTreeMap::values).copied().next().unwrap_or_default())
    }
}

/// Parameters of the queries of an undo.
#[derive(Debug, Clone, Copy, Default)]
struct UndoParams<'a> {
    /// Slices of the files that the ledger does not have.
    more: &'a [u64],
    partitions: &'a [String],
    /// Whether rows without a `_timestamp` count too.
    undated: bool,
    limit: u64,
}
