//! Detection of stalled consumers while messages wait.
//!
//! A pure decision from offsets, time and server reports.

mod reason;
mod sightings;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) use self::reason::Reason;
pub(crate) use self::sightings::{Position, Sightings, Still};
use super::groups::{GroupSnapshot, Lag, PartitionLag};
use super::observe::kafka_tables::{ServerConsumer, ServerReports};
use crate::kafka::TopicPartition;
use crate::schema::KafkaTable;

/// Shorter waits are no stall: a rebalance after a node's death and a return of Keeper take 20 to
/// 40 s.
const STALL_LIMIT_S: i64 = 60;
/// An offset counts as stalled after it was observed this long. Twice the engine's default flush
/// interval (7.5 s).
pub(crate) const MIN_SIGHTING: Duration = Duration::from_secs(15);

pub(super) fn position(lag: &Lag, partition: &PartitionLag) -> Position {
    (lag.group.clone(), TopicPartition { topic: lag.topic.clone(), partition: partition.partition })
}

/// Partitions with a message that is known to exist.
pub(super) fn waiting(lag: &Lag) -> impl Iterator<Item = &PartitionLag> {
    lag.partitions.iter().filter(|partition| partition.lag > Some(0) && partition.oldest_unread.is_some())
}

/// A stalled group of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) group: String,
    pub(crate) topic: String,
    /// Stalled partitions.
    pub(crate) partitions: BTreeSet<i32>,
    /// Messages that wait in these partitions.
    pub(crate) messages: i64,
    /// Age of the oldest waiting message, in seconds.
    pub(crate) oldest_s: i64,
    /// Longest known stall of these partitions, in seconds.
    pub(crate) stalled_s: i64,
    pub(crate) reason: Reason,
}

/// Input of the decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence<'e> {
    pub(crate) seen: &'e GroupSnapshot,
    pub(crate) reports: &'e ServerReports,
    /// How long offsets were observed unchanged.
    pub(crate) still: &'e Still,
    /// Current time in milliseconds since 1970.
    pub(crate) now: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Moves,
    Undecided,
    Stalls { seconds: i64 },
}

impl Evidence<'_> {
    /// Returns the group's stall in the topic, if it is stalled.
    pub(crate) fn stall(&self, lag: &Lag) -> Option<Stall> {
        let stalled: Vec<(&PartitionLag, i64)> = waiting(lag)
            .filter_map(|partition| match self.verdict(lag, partition) {
                Verdict::Stalls { seconds } => Some((partition, seconds)),
                Verdict::Moves | Verdict::Undecided => None,
            })
            .collect();
        let stalled_s = stalled.iter().map(|(_, seconds)| *seconds).max()?;
        let partitions = stalled.iter().map(|(partition, _)| partition.partition).collect();
        Some(Stall {
            group: lag.group.clone(),
            topic: lag.topic.clone(),
            messages: stalled.iter().filter_map(|(partition, _)| partition.lag).sum(),
            oldest_s: stalled.iter().map(|(partition, _)| self.age_s(partition)).max().unwrap_or_default(),
            stalled_s,
            reason: self.reason(lag, &partitions, stalled_s),
            partitions,
        })
    }

    /// Whether another observation may show a stall: a partition has not moved since the first one.
    pub(crate) fn is_undecided(&self, lag: &Lag) -> bool {
        waiting(lag).any(|partition| {
            self.verdict(lag, partition) == Verdict::Undecided
                && self.still_for(lag, partition) >= self.still.watched
        })
    }

    /// Reason why no table of the group can read, if the servers report one.
    pub(crate) fn blocked(&self, lag: &Lag) -> Option<Reason> {
        let partitions = lag.partitions.iter().map(|partition| partition.partition).collect();
        (!lag.tables.is_empty() && self.is_blocked(lag)).then(|| self.reason(lag, &partitions, 0))
    }

    fn verdict(&self, lag: &Lag, partition: &PartitionLag) -> Verdict {
        let (age, still) = (self.age_s(partition), self.still_for(lag, partition));
        if lag.tables.is_empty() || (age < STALL_LIMIT_S && still < MIN_SIGHTING) {
            return Verdict::Moves;
        }
        if still < MIN_SIGHTING && !self.is_blocked(lag) {
            return Verdict::Undecided;
        }
        // A consumer with several partitions may have committed a different one, so this time is a
        // lower bound.
        let place = position(lag, partition).1;
        let readers = self.consumers(lag).filter(|consumer| consumer.assigned.contains(&place));
        let committed = readers.filter_map(|consumer| consumer.committed_s).min().unwrap_or(age);
        let seen = i64::try_from(still.as_secs()).unwrap_or(i64::MAX);
        let seconds = age.min(committed).max(seen);
        if age.max(seconds) < STALL_LIMIT_S {
            return Verdict::Moves;
        }
        Verdict::Stalls { seconds }
    }

    fn age_s(&self, partition: &PartitionLag) -> i64 {
        partition.oldest_unread.map_or(0, |made| self.now.saturating_sub(made).max(0) / 1000)
    }

    fn still_for(&self, lag: &Lag, partition: &PartitionLag) -> Duration {
        self.still.positions.get(&position(lag, partition)).copied().unwrap_or_default()
    }

    /// Kafka tables of the group that read the topic.
    fn tables<'l>(&'l self, lag: &'l Lag) -> impl Iterator<Item = &'l KafkaTable> {
        self.seen.tables_of(&lag.group).filter(|table| table.topics.contains(&lag.topic))
    }

    /// Server reports about the consumers of these tables.
    fn consumers<'l>(&'l self, lag: &'l Lag) -> impl Iterator<Item = &'l ServerConsumer> {
        self.reports.consumers.iter().filter(move |consumer| {
            lag.tables.get(&consumer.table).is_some_and(|nodes| nodes.contains(&consumer.node))
        })
    }

    /// Whether the servers report that no table of the group can read.
    fn is_blocked(&self, lag: &Lag) -> bool {
        let waits = |table: &KafkaTable| {
            let mut own = self
                .consumers(lag)
                .filter(|one| one.node == table.node && one.table == table.full_name())
                .peekable();
            own.peek().is_some() && own.all(|consumer| !consumer.missing.is_empty())
        };
        self.seen.silent.is_empty() && self.tables(lag).all(|table| table.views == 0 || waits(table))
    }
}
