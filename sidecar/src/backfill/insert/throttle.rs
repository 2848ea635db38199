//! Throttling of inserts by a node's load.
//!
//! Inserts slow down before ClickHouse delays or refuses them, and the reason is always reported.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::node::{Node, NodeError};
use crate::sql;

/// Inserts wait between blocks from this share of the part limit, so that merges keep up. The limit
/// is `parts_to_delay_insert`, or `parts_to_throw_insert` if that is lower.
const DELAY_FROM: f64 = 0.5;
/// Inserts pause from this share on, because ingestion from Kafka needs the rest.
const PAUSE_FROM: f64 = 0.9;
/// Wait between two blocks just below the share at which inserts pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Inserts pause if less than this share of a disk is free, because merges need room for a copy of
/// the merged parts.
const MIN_FREE_SHARE: f64 = 0.05;
/// Maximum bytes on a node's disk that wait for other shards. More would only move the backlog from
/// here to the node.
const MAX_WAITING: u64 = 1 << 30;

/// Load of a node, from `sql/backfill/pressure.sql`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Pressure {
    /// Active parts in the month of `sharded_events` with the most parts.
    pub(crate) parts: u64,
    /// `parts_to_delay_insert`.
    pub(crate) delay_at: u64,
    /// `parts_to_throw_insert`.
    pub(crate) throw_at: u64,
    /// Merges of `sharded_events` in progress.
    pub(crate) merges: u64,
    /// Bytes on its disk that wait for other shards.
    pub(crate) waiting_bytes: u64,
    /// Free bytes of its fullest disk.
    pub(crate) free: u64,
    /// Total bytes of that disk.
    pub(crate) total: u64,
}

/// Throttle for the next block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Throttle {
    /// Inserts without a wait.
    None,
    /// Inserts after a pause.
    Delay { pause: Duration, reason: String },
    /// Waits until the load is lower.
    Pause { reason: String },
}

/// Queries a node's load.
pub(crate) async fn observe(node: &Node, database: &str) -> Result<Option<Pressure>, NodeError> {
    let query = node.query(sql::text("backfill/pressure.sql").unwrap_or_default());
    Ok(query.param("database", database).rows().await?.into_iter().next())
}

impl Throttle {
    pub(crate) fn of(pressure: &Pressure) -> Self {
        if (pressure.free as f64) < MIN_FREE_SHARE * pressure.total as f64 {
            let free = pressure.free >> 20;
            return Self::Pause { reason: format!("only {free} MiB of disk are free: merges need room") };
        }
        if pressure.waiting_bytes > MAX_WAITING {
            let waiting = pressure.waiting_bytes >> 20;
            return Self::Pause { reason: format!("{waiting} MiB wait in its queue for other shards") };
        }
        let limit = pressure.delay_at.min(pressure.throw_at).max(1);
        let (share, parts) = (pressure.parts as f64 / limit as f64, pressure.parts);
        let reason = format!(
            "{parts} parts in one month, inserts are delayed from {limit}; {} merges",
            pressure.merges
        );
        if share >= PAUSE_FROM {
            Self::Pause { reason }
        } else if share >= DELAY_FROM {
            let pause = MAX_PAUSE.mul_f64((share - DELAY_FROM) / (PAUSE_FROM - DELAY_FROM));
            Self::Delay { pause, reason }
        } else {
            Self::None
        }
    }
}

impl Throttle {
    /// The slower of two.
    pub(crate) fn slower(self, other: Self) -> Self {
        let rank = |throttle: &Self| match throttle {
            Self::None => Duration::ZERO,
            Self::Delay { pause, .. } => *pause,
            Self::Pause { .. } => Duration::MAX,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("full speed"),
            Self::Delay { pause, reason } => {
                write!(f, "slowed by {:.1} s a block: {reason}", pause.as_secs_f32())
            }
            Self::Pause { reason } => write!(f, "paused: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(parts: u64) -> Pressure {
        Pressure {
            parts,
            delay_at: 1_000,
            throw_at: 3_000,
            merges: 2,
            waiting_bytes: 0,
            free: 50,
            total: 100,
        }
    }

    #[test]
    fn the_more_parts_the_slower_and_never_up_to_the_limit() {
        assert_eq!(Throttle::of(&pressed(0)), Throttle::None);
        assert_eq!(Throttle::of(&pressed(499)), Throttle::None);
        let pause = |parts| match Throttle::of(&pressed(parts)) {
            Throttle::Delay { pause, .. } => pause,
            other => panic!("{parts}: {other}"),
        };
        assert!(pause(500) < pause(700) && pause(700) < pause(899) && pause(899) <= MAX_PAUSE);
        assert!(matches!(Throttle::of(&pressed(900)), Throttle::Pause { .. }));
        // This table refuses inserts before it delays them.
        assert!(matches!(Throttle::of(&Pressure { throw_at: 100, ..pressed(95) }), Throttle::Pause { .. }));
    }

    #[test]
    fn a_full_disk_and_a_long_queue_hold() {
        let held = |pressure: &Pressure| Throttle::of(pressure).to_string();
        assert!(held(&Pressure { free: 4, ..pressed(0) }).contains("disk"));
        assert!(held(&Pressure { waiting_bytes: MAX_WAITING + 1, ..pressed(0) }).contains("queue"));
    }
}
