//! Detection of consumers that would read their topic from the beginning.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::partitions::places;
use crate::cluster::Cluster;
use crate::config::{Config, Consumer, OffsetStorage};
use crate::kafka::TopicPartition;
use crate::node::{Node, NodeError};
use crate::schema::Replays;
use crate::sql;

/// Consumer of events. A replayed event is stored twice.
const CONSUMER: &str = "kafka_events";
/// Table of the stored events.
const STORAGE: &str = "sharded_events";

#[derive(Deserialize)]
struct StoredRows {
    rows: u64,
}

/// Returns a reason if a new `kafka_events` would read messages whose rows may be stored. Persons
/// can be replayed safely, because a row of the same version changes no data.
///
/// # Errors
/// [`NodeError`] if the stored rows can't be counted. If brokers or Keeper can't be asked, that is
/// a reason too.
pub(crate) async fn replays(cluster: &Cluster) -> Result<Replays, NodeError> {
    let Cluster { config, nodes, .. } = cluster;
    let stored = stored(config, nodes).await?;
    if config.events.consumer == Consumer::None || stored == 0 {
        return Ok(Replays::new());
    }
    let group = &config.events.group;
    let reason = match from_beginning(cluster).await {
        Ok(None) => return Ok(Replays::new()),
        Ok(Some(messages)) => format!(
            "group {group} has no offsets, so {messages} messages would be read from the beginning, and {stored} rows \
             are stored"
        ),
        Err(error) => {
            format!("{stored} rows are stored, and the offsets of group {group} can't be read: {error}")
        }
    };
    Ok(Replays::from([(CONSUMER, reason)]))
}

async fn stored(config: &Config, nodes: &[Node]) -> Result<u64, NodeError> {
    let mut stored = 0;
    for node in nodes {
        let query = node.query(sql::text("inspect/stored_rows.sql").unwrap_or_default());
        let query = query.param("database", &config.database).param("table", STORAGE);
        stored += query.rows::<StoredRows>().await?.into_iter().map(|table| table.rows).sum::<u64>();
    }
    Ok(stored)
}

/// Number of messages that a consumer without offsets would read; `None` if there are offsets or no
/// messages.
async fn from_beginning(cluster: &Cluster) -> anyhow::Result<Option<i64>> {
    let (client, config) = (cluster.kafka()?, &cluster.config);
    let topic = &config.events.topic;
    if let (OffsetStorage::Keeper, Some(node)) = (config.events.offsets, cluster.ingesting_nodes().next()) {
        let path = format!("{}/topics/{topic}", config.events.keeper_path.trim_end_matches('/'));
        if super::keeper::children(node, &format!("{path}/partitions"))
            .await?
            .is_some_and(|kept| !kept.is_empty())
        {
            return Ok(None);
        }
    }
    let cluster = client.cluster().await?;
    let places: BTreeSet<TopicPartition> = places(&cluster, topic).collect();
    if places.is_empty() {
        return Ok(None);
    }
    let committed = client.committed(&config.events.group, places.clone()).await?;
    let bounds = client.bounds(places).await?;
    let messages: i64 = bounds.values().map(|bounds| bounds.end - bounds.first).sum();
    let known = committed.values().any(Option::is_some);
    Ok((!known && messages > 0).then_some(messages))
}
