//! Rows of history as the columns of `writable_events`: decoded, checked, not yet routed.

use arrow_array::BinaryViewArray;

/// Some rows in the order of their source, column by column; all columns have the same length. Texts are views: they stand where
/// the source's pages were decompressed to, and are copied once, into their blocks.
///
/// `_offset` is not among them: the loader fills it with the row's place in the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// As the text reads it: the most significant byte is the first pair of digits.
    pub uuid: Vec<u128>,
    /// The event's name.
    pub event: BinaryViewArray,
    /// A JSON object as text.
    pub properties: BinaryViewArray,
    /// Microseconds since 1970 in UTC, from 1900 to 2299: what `DateTime64(6)` holds on every version.
    pub timestamp: Vec<i64>,
    /// The team.
    pub team_id: Vec<i64>,
    /// What the shard is picked by.
    pub distinct_id: BinaryViewArray,
    /// Empty where the source has none.
    pub elements_hash: BinaryViewArray,
    /// Microseconds since 1970 in UTC, in the bounds of `timestamp`.
    pub created_at: Vec<i64>,
    /// Seconds since 1970 in UTC; 0 where the source does not say when the row was ingested, so that the same event from
    /// Kafka is the later version.
    pub ingested_at: Vec<u32>,
    /// Empty where the source has none.
    pub elements_chain: BinaryViewArray,
}

impl Events {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.uuid.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.uuid.is_empty()
    }
}
