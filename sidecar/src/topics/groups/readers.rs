//! Consumer groups that read a topic now.

use serde::Serialize;

use super::{lags, observe};
use crate::cluster::Cluster;
use crate::kafka::KafkaError;

/// A group with members that read a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TopicReader {
    pub(crate) group: String,
    /// Number of members that read the topic.
    pub(crate) members: usize,
    /// Unread messages of the topic.
    pub(crate) lag: i64,
}

/// Groups that read `topic`, of ClickHouse or of any other program, with their lags.
pub(crate) async fn readers(cluster: &Cluster, topic: &str) -> Result<Vec<TopicReader>, KafkaError> {
    let mut readers = Vec::new();
    for group in cluster.kafka()?.groups(None).await? {
        let reads = |assigned: &Vec<(String, Vec<i32>)>| assigned.iter().any(|(read, _)| read == topic);
        let members =
            group.members.iter().filter(|member| member.assigned.as_ref().is_some_and(reads)).count();
        if members == 0 {
            continue;
        }
        let seen = observe(cluster, Some(&group.name)).await?;
        let lag = lags(&seen, Some(&group.name)).into_iter().filter(|lag| lag.topic == topic);
        readers.push(TopicReader { lag: lag.map(|lag| lag.lag).sum(), members, group: group.name });
    }
    Ok(readers)
}
