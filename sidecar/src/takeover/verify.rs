//! Proof that our consumer has read everything once after a takeover.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Takeover, TakeoverError, positions};
use crate::config::Config;
use crate::kafka::Place;
use crate::node::Node;
use crate::sql;
use crate::topics::groups;

/// For everything that waits at the takeover to be read.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
const READ_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Messages of the last hour are looked at: more than two consumers can have had in flight.
const LOOK_BACK: u64 = 3600;

/// The result of a takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Partitions of which our consumer has read everything that was there at the takeover.
    pub partitions: usize,
    /// Rows of the last hour that are stored twice and were not before.
    pub twice: u64,
}

#[derive(Deserialize)]
struct Twice {
    twice: u64,
}

/// Rows of messages since an hour before `since` (seconds since 1970) that are stored more than once.
pub(super) async fn twice(config: &Config, nodes: &[Node], since: u64) -> Result<u64, TakeoverError> {
    let Some(node) = nodes.first() else { return Ok(0) };
    let text = sql::render("inspect/stored_twice.sql", minijinja::context! { database => &config.database })?;
    let since = u32::try_from(since.saturating_sub(LOOK_BACK)).unwrap_or(u32::MAX);
    let rows: Vec<Twice> = node.query(&text).param("since", since).rows().await?;
    Ok(rows.into_iter().map(|row| row.twice).sum())
}

/// Waits until our consumer has read all that is in the topic now; `before` is what was stored twice before.
pub(super) async fn verify(
    takeover: &Takeover<'_>,
    consumer: &str,
    since: u64,
    before: u64,
) -> Result<Verified, TakeoverError> {
    let Takeover { config, client, nodes, .. } = takeover;
    let (topic, group) = (&config.events.topic, &config.events.group);
    let cluster = client.cluster().await?;
    let count = cluster.topics.get(topic).map_or(0, |layout| layout.partitions.len());
    let partitions = (0..).take(count);
    let places: BTreeSet<Place> =
        partitions.map(|partition| Place { topic: topic.clone(), partition }).collect();
    let ends: BTreeMap<Place, i64> = client
        .bounds(places)
        .await?
        .into_iter()
        .filter(|(_, bounds)| bounds.end > bounds.first)
        .map(|(place, bounds)| (place, bounds.end))
        .collect();
    let deadline = Instant::now() + READ_TIMEOUT;
    loop {
        let read = positions(&groups::observe(client, nodes, Some(group)).await?, group);
        let behind =
            |(place, end): (&Place, &i64)| (end - read.get(place).copied().unwrap_or_default()).max(0);
        let waiting: i64 = ends.iter().map(behind).sum();
        if waiting == 0 {
            break;
        }
        if Instant::now() >= deadline {
            let (consumer, seconds) = (consumer.to_owned(), READ_TIMEOUT.as_secs());
            return Err(TakeoverError::Unread { consumer, waiting, seconds });
        }
        sleep(READ_POLL_INTERVAL).await;
    }
    let twice = twice(config, nodes, since).await?.saturating_sub(before);
    Ok(Verified { partitions: ends.len(), twice })
}
