//! Decoded rows, as the columns of `writable_events`.

use arrow_array::BinaryViewArray;

use super::extra::ExtraValues;

/// Rows in source order, column by column. All columns have the same length. Strings are views of
/// the decompressed pages, and are copied once, into their blocks.
///
/// `_offset` is missing because the loader sets it to the row id.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventBatch {
    /// Numeric value of the text form: the most significant byte is the first pair of digits.
    pub(crate) uuid: Vec<u128>,
    pub(crate) event: BinaryViewArray,
    /// A JSON object as a string.
    pub(crate) properties: BinaryViewArray,
    /// Microseconds since 1970 in UTC, from 1900 to 2299, the range of `DateTime64(6)` in every
    /// version.
    pub(crate) timestamp: Vec<i64>,
    pub(crate) team_id: Vec<i64>,
    /// Selects the shard.
    pub(crate) distinct_id: BinaryViewArray,
    /// Empty if the source has none.
    pub(crate) elements_hash: BinaryViewArray,
    /// Microseconds since 1970 in UTC, with the range of `timestamp`.
    pub(crate) created_at: Vec<i64>,
    /// Seconds since 1970 in UTC. 0 if the source has no time of ingestion, so that the same event
    /// from Kafka is the later version.
    pub(crate) ingested_at: Vec<u32>,
    /// Empty if the source has none.
    pub(crate) elements_chain: BinaryViewArray,
    /// Columns beyond the core; the same ones in every batch of a file.
    pub(crate) extras: Vec<ExtraValues>,
}

impl EventBatch {
    pub(crate) fn len(&self) -> usize {
        self.uuid.len()
    }
}

/// A UUID in ClickHouse's layout: two little-endian halves.
pub(crate) fn wire_uuid(uuid: u128) -> [u8; 16] {
    uuid.rotate_left(64).to_le_bytes()
}
