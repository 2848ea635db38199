//! Rows of one shard and month in ClickHouse's `Native` format.
//!
//! Values are kept column by column, so that a block is sent without a copy.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::BinaryViewArray;
use bytes::Bytes;

use super::checksum::{ChecksumRow, wire_uuid};
use super::column::NativeColumn;
use super::memory::Memory;
use crate::backfill::events::EventBatch;

/// Names and types of the columns, in the order of `sql/backfill/insert_block.sql`.
const COLUMNS: [(&str, &str); 11] = [
    ("uuid", "UUID"),
    ("event", "String"),
    ("properties", "String"),
    ("timestamp", "DateTime64(6, 'UTC')"),
    ("team_id", "Int64"),
    ("distinct_id", "String"),
    ("elements_hash", "String"),
    ("created_at", "DateTime64(6, 'UTC')"),
    ("_timestamp", "DateTime"),
    ("_offset", "UInt64"),
    ("elements_chain", "String"),
];

/// Index of a column in `COLUMNS`.
#[derive(Debug, Clone, Copy)]
pub(super) enum ColumnName {
    Uuid,
    Event,
    Properties,
    Timestamp,
    TeamId,
    DistinctId,
    ElementsHash,
    CreatedAt,
    IngestedAt,
    Offset,
    ElementsChain,
}

/// The rows of one insert, with the facts that the ledger records.
#[derive(Debug)]
pub(crate) struct Block {
    /// Shard that owns every row, from 1.
    pub(crate) shard: u32,
    /// Partition of every row, so that the block becomes one part.
    pub(crate) month: u32,
    pub(crate) rows: u32,
    /// Sum of the row hashes, modulo 2⁶⁴.
    pub(crate) checksum: u64,
    /// Earliest timestamp, in microseconds.
    pub(crate) first: i64,
    /// Latest timestamp, in microseconds.
    pub(crate) last: i64,
    columns: [NativeColumn; COLUMNS.len()],
    memory: Arc<Memory>,
}

/// A block in `Native` format.
#[derive(Debug)]
pub(crate) struct Native {
    /// The bytes before the first value; only a few.
    pub(crate) head: Bytes,
    /// The remaining bytes, in pieces that need not be joined. Each piece releases its memory when
    /// dropped.
    pub(crate) pieces: VecDeque<Bytes>,
}

impl Block {
    /// Creates an empty block whose values are counted in `memory`.
    pub(super) fn new(shard: u32, month: u32, memory: Arc<Memory>) -> Self {
        let columns = Default::default();
        Self { shard, month, rows: 0, checksum: 0, first: i64::MAX, last: i64::MIN, columns, memory }
    }

    /// Appends `rows` of `events` column by column, so that the processor's caches see few columns
    /// at once. `offset` returns the `_offset` of a row.
    pub(super) fn extend(&mut self, events: &EventBatch, rows: &[usize], offset: impl Fn(usize) -> u64) {
        for &row in rows {
            self.count(events.timestamp[row], row_hash(events, row, offset(row)));
        }
        self.extend_fixed(ColumnName::Uuid, rows, |row| wire_uuid(events.uuid[row]));
        self.extend_fixed(ColumnName::Timestamp, rows, |row| events.timestamp[row].to_le_bytes());
        self.extend_fixed(ColumnName::TeamId, rows, |row| events.team_id[row].to_le_bytes());
        self.extend_fixed(ColumnName::CreatedAt, rows, |row| events.created_at[row].to_le_bytes());
        self.extend_fixed(ColumnName::IngestedAt, rows, |row| events.ingested_at[row].to_le_bytes());
        self.extend_fixed(ColumnName::Offset, rows, |row| offset(row).to_le_bytes());
        for (name, array) in texts(events) {
            let column = &mut self.columns[name as usize];
            for &row in rows {
                push_text(column, &self.memory, array.value(row));
            }
        }
    }

    fn count(&mut self, timestamp: i64, hash: u64) {
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(hash);
        self.first = self.first.min(timestamp);
        self.last = self.last.max(timestamp);
    }

    fn extend_fixed<const N: usize>(
        &mut self,
        name: ColumnName,
        rows: &[usize],
        value: impl Fn(usize) -> [u8; N],
    ) {
        self.columns[name as usize].extend(rows.iter().map(|row| value(*row)), &self.memory);
    }

    /// Size of all values in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.columns.iter().map(NativeColumn::bytes).sum()
    }

    pub(crate) fn into_native(self) -> Native {
        let mut head = Vec::new();
        push_varint(&mut head, COLUMNS.len() as u64);
        push_varint(&mut head, u64::from(self.rows));
        let mut pieces = VecDeque::new();
        for (label, values) in COLUMNS.into_iter().zip(self.columns) {
            for text in [label.0, label.1] {
                push_varint(&mut head, text.len() as u64);
                head.extend_from_slice(text.as_bytes());
            }
            pieces.push_back(Bytes::from(std::mem::take(&mut head)));
            pieces.extend(values.into_pieces());
        }
        let head = pieces.pop_front().unwrap_or_default();
        Native { head, pieces }
    }

    /// The values of a column with `N` bytes per value.
    pub(super) fn fixed<const N: usize>(&self, name: ColumnName) -> impl Iterator<Item = &[u8; N]> {
        self.columns[name as usize].pieces().flat_map(|piece| piece.as_chunks().0)
    }

    /// The values of a string column.
    pub(super) fn texts(&self, name: ColumnName) -> impl Iterator<Item = &[u8]> {
        self.columns[name as usize].pieces().flat_map(|mut rest| {
            std::iter::from_fn(move || {
                let (length, values) = split_varint(rest)?;
                let (text, values) = values.split_at_checked(length)?;
                rest = values;
                Some(text)
            })
        })
    }
}

fn push_text(column: &mut NativeColumn, memory: &Arc<Memory>, text: &[u8]) {
    let bytes = usize::try_from(text_bytes(text.len())).unwrap_or(usize::MAX);
    let end = column.end(bytes, memory);
    push_varint(end, text.len() as u64);
    end.extend_from_slice(text);
}

fn row_hash(events: &EventBatch, row: usize, offset: u64) -> u64 {
    let texts = texts(events).map(|(_, array)| array.value(row));
    ChecksumRow {
        uuid: events.uuid[row],
        team_id: events.team_id[row],
        timestamp: events.timestamp[row],
        created_at: events.created_at[row],
        ingested_at: events.ingested_at[row],
        offset,
        texts,
    }
    .hash()
}

/// The string columns.
pub(super) fn texts(events: &EventBatch) -> [(ColumnName, &BinaryViewArray); 5] {
    [
        (ColumnName::Event, &events.event),
        (ColumnName::Properties, &events.properties),
        (ColumnName::DistinctId, &events.distinct_id),
        (ColumnName::ElementsHash, &events.elements_hash),
        (ColumnName::ElementsChain, &events.elements_chain),
    ]
}

/// Length of a string, stored in the first bytes of its view.
pub(super) fn length(texts: &BinaryViewArray, row: usize) -> usize {
    texts.views()[row] as u32 as usize
}

/// Bytes of a string in a column, including its length prefix.
pub(super) fn text_bytes(length: usize) -> u64 {
    let length = length as u64;
    let bits = u64::from(u64::BITS - (length | 1).leading_zeros());
    bits.div_ceil(7) + length
}

/// Bytes of a row's values of fixed size.
pub(super) const FIXED_BYTES: u64 = 16 + 4 * 8 + 4;

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Decodes the number at the start of `bytes`. Returns it and the remaining bytes.
fn split_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = bytes.iter().position(|byte| *byte < 0x80)? + 1;
    let (number, rest) = bytes.split_at(length);
    let add = |(value, shift), byte: &u8| (value | usize::from(byte & 0x7f) << shift, shift + 7);
    Some((number.iter().fold((0, 0), add).0, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_native_as_the_server_writes_it() {
        // SELECT toUUID('00112233-4455-6677-8899-aabbccddeeff') AS uuid, 'e' AS event, '{}' AS
        // properties, fromUnixTimestamp64Micro(1, 'UTC') AS timestamp, toInt64(-2) AS team_id,
        // repeat('d', 200) AS distinct_id, '' AS elements_hash, fromUnixTimestamp64Micro(3, 'UTC')
        // AS created_at, toDateTime(4) AS _timestamp, toUInt64(5) AS _offset, 'c' AS elements_chain
        // FORMAT Native
        let texts = |text: &str| BinaryViewArray::from_iter_values([text]);
        let events = EventBatch {
            uuid: vec![0x0011_2233_4455_6677_8899_aabb_ccdd_eeff],
            event: texts("e"),
            properties: texts("{}"),
            timestamp: vec![1],
            team_id: vec![-2],
            distinct_id: texts(&"d".repeat(200)),
            elements_hash: texts(""),
            created_at: vec![3],
            ingested_at: vec![4],
            elements_chain: texts("c"),
        };
        let mut block = Block::new(1, 202_001, Memory::new(0));
        block.extend(&events, &[0], |_| 5);
        let texts: u64 = [1, 2, 200, 0, 1].into_iter().map(text_bytes).sum();
        assert_eq!(block.bytes(), FIXED_BYTES + texts);
        let key = block.keys().next().expect("a row");
        assert_eq!(
            (key.uuid, key.team_id, key.day, key.place),
            (0x0011_2233_4455_6677_8899_aabb_ccdd_eeff, -2, 0, 5)
        );
        assert_eq!((key.event.as_slice(), key.distinct_id.len()), (&b"e"[..], 200));
        let Native { head, pieces } = block.into_native();
        let wire: Vec<u8> = [head].into_iter().chain(pieces).flatten().collect();
        let written = include_bytes!("block.native");
        assert_eq!(wire, written);
    }

    #[test]
    fn lengths_are_counted_as_they_are_written() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 1 << 28] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, length as u64);
            assert_eq!(text_bytes(length), (bytes.len() + length) as u64, "{length}");
        }
    }
}
