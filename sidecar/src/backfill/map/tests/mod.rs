//! Tests of mappings with files, random batches and quarantine.

mod batches;
mod columns;
mod extras;
mod exports;
mod fixtures;
mod mappings;
mod moments;
mod replay;
mod sources;
mod timestamps;
mod writers;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::mapper::Mapped;
use super::{Mapping, MappingError};
use crate::backfill::read::{self, Batch, MemoryBounds};

/// Enough for every file of these tests, and small enough that some files need several batches.
const MEMORY: usize = 16 << 20;

/// A mapping of core columns.
fn parse(text: &str) -> Result<Mapping, MappingError> {
    Mapping::parse(text, &[])
}

/// Maps a file and returns each batch with its result.
fn map_file(path: &Path, mapping: &Mapping, team: Option<i64>) -> Vec<(Batch, Mapped)> {
    let input = Arc::new(File::open(path).expect("it is there"));
    let footer = read::footer(&path.display().to_string(), &*input).expect("a good footer");
    let mapper = mapping.bind(footer.schema(), team).unwrap_or_else(|error| panic!("{error}"));
    let groups = 0..footer.metadata().num_row_groups();
    read::batches(input, &footer, groups, mapper.projection(), MemoryBounds::within(MEMORY))
        .map(|batch| {
            let batch = batch.unwrap_or_else(|error| panic!("{error}"));
            let mapped = mapper.map(&batch.rows);
            (batch, mapped)
        })
        .collect()
}

/// An event for comparison.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    uuid: u128,
    event: String,
    properties: String,
    timestamp: i64,
    team_id: i64,
    distinct_id: String,
    elements_hash: String,
    created_at: i64,
    ingested_at: u32,
    elements_chain: String,
}

fn events(mapped: &Mapped) -> Vec<Event> {
    let events = &mapped.events;
    let text =
        |array: &arrow_array::BinaryViewArray, row| String::from_utf8_lossy(array.value(row)).into_owned();
    (0..events.len())
        .map(|row| Event {
            uuid: events.uuid[row],
            event: text(&events.event, row),
            properties: text(&events.properties, row),
            timestamp: events.timestamp[row],
            team_id: events.team_id[row],
            distinct_id: text(&events.distinct_id, row),
            elements_hash: text(&events.elements_hash, row),
            created_at: events.created_at[row],
            ingested_at: events.ingested_at[row],
            elements_chain: text(&events.elements_chain, row),
        })
        .collect()
}
