//! How fast a node may be fed: slower before ClickHouse itself delays or refuses, and always with the reason.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::node::{Node, NodeError};
use crate::sql;

/// From this share of the parts at which ClickHouse delays inserts (`parts_to_delay_insert`, or what is left below
/// `parts_to_throw_insert`) we wait between blocks, so that merges keep up.
const SLOW_FROM: f64 = 0.5;
/// From this share on we hold: ingestion from Kafka needs the rest.
const HOLD_FROM: f64 = 0.9;
/// The wait between two blocks just before we hold.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A disk with less than this share free is left alone: merges need room for a copy of what they merge.
const FREE_SHARE: f64 = 0.05;
/// What may wait on a node's disk for other shards before we hold: more only moves the queue from here to there.
const MOST_WAITING: u64 = 1 << 30;

/// How hard a node is pressed, as `sql/backfill/pressure.sql` sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pressure {
    /// Active parts of the month of `sharded_events` that has most.
    pub parts: u64,
    /// `parts_to_delay_insert`.
    pub delay_at: u64,
    /// `parts_to_throw_insert`.
    pub throw_at: u64,
    /// Merges of `sharded_events` under way.
    pub merges: u64,
    /// Bytes that wait on its disk for other shards.
    pub waiting_bytes: u64,
    /// Free bytes of its fullest disk.
    pub free: u64,
    /// All bytes of that disk.
    pub total: u64,
}

/// What a node's pressure means for the next block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Full,
    /// After a pause.
    Slow {
        /// How long.
        pause: Duration,
        /// Why.
        reason: String,
    },
    /// Not before the pressure is gone.
    Hold {
        /// Why.
        reason: String,
    },
}

/// Asks a node how hard it is pressed.
///
/// # Errors
/// See [`NodeError`].
pub async fn observe(node: &Node, database: &str) -> Result<Option<Pressure>, NodeError> {
    let query = node.query(sql::text("backfill/pressure.sql").unwrap_or_default());
    Ok(query.param("database", database).rows().await?.into_iter().next())
}

impl Pace {
    /// The decision.
    pub fn of(pressure: &Pressure) -> Self {
        if (pressure.free as f64) < FREE_SHARE * pressure.total as f64 {
            let free = pressure.free >> 20;
            return Self::Hold { reason: format!("only {free} MiB of disk are free: merges need room") };
        }
        if pressure.waiting_bytes > MOST_WAITING {
            let waiting = pressure.waiting_bytes >> 20;
            return Self::Hold { reason: format!("{waiting} MiB wait in its queue for other shards") };
        }
        let limit = pressure.delay_at.min(pressure.throw_at).max(1);
        let (share, parts) = (pressure.parts as f64 / limit as f64, pressure.parts);
        let reason = format!(
            "{parts} parts in one month, inserts are delayed from {limit}; {} merges",
            pressure.merges
        );
        if share >= HOLD_FROM {
            Self::Hold { reason }
        } else if share >= SLOW_FROM {
            let pause = LONGEST_PAUSE.mul_f64((share - SLOW_FROM) / (HOLD_FROM - SLOW_FROM));
            Self::Slow { pause, reason }
        } else {
            Self::Full
        }
    }
}

impl Pace {
    /// The slower one of two.
    pub fn slower(self, other: Self) -> Self {
        let rank = |pace: &Self| match pace {
            Self::Full => Duration::ZERO,
            Self::Slow { pause, .. } => *pause,
            Self::Hold { .. } => Duration::MAX,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full speed"),
            Self::Slow { pause, reason } => {
                write!(f, "slowed by {:.1} s a block: {reason}", pause.as_secs_f32())
            }
            Self::Hold { reason } => write!(f, "holding: {reason}"),
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
        assert_eq!(Pace::of(&pressed(0)), Pace::Full);
        assert_eq!(Pace::of(&pressed(499)), Pace::Full);
        let pause = |parts| match Pace::of(&pressed(parts)) {
            Pace::Slow { pause, .. } => pause,
            other => panic!("{parts}: {other}"),
        };
        assert!(pause(500) < pause(700) && pause(700) < pause(899) && pause(899) <= LONGEST_PAUSE);
        assert!(matches!(Pace::of(&pressed(900)), Pace::Hold { .. }));
        // A table that refuses earlier than it delays.
        assert!(matches!(Pace::of(&Pressure { throw_at: 100, ..pressed(95) }), Pace::Hold { .. }));
    }

    #[test]
    fn a_full_disk_and_a_long_queue_hold() {
        let held = |pressure: &Pressure| Pace::of(pressure).to_string();
        assert!(held(&Pressure { free: 4, ..pressed(0) }).contains("disk"));
        assert!(held(&Pressure { waiting_bytes: MOST_WAITING + 1, ..pressed(0) }).contains("queue"));
    }
}
