//! What the brokers will delete by a plan's steps: messages exactly, bytes by the share of a partition that they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::plan::{Change, Frees, Step};
use super::retention::RETENTION;
use crate::kafka::{Bounds, Client, Cluster, KafkaError, Place};

/// Fills in what steps free.
///
/// # Errors
/// See [`KafkaError`]. A broker that does not tell sizes is no error.
pub(super) async fn fill_in(
    client: &Client,
    cluster: &Cluster,
    steps: &mut [Step],
) -> Result<(), KafkaError> {
    let mut frees: Vec<(&mut Step, Option<i64>)> = steps
        .iter_mut()
        .filter_map(|step| Some((kept(&step.change)?, step)))
        .map(|(kept, step)| (step, kept))
        .collect();
    if frees.is_empty() {
        return Ok(());
    }
    let sizes = client.sizes().await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    for (step, kept) in &mut frees {
        let topic = step.change.topic();
        let partitions = cluster.topics.get(topic).map_or(0, |layout| layout.partitions.len());
        let places: BTreeSet<Place> = (0..partitions)
            .filter_map(|number| {
                Some(Place { topic: topic.to_owned(), partition: i32::try_from(number).ok()? })
            })
            .collect();
        let bounds = client.bounds(places.clone()).await?;
        let from = match kept {
            Some(kept) => client.at(places, oldest(now, *kept)).await?,
            None => BTreeMap::new(),
        };
        step.frees = Some(freed(&bounds, &from, sizes.as_ref()));
    }
    Ok(())
}

/// The time of the oldest message that is kept. Before 1970 there is none, and the brokers' numbers below 0 have meanings of
/// their own.
fn oldest(now: i64, kept: i64) -> i64 {
    now.saturating_sub(kept).max(0)
}

/// Whether a change deletes messages, and for how many milliseconds they are kept by it; no time for a deletion.
fn kept(change: &Change) -> Option<Option<i64>> {
    match change {
        Change::Delete { .. } => Some(None),
        Change::SetConfig { key, from, to, .. } if key == RETENTION => {
            let to = to.parse::<i64>().ok().filter(|to| *to >= 0)?;
            let from = from.value.as_deref().and_then(|from| from.parse::<i64>().ok())?;
            (from < 0 || to < from).then_some(Some(to))
        }
        _ => None,
    }
}

/// What lies before `from` in each partition, or all of it where no message is young enough.
fn freed(
    bounds: &BTreeMap<Place, Bounds>,
    from: &BTreeMap<Place, Option<i64>>,
    sizes: Option<&BTreeMap<Place, u64>>,
) -> Frees {
    let (mut messages, mut bytes) = (0, sizes.map(|_| 0));
    for (place, Bounds { first, end }) in bounds {
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
    use crate::kafka::{Config, Source};

    fn place(partition: i32) -> Place {
        Place { topic: "a".to_owned(), partition }
    }

    #[test]
    fn what_is_older_is_counted_and_its_bytes_are_a_share() {
        let bounds = BTreeMap::from([
            (place(0), Bounds { first: 100, end: 300 }),
            (place(1), Bounds { first: 0, end: 10 }),
            (place(2), Bounds { first: 5, end: 5 }),
        ]);
        let from = BTreeMap::from([(place(0), Some(150)), (place(1), None), (place(2), None)]);
        let sizes = BTreeMap::from([(place(0), 4_000), (place(1), 70)]);
        let frees = freed(&bounds, &from, Some(&sizes));
        assert_eq!(frees, Frees { messages: 60, bytes: Some(1_070) });
        assert_eq!(freed(&bounds, &from, None), Frees { messages: 60, bytes: None });
    }

    #[test]
    fn a_retention_that_reaches_before_1970_is_no_special_time() {
        assert_eq!(oldest(1_700_000_000_000, 1_000), 1_699_999_999_000);
        assert_eq!(oldest(1_700_000_000_000, 1_700_000_000_001), 0);
        assert_eq!(oldest(1_700_000_000_000, i64::MAX), 0);
    }

    #[test]
    fn only_what_deletes_is_asked_for() {
        let set = |from: &str, to: &str| Change::SetConfig {
            name: "a".to_owned(),
            key: RETENTION.to_owned(),
            from: Config { value: Some(from.to_owned()), source: Source::Topic },
            to: to.to_owned(),
        };
        assert_eq!(kept(&set("10", "5")), Some(Some(5)));
        assert_eq!(kept(&set("-1", "5")), Some(Some(5)));
        assert_eq!(kept(&set("5", "10")), None);
        assert_eq!(kept(&set("5", "-1")), None);
        assert_eq!(kept(&Change::Delete { name: "a".to_owned(), partitions: 1 }), Some(None));
    }
}
