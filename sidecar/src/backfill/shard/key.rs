//! Sorting keys of `sharded_events`, read from a block's rows.
//!
//! Rows with the same key are one event to merges.

use super::block::{Block, ColumnName};

/// Microseconds per day.
const DAY: i64 = 86_400_000_000;

/// Sorting key of a row, with its row id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SortingKey {
    /// From 1.
    pub(crate) shard: u32,
    pub(crate) team_id: i64,
    /// Days since 1970 in UTC.
    pub(crate) day: i64,
    pub(crate) event: Vec<u8>,
    pub(crate) distinct_id: Vec<u8>,
    /// Numeric value of the UUID's text form.
    pub(crate) uuid: u128,
    /// The row id, `_offset`.
    pub(crate) place: u64,
}

impl Block {
    /// Keys of all rows, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = SortingKey> + '_ {
        let uuids = self.fixed::<16>(ColumnName::Uuid).map(|uuid| u128::from_le_bytes(*uuid).rotate_left(64));
        let longs = |column| self.fixed::<8>(column).map(|bytes| i64::from_le_bytes(*bytes));
        let names = self.texts(ColumnName::Event).zip(self.texts(ColumnName::DistinctId));
        let numbers =
            longs(ColumnName::TeamId).zip(longs(ColumnName::Timestamp)).zip(longs(ColumnName::Offset));
        uuids.zip(names).zip(numbers).map(|((uuid, (event, distinct_id)), ((team_id, timestamp), place))| {
            SortingKey {
                shard: self.shard,
                team_id,
                day: timestamp.div_euclid(DAY),
                event: event.to_vec(),
                distinct_id: distinct_id.to_vec(),
                uuid,
                place: place.cast_unsigned(),
            }
        })
    }
}
