//! Mapper from a file's batches to events and rejected rows.

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryViewArray, BooleanArray, RecordBatch};
use arrow_select::filter::filter;

use super::columns::event_id::EventIds;
use super::columns::extra::ExtraReader;
use super::columns::object::PropertiesColumn;
use super::columns::team_id::Teams;
use super::columns::text::StringColumn;
use super::columns::timestamp::TimestampColumn;
use super::mapping::PathReads;
use super::reject::{Faults, Reject};
use crate::backfill::events::EventBatch;

/// Result of mapping a batch. Every row is in exactly one of the two.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mapped {
    /// Valid rows in their order.
    pub(crate) events: EventBatch,
    /// Rejected rows in their order.
    pub(crate) rejects: Vec<Reject>,
}

/// A mapping bound to a file's columns by [`Mapping::bind`](super::Mapping::bind).
#[derive(Debug, Clone)]
pub(crate) struct Mapper {
    pub(super) uuid: EventIds,
    pub(super) event: StringColumn,
    pub(super) properties: PropertiesColumn,
    pub(super) timestamp: TimestampColumn,
    pub(super) team_id: Teams,
    pub(super) distinct_id: StringColumn,
    pub(super) elements_hash: StringColumn,
    pub(super) created_at: TimestampColumn,
    pub(super) ingested_at: TimestampColumn,
    pub(super) elements_chain: StringColumn,
    pub(super) extras: Vec<ExtraReader>,
    pub(super) leaves: Vec<usize>,
    pub(super) fingerprint: String,
    pub(super) path_reads: PathReads,
}

impl Mapper {
    /// Leaf columns that the mapping uses, in ascending order and numbered as in Parquet.
    pub(crate) fn projection(&self) -> &[usize] {
        &self.leaves
    }

    /// Source columns of `timestamp`, none if it is a constant. The first value that is not null
    /// counts.
    pub(crate) fn timestamp_columns(&self) -> Vec<&str> {
        self.timestamp.columns()
    }

    /// Decodes values of [`Mapper::timestamp_columns`] like a load: microseconds since 1970 in UTC.
    /// Returns `None` if one is not a timestamp.
    pub(crate) fn timestamps(&self, values: &ArrayRef) -> Option<Vec<i64>> {
        self.timestamp.of(values)
    }

    /// Names of the columns beyond the core that it fills.
    pub(crate) fn extra_names(&self) -> impl Iterator<Item = &str> {
        self.extras.iter().map(|extra| extra.column.name.as_str())
    }

    /// Fingerprint of the mapping, the command line's team, the filled columns beyond the core and
    /// the values of the file's path; part of a unit's identity.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether rows have values of the file's path.
    pub(crate) fn reads_path(&self) -> bool {
        self.path_reads.is_any_found()
    }

    /// Whether a file of the same schema at `location` has the same mapper, because its path has
    /// the same values under the names that are looked for.
    pub(crate) fn is_same_at(&self, location: &str) -> bool {
        self.path_reads.are_same_at(location)
    }

    /// Estimated bytes that a row gains because values get keys and become text.
    pub(crate) fn added_row_bytes(&self) -> usize {
        self.properties.added_row_bytes()
    }

    /// Maps `batch`, which has all of the file's columns or at least those in
    /// [`Mapper::projection`].
    pub(crate) fn map(&self, batch: &RecordBatch) -> Mapped {
        let mut faults = Faults::default();
        let timestamp = self.timestamp.read(batch, &[], &mut faults);
        let created_at = self.created_at.read(batch, &timestamp, &mut faults);
        let ingested_at = self.ingested_at.read(batch, &timestamp, &mut faults);
        let events = EventBatch {
            uuid: self.uuid.read(batch, &mut faults),
            event: self.event.read(batch, &mut faults),
            properties: self.properties.read(batch, &mut faults),
            team_id: self.team_id.read(batch, &mut faults),
            distinct_id: self.distinct_id.read(batch, &mut faults),
            elements_hash: self.elements_hash.read(batch, &mut faults),
            ingested_at: super::columns::timestamp::seconds(&ingested_at, &self.ingested_at, &mut faults),
            elements_chain: self.elements_chain.read(batch, &mut faults),
            extras: self.extras.iter().map(|extra| extra.read(batch, &mut faults)).collect(),
            timestamp,
            created_at,
        };
        let rejects = faults.into_rejects();
        let events = if rejects.is_empty() { events } else { without(&events, &rejects) };
        Mapped { events, rejects }
    }
}

fn without(events: &EventBatch, rejects: &[Reject]) -> EventBatch {
    let mut good = vec![true; events.len()];
    for reject in rejects {
        if let Some(good) = good.get_mut(reject.row) {
            *good = false;
        }
    }
    let mask = BooleanArray::from(good.clone());
    let texts = |array: &BinaryViewArray| match filter(array, &mask) {
        Ok(kept) => kept.as_binary_view().clone(),
        // Unreachable: array and mask have the batch's length.
        Err(_) => BinaryViewArray::from_iter_values(kept(&good, array.iter().map(Option::unwrap_or_default))),
    };
    EventBatch {
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
        extras: events.extras.iter().map(|values| values.kept(&good)).collect(),
    }
}

fn kept<T>(good: &[bool], values: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    values.zip(good).filter(|(_, good)| **good).map(|(value, _)| value)
}
