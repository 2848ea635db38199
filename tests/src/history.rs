//! History as Parquet files, in the columns of the product's batch exports.
//!
//! The same seed gives the same events.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::events::{Event, Generator, Profile};

/// Rows converted to columns at once. A row group may have any number of rows.
const WRITTEN_AT_ONCE: usize = 50_000;

/// Parameters of the generated history.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// Rows of all files.
    pub rows: usize,
    /// How rows are split into files.
    pub files: Files,
    /// Rows per row group.
    pub row_group: usize,
    /// Days before [`History::until`] over which timestamps spread.
    pub days: u32,
    /// The latest timestamp, µs since 1970, UTC.
    pub until: i64,
    /// Number of distinct people.
    pub people: u32,
    /// The same seed repeats the events.
    pub seed: u64,
}

/// How rows are split into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// This number of files with equal shares of the rows: `export-001.parquet` and so on.
    Equal(usize),
    /// One file for each month that has rows: `2025-01.parquet` and so on.
    Monthly,
    /// One file for each span of this many minutes that has rows: `2025/01/31/07/00.parquet` and so
    /// on, as a batch export of the product writes them.
    Spans(u32),
}

impl History {
    /// Writes the files into `folder` in order of time, and returns their paths.
    ///
    /// # Errors
    /// Fails if the files can't be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        std::fs::create_dir_all(folder)?;
        let profile = Profile {
            teams: 1,
            people: self.people,
            days: self.days,
            until: self.until,
            again: 0,
            broken: 0,
        };
        let mut generator = Generator::new(profile, self.seed);
        let mut events: Vec<Event> = (0..self.rows).map(|_| generator.event()).collect();
        // An export is written day by day.
        events.sort_by_key(|event| event.timestamp);
        let files = match self.files {
            Files::Equal(files) => equal(&events, files),
            Files::Monthly => monthly(&events),
            Files::Spans(minutes) => spans(&events, minutes),
        };
        files
            .into_iter()
            .map(|(name, events)| {
                let path = folder.join(format!("{name}.parquet"));
                std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
                self.file(&path, events, &generator)
                    .with_context(|| format!("can't write {}", path.display()))?;
                Ok(path)
            })
            .collect()
    }

    fn file(&self, path: &Path, events: &[Event], generator: &Generator) -> anyhow::Result<()> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_max_row_group_row_count(Some(self.row_group))
            // Real properties are all distinct, so a dictionary would be useless.
            .set_column_dictionary_enabled(ColumnPath::from("properties"), false)
            .build();
        let mut writer = None;
        for events in events.chunks(self.row_group.min(WRITTEN_AT_ONCE)) {
            let rows = batch(events, generator)?;
            let writer = match &mut writer {
                Some(writer) => writer,
                None => writer.insert(ArrowWriter::try_new(
                    File::create(path)?,
                    rows.schema(),
                    Some(properties.clone()),
                )?),
            };
            writer.write(&rows)?;
        }
        writer.map(ArrowWriter::close).transpose()?;
        Ok(())
    }
}

fn equal(events: &[Event], files: usize) -> Vec<(String, &[Event])> {
    let share = events.len().div_ceil(files.max(1)).max(1);
    (1..).zip(events.chunks(share)).map(|(number, events)| (format!("export-{number:03}"), events)).collect()
}

fn monthly(events: &[Event]) -> Vec<(String, &[Event])> {
    let files = events.chunk_by(|one, next| month(one) == month(next));
    files.filter_map(|events| Some((month(events.first()?), events))).collect()
}

fn spans(events: &[Event], minutes: u32) -> Vec<(String, &[Event])> {
    let span = 60_000_000 * i64::from(minutes.max(1));
    let begin = |event: &Event| event.timestamp - event.timestamp.rem_euclid(span);
    let files = events.chunk_by(|one, next| begin(one) == begin(next));
    files.filter_map(|events| Some((time(begin(events.first()?), "%Y/%m/%d/%H/%M"), events))).collect()
}

/// Returns the month like `2025-01`, in UTC.
fn month(event: &Event) -> String {
    time(event.timestamp, "%Y-%m")
}

/// Formats a time in µs since 1970, in UTC.
fn time(micros: i64, format: &str) -> String {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH).strftime(format).to_string()
}

/// The person of a distinct id, always the same one.
fn person(distinct_id: &str) -> Uuid {
    let digest = Sha256::digest(distinct_id);
    Builder::from_random_bytes(digest.first_chunk().copied().unwrap_or_default()).into_uuid()
}

fn batch(events: &[Event], generator: &Generator) -> anyhow::Result<RecordBatch> {
    let texts = |text: &dyn Fn(&Event) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(events.iter().map(text)))
    };
    let moments = |shift: i64| -> ArrayRef {
        let moments = events.iter().map(|event| event.timestamp + shift);
        Arc::new(TimestampMicrosecondArray::from_iter_values(moments).with_timezone("UTC"))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("uuid", texts(&|event| event.uuid.to_string())),
        ("event", texts(&|event| event.event.to_owned())),
        ("distinct_id", texts(&|event| event.distinct_id.clone())),
        ("person_id", texts(&|event| person(&event.distinct_id).to_string())),
        ("properties", texts(&|event| generator.properties(event.properties).to_owned())),
        ("person_properties", texts(&|_| "{}".to_owned())),
        ("elements_chain", texts(&|_| String::new())),
        ("timestamp", moments(0)),
        ("created_at", moments(1_500_000)),
        ("_inserted_at", moments(3_000_000)),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}
