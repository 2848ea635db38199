//! Barrier until every node has the changes before a WAL position.
//!
//! These changes must be acknowledged by the slot, delivered, and consumed by the nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::config::Persons;
use crate::kafka::{OffsetBounds, TopicPartition};
use crate::node::Node;
use crate::persons::postgres::lsn::Lsn;
use crate::persons::postgres::session::Session;
use crate::persons::postgres::slot;
use crate::persons::source::PersonSource;

use super::AuditError;

/// Maximum time without progress. Beyond it, a component is not running.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum duration of a leader change.
const LEADER_TIMEOUT: Duration = Duration::from_secs(12);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct Barrier<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) source: PersonSource<'a>,
}

impl Barrier<'_> {
    /// Waits until all nodes have everything that was committed before `place`.
    pub(super) async fn wait_for_replication(&self, session: &Session, place: Lsn) -> anyhow::Result<()> {
        self.acknowledged(session, place).await?;
        self.read().await
    }

    async fn acknowledged(&self, session: &Session, place: Lsn) -> anyhow::Result<()> {
        let name = &self.source.postgres.slot;
        let begun = Instant::now();
        let (mut at, mut moved) = (Lsn::from_u64(0), begun);
        loop {
            let slot = slot::observe(session, self.source.postgres).await?;
            match slot {
                Some(slot) if slot.confirmed >= place => return Ok(()),
                Some(slot) if slot.is_active && slot.confirmed > at => {
                    (at, moved) = (slot.confirmed, Instant::now());
                }
                Some(slot) if slot.is_active && moved.elapsed() < PROGRESS_TIMEOUT => {}
                Some(slot) if slot.is_active => {
                    let (slot, at) = (name.clone(), slot.confirmed);
                    return Err(AuditError::Behind { slot, at, wanted: place }.into());
                }
                _ if begun.elapsed() < LEADER_TIMEOUT => {}
                _ => bail!(
                    "no posthouse holds replication slot {name}, so rows in flight never arrive: start posthouse run, and audit again"
                ),
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until all nodes have consumed the topics up to their current ends.
    pub(super) async fn read(&self) -> anyhow::Result<()> {
        let ends = self.cluster.kafka()?.bounds(self.places().await?).await?;
        for (group, topic) in self.groups() {
            let ends: Vec<_> = ends.iter().filter(|(place, _)| place.topic == *topic).collect();
            let (mut left, mut moved) = (i64::MAX, Instant::now());
            loop {
                let behind = self.behind(&group, &ends).await?;
                if behind == 0 {
                    break;
                }
                if behind < left {
                    (left, moved) = (behind, Instant::now());
                }
                if moved.elapsed() >= PROGRESS_TIMEOUT {
                    return Err(AuditError::Unread { group, messages: behind }.into());
                }
                sleep(POLL_INTERVAL).await;
            }
        }
        if self.cluster.config.replicated {
            for node in &self.cluster.nodes {
                for table in ["person", self.source.persons.distinct_id_table] {
                    self.sync(node, table).await?;
                }
            }
        }
        Ok(())
    }

    async fn behind(&self, group: &str, ends: &[(&TopicPartition, &OffsetBounds)]) -> anyhow::Result<i64> {
        let places = ends.iter().map(|(place, _)| (*place).clone()).collect();
        let committed = self.cluster.kafka()?.committed(group, places).await?;
        let behind = ends.iter().map(|(place, bounds)| {
            let at = committed.get(*place).copied().flatten().unwrap_or(bounds.first);
            (bounds.end - at.max(bounds.first)).max(0)
        });
        Ok(behind.sum())
    }

    async fn places(&self) -> anyhow::Result<BTreeSet<TopicPartition>> {
        let there = self.cluster.kafka()?.cluster().await?;
        let mut places = BTreeSet::new();
        for topic in [&self.source.persons.topic, &self.source.persons.distinct_id_topic] {
            let partitions = there.topic(topic)?.partitions.len();
            places.extend(
                (0..).take(partitions).map(|partition| TopicPartition { topic: topic.clone(), partition }),
            );
        }
        Ok(places)
    }

    /// The consumer groups of the Kafka tables as the schema names them, each with its topic: one
    /// for all replicas, or one for each node.
    fn groups(&self) -> Vec<(String, &str)> {
        let Persons { group, topic, distinct_id_topic, .. } = self.source.persons;
        let of_topic = |group: String, topic| match self.cluster.config.replicated {
            true => vec![(group, topic)],
            false => {
                self.cluster.nodes.iter().map(|node| (format!("{group}_{}", node.name), topic)).collect()
            }
        };
        let mut groups = of_topic(group.clone(), topic.as_str());
        groups.extend(of_topic(format!("{group}_distinct_id"), distinct_id_topic.as_str()));
        groups
    }

    async fn sync(&self, node: &Node, table: &str) -> anyhow::Result<()> {
        let values = minijinja::context! { database => &self.cluster.config.database, table };
        let statement = crate::sql::render("backfill/sync_replica.sql", values)?;
        Ok(node.execute(&statement).await?)
    }
}
