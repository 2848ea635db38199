//! History of the offsets of partitions with unread messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::groups::Lag;
use super::{position, waiting};
use crate::kafka::TopicPartition;

/// A partition of a group.
pub(crate) type Position = (String, TopicPartition);

/// Observed offsets of partitions with unread messages, with their first observation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sightings {
    began: Option<Instant>,
    seen: BTreeMap<Position, Sighting>,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    committed: Option<i64>,
    since: Instant,
}

/// How long offsets were observed unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Still {
    /// Time since the first observation.
    pub(crate) watched: Duration,
    /// How long each partition with unread messages kept its offset.
    pub(crate) positions: BTreeMap<Position, Duration>,
}

impl Sightings {
    /// Records an observation at `now`. The time restarts for a partition that has moved since the
    /// last one or has no unread messages.
    pub(crate) fn update(&mut self, lags: &[Lag], now: Instant) -> Still {
        let mut seen = BTreeMap::new();
        for (lag, partition) in lags.iter().flat_map(|lag| waiting(lag).map(move |waits| (lag, waits))) {
            let position = position(lag, partition);
            let before = self.seen.get(&position).filter(|before| before.committed == partition.committed);
            let since = before.map_or(now, |before| before.since);
            seen.insert(position, Sighting { committed: partition.committed, since });
        }
        self.seen = seen;
        let began = *self.began.get_or_insert(now);
        let still = |(position, sighting): (&Position, &Sighting)| (position.clone(), now - sighting.since);
        Still { watched: now - began, positions: self.seen.iter().map(still).collect() }
    }
}
