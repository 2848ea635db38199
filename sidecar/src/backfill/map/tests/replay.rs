//! Replay of fixed rows from quarantine files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::file::properties::WriterProperties;

use super::{Event, Mapping, events, map_file};
use crate::backfill::map::Quarantine;
use crate::backfill::read::{self, MemoryBounds};

const ROWS: usize = 100;

/// Valid columns: uuid, event, team, distinct_id, timestamp, and one that no mapping uses.
fn good() -> [(&'static str, ArrayRef); 6] {
    let rows = || 0..ROWS;
    [
        ("uuid", Arc::new(StringArray::from_iter_values(rows().map(|row| format!("{row:032x}"))))),
        ("event", Arc::new(StringArray::from_iter_values(rows().map(|row| format!("event {}", row % 3))))),
        ("team_id", Arc::new(Int64Array::from_iter_values(rows().map(|row| row as i64 % 5)))),
        (
            "distinct_id",
            Arc::new(StringArray::from_iter_values(rows().map(|row| format!("user {}", row % 7)))),
        ),
        (
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows().map(|row| row as i64 * 1000))),
        ),
        ("unused", Arc::new(Int64Array::from_iter_values(rows().map(|row| row as i64)))),
    ]
}

/// Writes `columns` as a file that declares strings as UTF-8, whatever their bytes.
fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .expect("equal lengths");
    let schema = batch.schema();
    let declared = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Binary => Field::clone(field).with_data_type(DataType::Utf8),
        _ => Field::clone(field),
    });
    let declared = Schema::new(declared.collect::<Vec<_>>());
    let options = ArrowWriterOptions::new()
        .with_parquet_schema(ArrowSchemaConverter::new().convert(&declared).expect("plain types"))
        .with_skip_arrow_metadata(true)
        .with_properties(WriterProperties::builder().set_max_row_group_row_count(Some(40)).build());
    let mut writer =
        ArrowWriter::try_new_with_options(File::create(path).expect("a file"), schema.clone(), options)
            .expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

/// Makes some rows invalid and returns each row with its expected reason.
fn spoil(columns: &mut [(&'static str, ArrayRef)]) -> Vec<(i64, &'static str)> {
    for (name, array) in columns.iter_mut() {
        match *name {
            "uuid" => {
                let texts = array.as_string::<i32>().iter().enumerate();
                *array = Arc::new(
                    texts
                        .map(|(row, text)| if row == 3 { Some("nobody") } else { text })
                        .collect::<StringArray>(),
                );
            }
            "event" => {
                let texts = array.as_string::<i32>().iter().enumerate();
                let spoiled = texts.map(|(row, text)| match row {
                    41 => Some(b"\xff\xfe".as_slice()),
                    _ => text.map(str::as_bytes),
                });
                *array = Arc::new(spoiled.collect::<BinaryArray>());
            }
            "team_id" => {
                let teams = array.as_primitive::<Int64Type>().iter().enumerate();
                *array = Arc::new(
                    teams.map(|(row, team)| team.filter(|_| row != 3 && row != 99)).collect::<Int64Array>(),
                );
            }
            "timestamp" => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().iter().enumerate();
                let spoiled = micros.map(|(row, micros)| if row == 55 { Some(i64::MIN) } else { micros });
                *array = Arc::new(spoiled.collect::<TimestampMicrosecondArray>());
            }
            _ => {}
        }
    }
    vec![
        (3, "uuid \"nobody\" in column uuid is not a UUID; team_id is null (column team_id)"),
        (41, "event \"\u{fffd}\u{fffd}\" in column event is not UTF-8"),
        (
            55,
            "timestamp -9223372036854775808 µs since 1970 in column timestamp is outside the years 1900 to 2299 in UTC",
        ),
        (99, "team_id is null (column team_id)"),
    ]
}

/// Maps a file into events and, if rows are rejected, a quarantine file.
fn load(path: &Path, mapping: &Mapping, quarantine: &Path) -> Vec<Event> {
    let footer = read::footer("source", &File::open(path).expect("there")).expect("a footer");
    let mut kept = None;
    let mut all = Vec::new();
    for (batch, mapped) in map_file(path, mapping, None) {
        all.extend(events(&mapped));
        if !mapped.rejects.is_empty() {
            let kept = kept.get_or_insert_with(|| {
                Quarantine::create(quarantine, &batch.rows.schema()).expect("a quarantine")
            });
            kept.add(footer.file(), &batch, &mapped.rejects).expect("kept");
            assert!(!quarantine.exists(), "it must not be seen before it is whole");
        }
    }
    if let Some(kept) = kept {
        kept.finish().expect("in its place");
    }
    all
}

/// File, row group, row and reason of each row in a quarantine file.
fn places(path: &Path) -> Vec<(String, i64, i64, String)> {
    let input = Arc::new(File::open(path).expect("there"));
    let footer = read::footer("quarantine", &*input).expect("a footer");
    let leaves: Vec<usize> = (0..footer.schema().fields().len()).collect();
    let mut places = Vec::new();
    for batch in read::batches(input, &footer, [0], &leaves, MemoryBounds::within(1 << 20)) {
        let rows = batch.expect("good rows").rows;
        let text =
            |name: &str, row| String::from_utf8_lossy(rows[name].as_binary_view().value(row)).into_owned();
        let number = |name: &str, row: usize| rows[name].as_primitive::<Int64Type>().value(row);
        let place =
            |row| (text("_file", row), number("_row_group", row), number("_row", row), text("_reason", row));
        places.extend((0..rows.num_rows()).map(place));
    }
    places
}

#[test]
fn a_corrupted_file_comes_to_all_its_events_when_its_rejects_are_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let identity = Mapping::preset("identity", &[]).expect("it is there");
    write(&path("good"), good().to_vec());
    let mut spoiled = good();
    let reasons = spoil(&mut spoiled);
    write(&path("spoiled"), spoiled.to_vec());

    let wanted = load(&path("good"), &identity, &path("none"));
    assert!(!path("none").exists());
    let first = load(&path("spoiled"), &identity, &path("rejects"));
    assert_eq!(first.len() + reasons.len(), ROWS);

    // The file has the row position, the reason, and the mapped columns with their types in the
    // source.
    let footer = read::footer("rejects", &File::open(path("rejects")).expect("there")).expect("a footer");
    let declared = footer.declared().fields().iter().map(|field| (field.name().as_str(), field.data_type()));
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(
        declared.collect::<Vec<_>>(),
        [
            ("uuid", &DataType::Utf8),
            ("event", &DataType::Utf8),
            ("team_id", &DataType::Int64),
            ("distinct_id", &DataType::Utf8),
            ("timestamp", &micros),
            ("_file", &DataType::Utf8),
            ("_row_group", &DataType::Int64),
            ("_row", &DataType::Int64),
            ("_reason", &DataType::Utf8),
        ]
    );
    let wanted_places: Vec<_> = reasons
        .iter()
        .map(|(row, reason)| ("source".to_owned(), row / 40, row % 40, (*reason).to_owned()))
        .collect();
    assert_eq!(places(&path("rejects")), wanted_places);

    write(&path("mended"), mended(&reasons));
    let second = load(&path("mended"), &identity, &path("none"));
    let mut all: Vec<Event> = first.into_iter().chain(second).collect();
    all.sort_by_key(|event| event.uuid);
    assert_eq!(all, wanted);
    assert!(!path("none").exists());
}

/// The rejected rows with valid values, including the quarantine's columns.
fn mended(reasons: &[(i64, &'static str)]) -> Vec<(&'static str, ArrayRef)> {
    let rows = Int64Array::from_iter_values(reasons.iter().map(|(row, _)| *row));
    let mut columns: Vec<(&str, ArrayRef)> = good()
        .into_iter()
        .filter(|(name, _)| *name != "unused")
        .map(|(name, array)| (name, arrow_select::take::take(&array, &rows, None).expect("rows of it")))
        .collect();
    columns.push(("_row", Arc::new(rows)));
    columns
        .push(("_reason", Arc::new(StringArray::from_iter_values(reasons.iter().map(|(_, reason)| reason)))));
    columns
}
