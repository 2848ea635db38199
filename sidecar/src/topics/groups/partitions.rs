//! Topic partitions of a topic.

use crate::kafka::{KafkaCluster, TopicPartition};

/// Partitions of a topic; empty if it does not exist.
pub(in super::super) fn places(cluster: &KafkaCluster, topic: &str) -> impl Iterator<Item = TopicPartition> {
    let count = cluster.topics.get(topic).map(|layout| layout.partitions.len()).unwrap_or_default();
    let topic = topic.to_owned();
    (0..).take(count).map(move |partition| TopicPartition { topic: topic.clone(), partition })
}
