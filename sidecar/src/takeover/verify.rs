//! Proof that our consumer read all messages once after a takeover.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Takeover, positions};
use crate::cluster::Cluster;
use crate::kafka::TopicPartition;
use crate::sql;
use crate::topics::groups;

/// Time to read the messages present at the takeover.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
const READ_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Seconds of messages that are checked: one hour, more than two consumers can have in flight.
const LOOK_BACK: u64 = 3600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// Partitions whose messages at the takeover our consumer has read completely.
    pub(crate) partitions: usize,
    /// Rows of the last hour that are stored twice since the takeover.
    pub(crate) twice: u64,
}

#[derive(Deserialize)]
struct Twice {
    twice: u64,
}

/// Returns the number of rows that are stored more than once, of messages since an hour before
/// `since` (seconds since 1970).
pub(super) async fn twice(cluster: &Cluster, since: u64) -> anyhow::Result<u64> {
    let Cluster { config, nodes, .. } = cluster;
    let Some(node) = nodes.first() else { return Ok(0) };
    let text = sql::render("inspect/stored_twice.sql", minijinja::context! { database => &config.database })?;
    let since = u32::try_from(since.saturating_sub(LOOK_BACK)).unwrap_or(u32::MAX);
    let rows: Vec<Twice> = node.query(&text).param("since", since).rows().await?;
    Ok(rows.into_iter().map(|row| row.twice).sum())
}

/// Waits until our consumer has read all messages now in the topic. `before` is the number of rows
/// stored twice before the takeover.
pub(super) async fn verify(
    takeover: &Takeover<'_>,
    consumer: &str,
    since: u64,
    before: u64,
) -> anyhow::Result<Verified> {
    let cluster = takeover.cluster;
    let (config, client) = (&cluster.config, cluster.kafka()?);
    let (topic, group) = (&config.events.topic, &config.events.group);
    let count = client.cluster().await?.topic(topic)?.partitions.len();
    let partitions = (0..).take(count);
    let places: BTreeSet<TopicPartition> =
        partitions.map(|partition| TopicPartition { topic: topic.clone(), partition }).collect();
    let ends: BTreeMap<TopicPartition, i64> = client
        .bounds(places)
        .await?
        .into_iter()
        .filter(|(_, bounds)| bounds.end > bounds.first)
        .map(|(place, bounds)| (place, bounds.end))
        .collect();
    let deadline = Instant::now() + READ_TIMEOUT;
    loop {
        let read = positions(&groups::observe(cluster, Some(group)).await?, group);
        let behind = |(place, end): (&TopicPartition, &i64)| {
            (end - read.get(place).copied().unwrap_or_default()).max(0)
        };
        let waiting: i64 = ends.iter().map(behind).sum();
        if waiting == 0 {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{waiting} messages are still unread {} s after the takeover: see posthouse topics check; go back with \
             consumer = \"none\" in the config and posthouse schema apply --hand-back {consumer}",
            READ_TIMEOUT.as_secs()
        );
        sleep(READ_POLL_INTERVAL).await;
    }
    let twice = twice(cluster, since).await?.saturating_sub(before);
    Ok(Verified { partitions: ends.len(), twice })
}
