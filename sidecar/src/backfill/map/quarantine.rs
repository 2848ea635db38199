//! Parquet quarantine files of rejected rows.
//!
//! A quarantine file has the source columns, the position and the reason of each rejected row, so
//! that the rows can be fixed and reloaded.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use tempfile::NamedTempFile;

use super::reject::Reject;
use crate::backfill::read::{Batch, DeclaredType};

/// Maximum size of a buffered row group, which bounds memory when many rows are rejected.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// Columns of a quarantine file behind those of its source.
pub(super) const PLACE_COLUMNS: [(&str, DataType); 4] = [
    ("_file", DataType::Utf8),
    ("_row_group", DataType::Int64),
    ("_row", DataType::Int64),
    ("_reason", DataType::Utf8),
];

/// Writer of one unit's rejected rows. The file appears under its name only when it is complete, by
/// [`Quarantine::finish`]. A writer that is dropped earlier leaves no file.
///
/// Each row has the source columns that the mapping uses, with their types in the source (INT96
/// becomes a timestamp in microseconds), and `_file`, `_row_group`, `_row` (both from 0) and
/// `_reason`. The same mapping can load the file, because a mapping ignores other columns.
pub(crate) struct Quarantine {
    path: PathBuf,
    rows: u64,
    schema: SchemaRef,
    writer: ArrowWriter<NamedTempFile>,
}

impl Quarantine {
    /// Creates the file `path` for rejected rows of sources whose batches have the schema
    /// `columns`.
    pub(crate) fn create(path: &Path, columns: &Schema) -> anyhow::Result<Self> {
        let schema = with_place(columns.fields.iter().cloned().collect());
        let declared = with_place(columns.fields.iter().map(declared).collect());
        let parquet = ArrowSchemaConverter::new().convert(&declared).with_context(|| cant_add(path))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_parquet_schema(parquet)
            .with_skip_arrow_metadata(true);
        // In the same folder, because a rename is atomic only within one file system.
        let temporary = NamedTempFile::new_in(folder(path)).with_context(|| cant_write(path))?;
        let schema = Arc::new(schema);
        let writer = ArrowWriter::try_new_with_options(temporary, schema.clone(), options)
            .with_context(|| cant_add(path))?;
        Ok(Self { path: path.to_owned(), rows: 0, schema, writer })
    }

    /// Appends the rejected rows of a batch of the source `file`.
    pub(crate) fn add(&mut self, file: &str, batch: &Batch, rejects: &[Reject]) -> anyhow::Result<()> {
        let rows = self.rows_of(file, batch, rejects);
        let rows = rows.map_err(ParquetError::from).with_context(|| cant_add(&self.path))?;
        self.writer.write(&rows).map_err(|error| failed(&self.path, error))?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES {
            self.writer.flush().map_err(|error| failed(&self.path, error))?;
        }
        self.rows = self.rows.saturating_add(rejects.len() as u64);
        Ok(())
    }

    /// Renames the file to its final path, replacing an older one, and syncs it and its folder.
    /// Returns the number of rows.
    pub(crate) fn finish(self) -> anyhow::Result<u64> {
        let Self { path, rows, writer, .. } = self;
        let temporary = writer.into_inner().map_err(|error| failed(&path, error))?;
        let synced = temporary.as_file().sync_all();
        let persisted = synced.and_then(|()| temporary.persist(&path).map_err(|error| error.error));
        persisted.and_then(|_| File::open(folder(&path))?.sync_all()).with_context(|| cant_write(&path))?;
        Ok(rows)
    }

    fn rows_of(&self, file: &str, batch: &Batch, rejects: &[Reject]) -> Result<RecordBatch, ArrowError> {
        let places = || rejects.iter().map(|reject| reject.row as u64);
        let rows = take_record_batch(&batch.rows, &UInt64Array::from_iter_values(places()))?;
        let as_number = |place: u64| i64::try_from(place).unwrap_or(i64::MAX);
        let group = as_number(batch.row_group as u64);
        let place: [ArrayRef; 4] = [
            Arc::new(StringArray::from_iter_values(rejects.iter().map(|_| file))),
            Arc::new(Int64Array::from_iter_values(rejects.iter().map(|_| group))),
            Arc::new(Int64Array::from_iter_values(
                places().map(|row| as_number(batch.first_row.saturating_add(row))),
            )),
            Arc::new(StringArray::from_iter_values(rejects.iter().map(|reject| &reject.reason))),
        ];
        let columns = rows.columns().iter().cloned().chain(place).collect();
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

/// The message for a file that can't be created, written or renamed.
pub(crate) fn cant_write(path: &Path) -> String {
    format!(
        "can't write the quarantine file {}: make room or give another folder, then run again",
        path.display()
    )
}

/// A fault of the disk, or of a row.
fn failed(path: &Path, error: ParquetError) -> anyhow::Error {
    let is_of_disk = matches!(&error, ParquetError::External(cause) if cause.is::<io::Error>());
    let message = if is_of_disk { cant_write(path) } else { cant_add(path) };
    anyhow::Error::from(error).context(message)
}

fn cant_add(path: &Path) -> String {
    format!("can't write rejected rows to the quarantine file {}", path.display())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `fields` plus the four quarantine columns. A quarantine column whose name is taken gets a
/// leading underscore.
fn with_place(mut fields: Vec<FieldRef>) -> Schema {
    for (name, data_type) in PLACE_COLUMNS {
        let mut name = name.to_owned();
        while fields.iter().any(|field| *field.name() == name) {
            name.insert(0, '_');
        }
        fields.push(Arc::new(Field::new(name, data_type, false)));
    }
    Schema::new(fields)
}

/// Declares strings at every depth as UTF-8 like the source, even with invalid bytes, because
/// invalid bytes may be the reason of the reject.
fn declared(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::BinaryView if DeclaredType::is_text(field) => DataType::Utf8View,
        DataType::Struct(children) => DataType::Struct(children.iter().map(declared).collect()),
        DataType::List(item) => DataType::List(declared(item)),
        DataType::Map(entries, sorted) => DataType::Map(declared(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}
