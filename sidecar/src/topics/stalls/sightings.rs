//! Offsets of partitions with unread messages, and for how long they were seen there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::groups::Lag;
use super::{position, waiting};
use crate::kafka::Place;

/// A group's partition.
pub type Position = (String, Place);

/// Where partitions with unread messages were seen, and since when.
#[derive(Debug, Clone, Default)]
pub struct Sightings {
    began: Option<Instant>,
    seen: BTreeMap<Position, Sighting>,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    committed: Option<i64>,
    since: Instant,
}

/// How long positions have been seen where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Still {
    /// For how long anything was looked at.
    pub watched: Duration,
    /// For how long each partition with unread messages was seen at its offset.
    pub positions: BTreeMap<Position, Duration>,
}

impl Sightings {
    /// Records a look at `now`. A partition that has moved since the last one, or has read
    /// everything, starts again from zero.
    pub fn update(&mut self, lags: &[Lag], now: Instant) -> Still {
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
