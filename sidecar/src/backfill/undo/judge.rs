//! Judgement of the partitions before their first row is deleted, kept in the ledger.
//!
//! Afterwards the missing rows of the job no longer show how many merges have removed, so a
//! continued undo uses the judgement of the first.

use std::collections::BTreeMap;

use anyhow::bail;
use serde::Deserialize;

use super::survey::{JudgedPartitions, ShardSurvey};
use super::{Undo, UndoParams, UndoRequest};
use crate::backfill::ledger::{Record, State, record};

/// Row counts of a partition before the first deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowsBefore {
    /// Rows of the job.
    pub(super) rows: u64,
    pub(super) others: u64,
}

/// The judged partitions, by shard and partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Judged(BTreeMap<(u32, String), RowsBefore>);

#[derive(Deserialize)]
struct JudgedRow {
    shard: u32,
    partition: String,
    rows: u64,
    others: u64,
}

impl Judged {
    pub(super) fn of_shard(&self, shard: u32) -> BTreeMap<String, RowsBefore> {
        let of_shard = self.0.iter().filter(|((of, _), _)| *of == shard);
        of_shard.map(|((_, partition), rows)| (partition.clone(), *rows)).collect()
    }

    /// Rows of the job, and the number of partitions.
    pub(super) fn totals(&self) -> (u64, usize) {
        (self.0.values().map(|counts| counts.rows).sum(), self.0.len())
    }

    pub(super) fn partitions(&self) -> JudgedPartitions {
        let mut partitions = JudgedPartitions::new();
        for (shard, partition) in self.0.keys() {
            partitions.entry(*shard).or_default().insert(partition.clone());
        }
        partitions
    }
}

impl Undo<'_> {
    /// Judges the partitions that have rows and no judgement yet, and records them.
    ///
    /// # Errors
    /// Fails if more events of others may be lost than the request accepts. No row of these
    /// partitions is deleted then.
    pub(super) async fn judge(
        &self,
        request: &UndoRequest<'_>,
        surveys: &mut [ShardSurvey],
    ) -> anyhow::Result<()> {
        let mut judged = self.judged().await?;
        self.add_risks(surveys, &judged.partitions(), &[]).await?;
        let at_risk: u64 = surveys.iter().map(ShardSurvey::at_risk).sum();
        if at_risk > request.accept_collapsed {
            bail!("{}", at_risk_text(self.job, surveys));
        }
        for (shard, nodes) in self.shards() {
            let of_shard = surveys.iter().filter(|survey| survey.shard == shard);
            let mut records = Vec::new();
            for found in of_shard.flat_map(|survey| &survey.partitions) {
                let key = (shard, found.partition.clone());
                if judged.0.contains_key(&key) {
                    continue;
                }
                let before = RowsBefore { rows: found.rows, others: found.others };
                records.push(Record {
                    rows: before.rows,
                    checksum: before.others,
                    ..self.of_partition(shard, &found.partition, State::Undoing)
                });
                judged.0.insert(key, before);
            }
            record(&nodes, &self.cluster.config.database, "sharded_backfill_ledger", &records).await?;
        }
        self.settle("sharded_backfill_ledger").await
    }

    pub(super) async fn judged(&self) -> anyhow::Result<Judged> {
        let params = UndoParams::default();
        let rows: Vec<JudgedRow> = self.rows(self.route.any(), "backfill/undo_judged.sql", params).await?;
        let judged = rows.into_iter().map(|JudgedRow { shard, partition, rows, others }| {
            ((shard, partition), RowsBefore { rows, others })
        });
        Ok(Judged(judged.collect()))
    }
}

/// The refusal of an undo that may lose events of others.
pub(crate) fn at_risk_text(job: &str, surveys: &[ShardSurvey]) -> String {
    let at_risk: u64 = surveys.iter().map(ShardSurvey::at_risk).sum();
    let mut lines = vec![format!(
        "up to {at_risk} events of others would be lost: merges keep one row of an event, and rows of job {job} may be the \
         kept ones"
    )];
    for survey in surveys {
        for partition in survey.partitions.iter().filter(|partition| partition.risk.events > 0) {
            let risk = &partition.risk;
            let mut of = Vec::new();
            match (risk.of_kafka, risk.is_counted) {
                (0, _) => {}
                (events, true) => of.push(format!("{events} of Kafka")),
                (events, false) => of.push(format!(
                    "up to {events} of Kafka (the nodes have no part_log of all merges since the load began)"
                )),
            }
            of.extend(risk.of_jobs.iter().map(|(job, rows)| format!("{rows} of job {job}")));
            lines.push(format!(
                "shard {}, partition {}: {}; {} of {} rows were merged, such as:",
                survey.shard,
                partition.partition,
                of.join(", "),
                partition.merged,
                partition.rows
            ));
            lines.extend(partition.candidates.iter().map(|event| format!("  {event}")));
        }
    }
    lines.push(format!("no row was deleted; --accept-collapsed {at_risk} deletes the rows in spite of this"));
    lines.join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::super::PartitionSurvey;
    use super::super::collapse::CollapseRisk;
    use super::*;

    #[test]
    fn a_refusal_names_shards_partitions_and_events() {
        let of_jobs = BTreeMap::from([("k".to_owned(), 2)]);
        let risk = CollapseRisk { events: 9, of_kafka: 7, is_counted: false, of_jobs };
        let partition = PartitionSurvey {
            partition: "202601".to_owned(),
            rows: 20,
            merged: 11,
            risk,
            candidates: vec!["team 7, 2026-01-02, e, d, u".to_owned()],
            ..PartitionSurvey::default()
        };
        let safe = PartitionSurvey { partition: "202602".to_owned(), ..PartitionSurvey::default() };
        let survey = ShardSurvey { shard: 2, partitions: vec![partition, safe] };
        let text = at_risk_text("j", &[survey]);
        let parts = [
            "up to 9 events",
            "shard 2, partition 202601: up to 7 of Kafka",
            "2 of job k",
            "11 of 20 rows",
            "team 7",
            "--accept-collapsed 9",
        ];
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("202602"), "{text}");
    }
}
