//! Messages and bytes that brokers reclaim by a plan's steps.
//!
//! Messages are exact. Bytes are the deleted share of a partition's size.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kafka::{Client, KafkaCluster, KafkaError, OffsetBounds, TopicPartition};
use crate::topics::plan::{Frees, Step};

/// Fills in the reclaimed data, without retries. Brokers need seconds before they report offsets of
/// a new topic, and a plan does not wait for them.
pub(crate) async fn fill_in(client: &Client, cluster: &KafkaCluster, steps: &mut [Step]) {
    if let Err(error) = ask(&client.without_retries(), cluster, steps).await {
        tracing::debug!(error = %error, "reclaimed messages and bytes are unknown");
    }
}

async fn ask(client: &Client, cluster: &KafkaCluster, steps: &mut [Step]) -> Result<(), KafkaError> {
    // One request per retention time, because a request per topic would be too many for a thousand
    // topics.
    let mut by_time: BTreeMap<Option<i64>, BTreeSet<TopicPartition>> = BTreeMap::new();
    for step in steps.iter() {
        if let Some(kept) = step.change.deletes() {
            by_time.entry(kept).or_default().extend(places(cluster, step.change.topic()));
        }
    }
    if by_time.is_empty() {
        return Ok(());
    }
    let sizes = client.sizes().await?;
    let bounds = client.bounds(by_time.values().flatten().cloned().collect()).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut from = BTreeMap::new();
    for (kept, places) in by_time {
        if let Some(kept) = kept {
            from.extend(client.at(places, oldest(now, kept)).await?);
        }
    }
    for step in steps.iter_mut().filter(|step| step.change.deletes().is_some()) {
        let places = places(cluster, step.change.topic());
        step.frees = Some(freed(&places, &bounds, &from, sizes.as_ref()));
    }
    Ok(())
}

fn places(cluster: &KafkaCluster, topic: &str) -> BTreeSet<TopicPartition> {
    let partitions = cluster.topics.get(topic).map_or(0, |layout| layout.partitions.len());
    let place =
        |number| Some(TopicPartition { topic: topic.to_owned(), partition: i32::try_from(number).ok()? });
    (0..partitions).filter_map(place).collect()
}

/// Timestamp of the oldest message that is kept. Not before 1970, because the brokers' negative
/// times have special meanings.
fn oldest(now: i64, kept: i64) -> i64 {
    now.saturating_sub(kept).max(0)
}

/// Sums the data before `from` in each partition, or all of it if no message is young enough.
fn freed(
    places: &BTreeSet<TopicPartition>,
    bounds: &BTreeMap<TopicPartition, OffsetBounds>,
    from: &BTreeMap<TopicPartition, Option<i64>>,
    sizes: Option<&BTreeMap<TopicPartition, u64>>,
) -> Frees {
    let (mut messages, mut bytes) = (0, sizes.map(|_| 0));
    for (place, OffsetBounds { first, end }) in places.iter().filter_map(|place| bounds.get_key_value(place))
    {
        let kept_from = from.get(place).copied().flatten().unwrap_or(*end);
        let held = (end - first).max(0).unsigned_abs();
        let old = (kept_from.min(*end) - first).max(0).unsigned_abs();
        messages += old;
        if let (Some(bytes), Some(size)) = (&mut bytes, sizes.and_then(|sizes| sizes.get(place))) {
            let share = u128::from(*size) * u128::from(old) / u128::from(held.max(1));
            *bytes += u64::try_from(share).unwrap_or(u64::MAX);
        }
    }
    Frees { messages, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> TopicPartition {
        TopicPartition { topic: "a".to_owned(), partition }
    }

    #[test]
    fn what_is_older_is_counted_and_its_bytes_are_a_share() {
        let bounds = BTreeMap::from([
            (place(0), OffsetBounds { first: 100, end: 300 }),
            (place(1), OffsetBounds { first: 0, end: 10 }),
            (place(2), OffsetBounds { first: 5, end: 5 }),
        ]);
        let from = BTreeMap::from([(place(0), Some(150)), (place(1), None), (place(2), None)]);
        let sizes = BTreeMap::from([(place(0), 4_000), (place(1), 70)]);
        let places = bounds.keys().cloned().collect();
        let frees = freed(&places, &bounds, &from, Some(&sizes));
        assert_eq!(frees, Frees { messages: 60, bytes: Some(1_070) });
        assert_eq!(freed(&places, &bounds, &from, None), Frees { messages: 60, bytes: None });
    }

    #[test]
    fn a_retention_that_reaches_before_1970_is_no_special_time() {
        assert_eq!(oldest(1_700_000_000_000, 1_000), 1_699_999_999_000);
        assert_eq!(oldest(1_700_000_000_000, 1_700_000_000_001), 0);
        assert_eq!(oldest(1_700_000_000_000, i64::MAX), 0);
    }
}
