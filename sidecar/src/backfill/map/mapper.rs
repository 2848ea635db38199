//! A mapping bound to one file's columns: batches in, events and rejects out.

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryViewArray, BooleanArray, RecordBatch};
use arrow_select::filter::filter;

use super::columns::team_id::Teams;
use super::columns::text::Texts;
use super::columns::timestamp::Moments;
use super::columns::uuid::Uuids;
use super::reject::{Faults, Reject};
use crate::backfill::events::Events;

/// What became of a batch: every row is in one of the two.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    /// The good rows, in their order.
    pub events: Events,
    /// The bad rows, in their order.
    pub rejects: Vec<Reject>,
}

/// A mapping that fits the columns of a file; made by [`Mapping::bind`](super::Mapping::bind).
#[derive(Debug, Clone)]
pub struct Mapper {
    pub(super) uuid: Uuids,
    pub(super) event: Texts,
    pub(super) properties: Texts,
    pub(super) timestamp: Moments,
    pub(super) team_id: Teams,
    pub(super) distinct_id: Texts,
    pub(super) elements_hash: Texts,
    pub(super) created_at: Moments,
    pub(super) ingested_at: Moments,
    pub(super) elements_chain: Texts,
    pub(super) leaves: Vec<usize>,
    pub(super) fingerprint: String,
}

impl Mapper {
    /// The leaf columns of the file that are used, in ascending order and counted as Parquet counts them.
    pub fn projection(&self) -> &[usize] {
        &self.leaves
    }

    /// The column that timestamps come from, where it is one of the file's.
    pub fn timestamp_column(&self) -> Option<&str> {
        self.timestamp.column()
    }

    /// These values of [`Mapper::timestamp_column`] as a load reads them: microseconds since 1970 in UTC, or nothing where
    /// one of them is no moment.
    pub fn timestamps(&self, values: &ArrayRef) -> Option<Vec<i64>> {
        self.timestamp.of(values)
    }

    /// What the mapping means, with the team of the command line; part of a unit's identity.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Maps `batch`, which has the file's columns, or at least those of [`Mapper::projection`].
    pub fn map(&self, batch: &RecordBatch) -> Mapped {
        let mut faults = Faults::default();
        let timestamp = self.timestamp.read(batch, &[], &mut faults);
        let created_at = self.created_at.read(batch, &timestamp, &mut faults);
        let ingested_at = self.ingested_at.read(batch, &timestamp, &mut faults);
        let events = Events {
            uuid: self.uuid.read(batch, &mut faults),
            event: self.event.read(batch, &mut faults),
            properties: self.properties.read(batch, &mut faults),
            team_id: self.team_id.read(batch, &mut faults),
            distinct_id: self.distinct_id.read(batch, &mut faults),
            elements_hash: self.elements_hash.read(batch, &mut faults),
            ingested_at: super::columns::timestamp::seconds(&ingested_at, &self.ingested_at, &mut faults),
            elements_chain: self.elements_chain.read(batch, &mut faults),
            timestamp,
            created_at,
        };
        let rejects = faults.into_rejects();
        let events = if rejects.is_empty() { events } else { without(&events, &rejects) };
        Mapped { events, rejects }
    }
}

/// `events` without the rejected rows.
fn without(events: &Events, rejects: &[Reject]) -> Events {
    let mut good = vec![true; events.len()];
    for reject in rejects {
        if let Some(good) = good.get_mut(reject.row) {
            *good = false;
        }
    }
    let mask = BooleanArray::from(good.clone());
    let texts = |array: &BinaryViewArray| match filter(array, &mask) {
        Ok(kept) => kept.as_binary_view().clone(),
        // Not reached: array and mask have the batch's length.
        Err(_) => BinaryViewArray::from_iter_values(kept(&good, array.iter().map(Option::unwrap_or_default))),
    };
    Events {
        uuid: kept(&good, events.uuid.iter().copied()).collect(),
        event: texts(&events.event),
        properties: texts(&events.properties),
        timestamp: kept(&good, events.timestamp.iter().copied()).collect(),
        team_id: kept(&good, events.team_id.iter().copied()).collect(),
        distinct_id: texts(&events.distinct_id),
        elements_hash: texts(&events.elements_hash),
        created_at: kept(&good, events.created_at.iter().copied()).collect(),
        ingested_at: kept(&good, events.ingested_at.iter().copied()).collect(),
        elements_chain: texts(&events.elements_chain),
    }
}

fn kept<T>(good: &[bool], values: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    values.zip(good).filter(|(_, good)| **good).map(|(value, _)| value)
}
