//! A node whose index is kept, with what its keeper needs.

use std::io;
use std::time::Duration;

use anyhow::Context;
use posthouse_udf::snapshot::SnapshotError;

use super::source::DistinctIdSource;
use crate::cluster::Cluster;
use crate::kafka::{MessageReader, MessagesGone};
use crate::metrics::PersonIndexMetrics;
use crate::node::Node;
use crate::supervise::Heartbeat;

/// Waits after a fault.
pub(super) const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// Limit of a question to a node or a broker.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// The node's index no longer belongs to its table or topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Outdated {
    #[error("the table of distinct ids was recreated")]
    Table,
    #[error("the topic of distinct ids has fewer partitions than before")]
    Partitions,
}

/// A node whose index is kept.
pub(super) struct IndexedNode<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) node: &'a Node,
    pub(super) metrics: &'a PersonIndexMetrics,
    pub(super) heartbeat: &'a Heartbeat,
}

impl IndexedNode<'_> {
    /// Whether the index has to be built before it can be kept.
    pub(super) fn needs_build(error: &anyhow::Error) -> bool {
        error.is::<Outdated>() || error.is::<MessagesGone>() || error.is::<SnapshotError>()
    }

    /// Reports a fault before a wait.
    pub(super) fn report(&self, error: &anyhow::Error, wait: Duration) {
        let error = format!("{error:#}");
        tracing::warn!(error = %error, retry_in = ?wait, "the person index is not kept");
        self.metrics.errors.inc();
        self.heartbeat.beat("waiting to keep the person index", wait + STEP_TIMEOUT);
        self.heartbeat.impaired(Some(format!("the person index of {} is not kept: {error}", self.node.name)));
    }

    /// Reports that files can't be merged, and returns the text for the state of health.
    pub(super) fn report_merge(&self, error: &io::Error, wait: Duration) -> String {
        tracing::warn!(error = %error, retry_in = ?wait, "files of the person index can't be merged");
        self.metrics.errors.inc();
        format!(
            "files of the person index of {} can't be merged: {error}. Lookups become slower: make room for two of them",
            self.node.name
        )
    }

    pub(super) async fn reader(&self, from: Vec<i64>) -> anyhow::Result<MessageReader> {
        Ok(MessageReader::new(self.cluster.kafka()?, self.topic()?, from).await?)
    }

    pub(super) fn topic(&self) -> anyhow::Result<&str> {
        let persons = self.cluster.config.persons.as_ref().context("the config has no [persons]")?;
        Ok(&persons.distinct_id_topic)
    }

    /// Fails if the table is another one, or the topic has fewer partitions. Returns their number.
    pub(super) async fn check_source(&self, source: u64, partitions: usize) -> anyhow::Result<usize> {
        let table = DistinctIdSource::of(self.cluster, self.node).await?;
        if table.number(&self.cluster.config) != source {
            return Err(Outdated::Table.into());
        }
        let topic = self.topic()?;
        let found = self.cluster.kafka()?.cluster().await?.topic(topic)?.partitions.len();
        if found < partitions {
            return Err(Outdated::Partitions.into());
        }
        Ok(found)
    }
}
