//! Rows of one shard and month in ClickHouse's `Native` format.
//!
//! Values are kept column by column, so that a block is sent without a copy.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::BinaryViewArray;
use bytes::Bytes;

use super::checksum::ChecksumRow;
use super::column::NativeColumn;
use super::extra::ExtraStreams;
use super::memory::Memory;
use super::text::{push_text, push_varint, split_varint};
use crate::backfill::events::{EventBatch, wire_uuid};
use crate::backfill::extra::CellHasher;

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
    /// Sum of the row hashes and the hashes of extra values, modulo 2⁶⁴.
    pub(crate) checksum: u64,
    /// Earliest timestamp, in microseconds.
    pub(crate) first: i64,
    /// Latest timestamp, in microseconds.
    pub(crate) last: i64,
    columns: [NativeColumn; COLUMNS.len()],
    /// Columns beyond the core; empty before the first row.
    extras: Vec<ExtraStreams>,
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
        let (first, last, extras) = (i64::MAX, i64::MIN, Vec::new());
        Self { shard, month, rows: 0, checksum: 0, first, last, columns, extras, memory }
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
        self.extend_extras(events, rows, offset);
    }

    fn extend_extras(&mut self, events: &EventBatch, rows: &[usize], offset: impl Fn(usize) -> u64) {
        if self.extras.is_empty() {
            self.extras =
                events.extras.iter().map(|values| ExtraStreams::new(values.column.clone())).collect();
        }
        for (streams, values) in self.extras.iter_mut().zip(&events.extras) {
            streams.extend(values, rows, &self.memory);
            let sum = CellHasher::new(values).sum(rows, &offset);
            self.checksum = self.checksum.wrapping_add(sum);
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
        let extras: u64 = self.extras.iter().map(ExtraStreams::bytes).sum();
        self.columns.iter().map(NativeColumn::bytes).sum::<u64>() + extras
    }

    /// Names of the columns beyond the core, in the order of [`Native`].
    pub(crate) fn extra_names(&self) -> Vec<String> {
        self.extras.iter().map(|streams| streams.name().to_owned()).collect()
    }

    pub(crate) fn into_native(self) -> Native {
        let mut head = Vec::new();
        push_varint(&mut head, (COLUMNS.len() + self.extras.len()) as u64);
        push_varint(&mut head, u64::from(self.rows));
        let mut pieces = VecDeque::new();
        for ((name, sql_type), values) in COLUMNS.into_iter().zip(self.columns) {
            push_label(&mut head, name, sql_type);
            pieces.push_back(Bytes::from(std::mem::take(&mut head)));
            pieces.extend(values.into_pieces());
        }
        for streams in self.extras {
            push_label(&mut head, streams.name(), &streams.wire_type());
            pieces.push_back(Bytes::from(std::mem::take(&mut head)));
            pieces.extend(streams.into_pieces());
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

fn push_label(head: &mut Vec<u8>, name: &str, sql_type: &str) {
    for text in [name, sql_type] {
        push_varint(head, text.len() as u64);
        head.extend_from_slice(text.as_bytes());
    }
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

/// Bytes of a row's values of fixed size.
pub(super) const FIXED_BYTES: u64 = 16 + 4 * 8 + 4;

#[cfg(test)]
mod tests {
    use super::super::text::text_bytes;
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
            extras: Vec::new(),
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
}
