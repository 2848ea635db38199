//! Check for unread events that may carry former persons.

use anyhow::bail;
use jiff::Timestamp;

use crate::cluster::Cluster;
use crate::kafka::TopicPartition;
use crate::topics::groups::{Lag, date, lags, observe};

/// Refuses a squash while a reader of the topic has events from before `time` to read, or when that
/// is unknown. Their overrides would be gone before they are stored.
pub(super) async fn refuse_older_than(cluster: &Cluster, time: Timestamp) -> anyhow::Result<()> {
    let (client, events) = (cluster.kafka()?, &cluster.config.events);
    let seen = observe(cluster, None).await?;
    let count = seen.cluster.topic(&events.topic)?.partitions.len();
    if !seen.committed.contains_key(&events.group) {
        // Brokers hide a group that this user may not describe, and no table names that of a paused
        // consumer.
        let place = |partition| TopicPartition { topic: events.topic.clone(), partition };
        client.committed(&events.group, (0..).take(count).map(place).collect()).await?;
    }
    let mut lags = lags(&seen, None);
    // The group of a consumer that is paused has no tables.
    lags.retain(|lag| lag.topic == events.topic && (!lag.tables.is_empty() || lag.group == events.group));
    if let Some(denied) = date(client, &mut lags).await? {
        return Err(denied.into());
    }
    lags.iter().try_for_each(|lag| judge(lag, time))
}

fn judge(lag: &Lag, time: Timestamp) -> anyhow::Result<()> {
    let Lag { group, topic, .. } = lag;
    for partition in &lag.partitions {
        let oldest = partition.oldest_unread.and_then(|time| Timestamp::from_millisecond(time).ok());
        match (partition.lag, oldest) {
            (Some(0), _) => {}
            (Some(_), Some(oldest)) if oldest >= time => {}
            (Some(_), Some(oldest)) => bail!(
                "group {group} has not read events of {topic} since {oldest}, and they may have former persons: wait until it \
                 has read them, or give more than twice that age as --older-than"
            ),
            (None, _) | (Some(_), None) => bail!(
                "it is unknown how old the unread events of {topic} are in partition {} for group {group}, and they may have \
                 former persons: squash again when the partition answers (posthouse topics groups)",
                partition.partition
            ),
        }
    }
    Ok(())
}
