//! Check for unread events that may carry former persons.

use anyhow::bail;
use jiff::Timestamp;

use crate::cluster::Cluster;
use crate::topics::groups::{date, lags, observe};

/// Refuses a squash while a reader of the topic has events from before the cutoff to read. Their
/// overrides would be gone before they are stored.
pub(super) async fn refuse_older_than(cluster: &Cluster, cutoff: Timestamp) -> anyhow::Result<()> {
    let topic = &cluster.config.events.topic;
    let seen = observe(cluster, None).await?;
    let mut lags = lags(&seen, None);
    lags.retain(|lag| lag.topic == *topic && !lag.tables.is_empty());
    date(cluster.kafka()?, &mut lags).await?;
    for lag in lags {
        let oldest = lag.oldest_unread.and_then(|time| Timestamp::from_millisecond(time).ok());
        if let Some(oldest) = oldest.filter(|oldest| *oldest < cutoff) {
            bail!(
                "group {} has not read events of {topic} since {oldest}, and they may have former persons: wait until it \
                 has read them, or give a larger --older-than",
                lag.group
            );
        }
    }
    Ok(())
}
