//! Cutting of a unit's rows into slices and blocks.
//!
//! A slice has one block per shard and month. The cut depends only on the rows, not on the batches
//! that they arrive in.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthouse_udf::shard::{Weights, shard_keys};
use posthouse_udf::texts::Scattered;

use super::block::{Block, FIXED_BYTES, texts};
use super::extra::row_bytes;
use super::memory::Memory;
use super::month::month;
use super::text::{length, text_bytes};
use crate::backfill::events::EventBatch;
use crate::backfill::place::{SLICE_ROWS, SliceId, UnitId};

/// Consecutive rows of a unit, as blocks ordered by shard and month.
#[derive(Debug)]
pub(crate) struct Slice {
    /// The part of `_offset` that its rows share.
    pub(crate) id: SliceId,
    /// At least one, unless the unit has no rows.
    pub(crate) blocks: Vec<Block>,
}

/// Splits a unit's rows, in order, into slices.
#[derive(Debug)]
pub(crate) struct Slicer<'w> {
    unit: UnitId,
    weights: &'w Weights,
    /// A slice ends with the row that reaches this many bytes of values, or with row
    /// [`SLICE_ROWS`].
    limit: u64,
    memory: Arc<Memory>,
    number: u32,
    rows: u32,
    bytes: u64,
    blocks: Vec<Block>,
    /// The batch that the last slice ended in, and its first row that belongs to no slice yet.
    left: Option<(EventBatch, usize)>,
    /// Rows of the current batch, by index in `blocks`.
    rows_of: Vec<Vec<usize>>,
    /// Index in `blocks` by shard and month.
    index: BTreeMap<(u32, u32), usize>,
}

impl<'w> Slicer<'w> {
    /// Creates a slicer for the rows of `unit`. Its blocks are counted in `memory`; `limit` is in
    /// bytes.
    pub(crate) fn new(unit: UnitId, weights: &'w Weights, limit: u64, memory: Arc<Memory>) -> Self {
        Self {
            unit,
            weights,
            limit,
            memory,
            number: 0,
            rows: 0,
            bytes: 0,
            blocks: Vec::new(),
            left: None,
            rows_of: Vec::new(),
            index: BTreeMap::new(),
        }
    }

    /// Takes rows from `batches` until a slice is full. Returns `None` at their end, where
    /// [`Slicer::take_rest`] has the last rows.
    ///
    /// # Errors
    /// The first error of `batches`.
    pub(crate) fn next_full<E>(
        &mut self,
        batches: &mut impl Iterator<Item = Result<EventBatch, E>>,
    ) -> Result<Option<Slice>, E> {
        while !self.is_full() {
            let next = match self.left.take() {
                None => batches.next().transpose()?.map(|events| (events, 0)),
                left => left,
            };
            let Some((events, from)) = next else { return Ok(None) };
            let to = self.cut(&events, from);
            self.scatter(&events, from, to);
            self.left = (to < events.len()).then_some((events, to));
        }
        Ok(Some(self.take()))
    }

    /// Returns the rows since the last full slice, if any.
    pub(crate) fn take_rest(&mut self) -> Option<Slice> {
        (self.rows > 0).then(|| self.take())
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.limit || self.rows >= SLICE_ROWS
    }

    /// Counts rows from `from` until the slice is full. Returns the first row that is not part of
    /// it.
    fn cut(&mut self, events: &EventBatch, from: usize) -> usize {
        let mut to = from;
        while to < events.len() && !self.is_full() {
            let texts: u64 = texts(events).iter().map(|(_, array)| text_bytes(length(array, to))).sum();
            let extras: u64 = events.extras.iter().map(|values| row_bytes(values, to)).sum();
            self.bytes += FIXED_BYTES + texts + extras;
            self.rows += 1;
            to += 1;
        }
        to
    }

    /// Appends rows to their blocks, one block after the other.
    fn scatter(&mut self, events: &EventBatch, from: usize, to: usize) {
        self.assign(events, from, to);
        let first = self.rows - (to - from) as u32;
        let slice = self.unit.slice(self.number);
        let offset = |row: usize| slice.offset(first + (row - from) as u32);
        for (block, rows) in self.blocks.iter_mut().zip(&self.rows_of) {
            block.extend(events, rows, offset);
        }
    }

    /// Assigns each row to its block, and creates missing blocks.
    fn assign(&mut self, events: &EventBatch, from: usize, to: usize) {
        self.rows_of.iter_mut().for_each(Vec::clear);
        let keys = shard_keys(Scattered((from..to).map(|row| events.distinct_id.value(row))));
        for ((row, key), timestamp) in (from..to).zip(keys).zip(&events.timestamp[from..to]) {
            let (shard, month) = (self.weights.shard_of(key), month(*timestamp));
            let place = *self.index.entry((shard, month)).or_insert_with(|| {
                self.blocks.push(Block::new(shard, month, self.memory.clone()));
                self.blocks.len() - 1
            });
            if place == self.rows_of.len() {
                self.rows_of.push(Vec::new());
            }
            self.rows_of[place].push(row);
        }
    }

    fn take(&mut self) -> Slice {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.sort_by_key(|block| (block.shard, block.month));
        self.index.clear();
        self.memory.built();
        let slice = Slice { id: self.unit.slice(self.number), blocks };
        (self.rows, self.bytes) = (0, 0);
        self.number += 1;
        slice
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use arrow_array::BinaryViewArray;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::super::Native;
    use super::*;

    fn events(random: &mut StdRng, rows: usize) -> EventBatch {
        let mut texts = |most: usize| {
            let texts: Vec<Vec<u8>> = (0..rows).map(|_| vec![b'x'; random.random_range(0..=most)]).collect();
            BinaryViewArray::from_iter_values(texts)
        };
        let (event, properties, distinct_id) = (texts(10), texts(300), texts(30));
        let (elements_hash, elements_chain) = (texts(0), texts(5));
        let mut numbers =
            || (0..rows).map(|_| random.random_range(0..40_000_000_000_000)).collect::<Vec<i64>>();
        let (timestamp, team_id, created_at) = (numbers(), numbers(), numbers());
        let uuid = (0..rows).map(|_| random.random()).collect();
        let ingested_at = (0..rows).map(|_| random.random()).collect();
        EventBatch {
            uuid,
            event,
            properties,
            timestamp,
            team_id,
            distinct_id,
            elements_hash,
            created_at,
            ingested_at,
            elements_chain,
            extras: Vec::new(),
        }
    }

    fn part(events: &EventBatch, from: usize, rows: usize) -> EventBatch {
        let texts = |array: &BinaryViewArray| array.slice(from, rows);
        EventBatch {
            uuid: events.uuid[from..from + rows].to_vec(),
            event: texts(&events.event),
            properties: texts(&events.properties),
            timestamp: events.timestamp[from..from + rows].to_vec(),
            team_id: events.team_id[from..from + rows].to_vec(),
            distinct_id: texts(&events.distinct_id),
            elements_hash: texts(&events.elements_hash),
            created_at: events.created_at[from..from + rows].to_vec(),
            ingested_at: events.ingested_at[from..from + rows].to_vec(),
            elements_chain: texts(&events.elements_chain),
            extras: Vec::new(),
        }
    }

    fn slices(weights: &Weights, batches: &[EventBatch], limit: u64) -> Vec<Slice> {
        let mut slicer = Slicer::new(UnitId::of(&["unit"]), weights, limit, Memory::new(u64::MAX));
        let mut batches = batches.iter().cloned().map(Ok::<_, Infallible>);
        let mut slices = Vec::new();
        while let Ok(Some(slice)) = slicer.next_full(&mut batches) {
            slices.push(slice);
        }
        slices.extend(slicer.take_rest());
        slices
    }

    /// Everything that is sent for the slices.
    fn sent(slices: Vec<Slice>) -> Vec<(SliceId, u32, u32, u64, Vec<u8>)> {
        let blocks =
            slices.into_iter().flat_map(|slice| slice.blocks.into_iter().map(move |block| (slice.id, block)));
        let sent = |(id, block): (SliceId, Block)| {
            let (shard, month, checksum) = (block.shard, block.month, block.checksum);
            let Native { head, pieces } = block.into_native();
            (id, shard, month, checksum, [head].into_iter().chain(pieces).flatten().collect())
        };
        blocks.map(sent).collect()
    }

    #[test]
    fn the_cut_does_not_depend_on_how_rows_arrive() {
        let seed =
            std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
        println!("SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let weights = Weights::new(&[1, 0, 3]).expect("weights");
        let all = events(&mut random, 3_000);
        let whole = slices(&weights, std::slice::from_ref(&all), 50_000);
        // A batch may have no rows, because all of them were rejected.
        let mut batches = vec![part(&all, 0, 0)];
        let mut from = 0;
        while from < all.len() {
            let rows = random.random_range(1..=700).min(all.len() - from);
            batches.push(part(&all, from, rows));
            from += rows;
            batches.push(part(&all, from, 0));
        }
        assert!(whole.len() > 5, "{} slices", whole.len());
        let rows: u32 = whole.iter().flat_map(|slice| &slice.blocks).map(|block| block.rows).sum();
        assert_eq!(rows as usize, all.len());
        for slice in &whole {
            assert!(slice.blocks.iter().all(|block| block.shard != 2 && block.rows > 0));
            let bytes: u64 = slice.blocks.iter().map(Block::bytes).sum();
            assert!(bytes < 50_000 + 1_000, "{bytes} bytes");
        }
        assert_eq!(sent(slices(&weights, &batches, 50_000)), sent(whole));
    }

    #[test]
    fn a_unit_without_rows_has_no_slice() {
        let weights = Weights::new(&[1]).expect("weights");
        assert!(slices(&weights, &[], 1).is_empty());
    }
}
