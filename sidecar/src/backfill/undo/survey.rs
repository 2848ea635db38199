//! Stored rows of the job, by shard and partition, with the risk of their deletion.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::collapse::{CollapseCounts, CollapseRisk};
use super::{Undo, UndoParams};
use crate::backfill::ledger::LedgerError;
use crate::node::Node;

/// Events that are shown of those that a row of the job may stand for.
const MAX_CANDIDATES: u64 = 5;

/// Rows of the job on one shard, the most of those nodes that were asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShardSurvey {
    pub(crate) shard: u32,
    /// The oldest first.
    pub(crate) partitions: Vec<PartitionSurvey>,
}

/// Rows of the job in one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionSurvey {
    pub(crate) partition: String,
    pub(crate) rows: u64,
    /// Rows in parts that a merge has made.
    pub(crate) merged: u64,
    /// Rows of others.
    pub(crate) others: u64,
    pub(crate) risk: CollapseRisk,
    /// Some events of rows that may stand for an event of others.
    pub(crate) candidates: Vec<String>,
    /// Rows of each slice.
    #[serde(skip)]
    pub(super) slices: BTreeMap<u64, u64>,
    /// Merged rows with a `_timestamp`.
    #[serde(skip)]
    pub(super) dated: u64,
}

/// Partitions of each shard that are judged already.
pub(super) type JudgedPartitions = BTreeMap<u32, BTreeSet<String>>;

#[derive(Deserialize)]
struct SliceRows {
    partition: String,
    slice: u64,
    rows: u64,
    merged: u64,
    dated: u64,
}

#[derive(Deserialize)]
struct OwnBlock {
    partition: String,
    slice: u64,
    rows: u64,
}

#[derive(Deserialize)]
struct PartitionRows {
    partition: String,
    rows: u64,
}

#[derive(Deserialize)]
struct MissingRows {
    partition: String,
    job: String,
    rows: u64,
}

#[derive(Deserialize)]
struct Candidate {
    event: String,
}

impl ShardSurvey {
    pub(crate) fn rows(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.rows).sum()
    }

    /// Events of others that may be lost.
    pub(crate) fn at_risk(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.risk.events).sum()
    }
}

impl PartitionSurvey {
    /// Joins the counts of two replicas, of which one may lack rows.
    fn join(&mut self, other: Self) {
        self.rows = self.rows.max(other.rows);
        self.merged = self.merged.max(other.merged);
        self.dated = self.dated.max(other.dated);
        for (slice, rows) in other.slices {
            let known = self.slices.entry(slice).or_default();
            *known = rows.max(*known);
        }
    }
}

impl Undo<'_> {
    /// The job's rows by shard, on every node, with `more` slices than the ledger has.
    pub(super) async fn survey(&self, more: &[u64]) -> Result<Vec<ShardSurvey>, LedgerError> {
        let mut surveys = Vec::new();
        for (shard, nodes) in self.shards() {
            let mut joined: BTreeMap<String, PartitionSurvey> = BTreeMap::new();
            for node in &nodes {
                for (name, found) in self.survey_node(node, more).await? {
                    match joined.get_mut(&name) {
                        Some(partition) => partition.join(found),
                        None => _ = joined.insert(name, found),
                    }
                }
            }
            surveys.push(ShardSurvey { shard, partitions: joined.into_values().collect() });
        }
        Ok(surveys)
    }

    /// Adds the rows of others and the risk to all partitions that are not `judged` yet.
    pub(super) async fn add_risks(
        &self,
        surveys: &mut [ShardSurvey],
        judged: &JudgedPartitions,
        more: &[u64],
    ) -> anyhow::Result<()> {
        for (shard, nodes) in self.shards() {
            let is_open = |partition: &&mut PartitionSurvey| {
                !judged.get(&shard).is_some_and(|judged| judged.contains(&partition.partition))
            };
            let of_shard = surveys.iter_mut().filter(|survey| survey.shard == shard);
            let partitions = of_shard.flat_map(|survey| &mut survey.partitions).filter(is_open);
            self.look_for_risks(&nodes, partitions.collect(), more).await?;
        }
        Ok(())
    }

    async fn survey_node(
        &self,
        node: &Node,
        more: &[u64],
    ) -> Result<BTreeMap<String, PartitionSurvey>, LedgerError> {
        let params = UndoParams { more, ..UndoParams::default() };
        let rows: Vec<SliceRows> = self.rows(node, "backfill/undo_rows.sql", params).await?;
        let mut partitions: BTreeMap<String, PartitionSurvey> = BTreeMap::new();
        for SliceRows { partition, slice, rows, merged, dated } in rows {
            let of_slice = partitions
                .entry(partition.clone())
                .or_insert_with(|| PartitionSurvey { partition, ..PartitionSurvey::default() });
            of_slice.rows += rows;
            of_slice.merged += merged;
            of_slice.dated += dated;
            of_slice.slices.insert(slice, rows);
        }
        Ok(partitions)
    }

    /// Adds the rows of others and the risk to partitions of one shard.
    async fn look_for_risks(
        &self,
        nodes: &[Node],
        partitions: Vec<&mut PartitionSurvey>,
        more: &[u64],
    ) -> anyhow::Result<()> {
        let names: Vec<String> = partitions.iter().map(|partition| partition.partition.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let others = self.other_rows(&nodes[0], &names, more).await?;
        let own = self.own_blocks(&nodes[0]).await?;
        let mut missing = self.others_missing(&nodes[0], &names).await?;
        let removed = self.merged_rows(nodes, &names, self.files.begun_at()).await?;
        for survey in partitions {
            let name = &survey.partition;
            // A block without any row may be of a part that was lost, which no merge has removed.
            let missing_rows = |(slice, rows): (&u64, &u64)| {
                let stored = own.get(&(name.clone(), *slice)).copied().unwrap_or_default();
                stored.saturating_sub(*rows)
            };
            let own_missing = survey.slices.iter().map(missing_rows).sum();
            survey.others = others.get(name).copied().unwrap_or_default();
            survey.risk = CollapseRisk::of(CollapseCounts {
                merged: survey.merged,
                dated: survey.dated,
                own_missing,
                others_missing: missing.remove(name).unwrap_or_default(),
                removed: removed.as_ref().map(|rows| rows.get(name).copied().unwrap_or_default()),
            });
            if survey.risk.events > 0 {
                let undated = !survey.risk.of_jobs.is_empty();
                survey.candidates = self.candidates(&nodes[0], name, undated, more).await?;
            }
        }
        Ok(())
    }

    /// Rows of partitions that are not of the job.
    pub(super) async fn other_rows(
        &self,
        node: &Node,
        partitions: &[String],
        more: &[u64],
    ) -> Result<BTreeMap<String, u64>, LedgerError> {
        let params = UndoParams { more, partitions, ..UndoParams::default() };
        let rows: Vec<PartitionRows> = self.rows(node, "backfill/undo_other_rows.sql", params).await?;
        Ok(rows.into_iter().map(|row| (row.partition, row.rows)).collect())
    }

    /// Acknowledged rows of the job, by partition and slice.
    async fn own_blocks(&self, node: &Node) -> Result<BTreeMap<(String, u64), u64>, LedgerError> {
        let params = UndoParams::default();
        let blocks: Vec<OwnBlock> = self.rows(node, "backfill/undo_own_blocks.sql", params).await?;
        Ok(blocks.into_iter().map(|block| ((block.partition, block.slice), block.rows)).collect())
    }

    /// Acknowledged rows of other jobs that are not stored, by partition and job.
    async fn others_missing(
        &self,
        node: &Node,
        partitions: &[String],
    ) -> Result<BTreeMap<String, BTreeMap<String, u64>>, LedgerError> {
        let params = UndoParams { partitions, ..UndoParams::default() };
        let rows: Vec<MissingRows> = self.rows(node, "backfill/undo_other_blocks.sql", params).await?;
        let mut missing: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for MissingRows { partition, job, rows } in rows {
            missing.entry(partition).or_default().insert(job, rows);
        }
        Ok(missing)
    }

    async fn candidates(
        &self,
        node: &Node,
        partition: &str,
        undated: bool,
        more: &[u64],
    ) -> Result<Vec<String>, LedgerError> {
        let partitions = &[partition.to_owned()];
        let params = UndoParams { more, partitions, undated, limit: MAX_CANDIDATES };
        let rows: Vec<Candidate> = self.rows(node, "backfill/undo_candidates.sql", params).await?;
        Ok(rows.into_iter().map(|row| row.event).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_joined() {
        let survey = |rows, slices: &[u64]| PartitionSurvey {
            rows,
            slices: slices.iter().map(|slice| (*slice, rows)).collect(),
            ..PartitionSurvey::default()
        };
        let mut joined = survey(10, &[1, 3]);
        joined.join(survey(12, &[1, 2, 3]));
        assert_eq!(joined, survey(12, &[1, 2, 3]));
    }
}
