//! Tests of valid files, false metadata and decompression bombs.

mod bombs;
mod damage;
mod sizes;
mod writers;

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataWriter};
use parquet::file::properties::WriterProperties;

use super::error::ReadError;
use super::{Batch, MemoryBounds, batches, footer};

/// Name in messages of the files of these tests.
const FILE: &str = "dir/history.parquet";
const MIB: usize = 1 << 20;

fn written(columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) -> Bytes {
    let columns = columns.into_iter().map(|(name, array)| {
        let nullable = array.null_count() > 0;
        (name, array, nullable)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("equal lengths");
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    file.into()
}

/// All rows of all columns, or the first error.
fn read_all(file: &Bytes, bounds: MemoryBounds) -> Result<Vec<Batch>, ReadError> {
    let input = Arc::new(file.clone());
    let footer = footer(FILE, &*input)?;
    let leaves: Vec<usize> = (0..footer.metadata().file_metadata().schema_descr().num_columns()).collect();
    let groups = 0..footer.metadata().num_row_groups();
    batches(input, &footer, groups, &leaves, bounds).collect()
}

fn rows(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.rows.num_rows()).sum()
}

/// Replaces the footer of `file` by the result of `change`.
fn relabelled(file: &Bytes, change: impl FnOnce(ParquetMetaData) -> ParquetMetaData) -> Bytes {
    let metadata = footer(FILE, file).expect("a footer").metadata().as_ref().clone();
    let mut changed = file.to_vec();
    ParquetMetaDataWriter::new(&mut changed, &change(metadata)).finish().expect("a footer");
    changed.into()
}
