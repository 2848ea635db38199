//! Rows of row groups as Arrow batches of similar size.
//!
//! The number of rows read must match the footer.

use std::sync::Arc;
use std::vec;

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection, RowSelector};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use super::error::ReadError;
use super::footer::Footer;
use super::memory_budget::{Cause, MemoryBounds, MemoryBudget, PageError};
use super::nested::json_bytes;
use super::pages::{LEVEL_BYTES, VIEW_BYTES, width};
use super::panics::caught;
use super::row_group::RowGroup;

/// Bytes of punctuation beside a name in JSON, or of a null.
const JSON_BYTES: u64 = 8;

/// Consecutive rows of one row group.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// From 0.
    pub(crate) row_group: usize,
    /// Index of the first row in the row group, from 0.
    pub(crate) first_row: u64,
    /// The rows, with the projected columns.
    pub(crate) rows: RecordBatch,
}

/// Reads the row groups `row_groups` of `input` in the given order. Only the leaf columns
/// `projection` (at least one) are read, page by page, so that a row group may be larger than
/// memory.
///
/// `input` must answer each call independently. Two readers must not share one [`std::fs::File`],
/// because each would move the other's position.
pub(crate) fn batches<R: ChunkReader + 'static>(
    input: Arc<R>,
    footer: &Footer,
    row_groups: impl IntoIterator<Item = usize>,
    projection: &[usize],
    bounds: MemoryBounds,
) -> Batches<R> {
    Batches {
        input,
        footer: footer.clone(),
        row_groups: row_groups.into_iter().collect::<Vec<_>>().into_iter(),
        projection: projection.to_vec(),
        bounds,
        current: None,
        rest: None,
    }
}

/// Iterator over batches, made by [`batches()`]. It ends after an error.
pub(crate) struct Batches<R> {
    input: Arc<R>,
    footer: Footer,
    row_groups: vec::IntoIter<usize>,
    projection: Vec<usize>,
    bounds: MemoryBounds,
    current: Option<Current>,
    /// Decoded rows that were not returned yet.
    rest: Option<Batch>,
}

/// The row group that is being read.
struct Current {
    row_group: usize,
    /// As in the footer.
    rows: u64,
    read: u64,
    reader: ParquetRecordBatchReader,
    memory_budget: Arc<MemoryBudget>,
}

impl<R: ChunkReader + 'static> Iterator for Batches<R> {
    type Item = Result<Batch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.next_batch().transpose();
        if matches!(batch, Some(Err(_)) | None) {
            self.row_groups = Vec::new().into_iter();
            (self.current, self.rest) = (None, None);
        }
        batch
    }
}

impl<R: ChunkReader + 'static> Batches<R> {
    /// Returns decoded rows whose JSON is not much longer than a batch. A dictionary or a long name
    /// makes it longer than its pages.
    fn next_batch(&mut self) -> Result<Option<Batch>, ReadError> {
        let Some(batch) = self.rest.take().map_or_else(|| self.decoded(), |rest| Ok(Some(rest)))? else {
            return Ok(None);
        };
        let (all, longest) = (batch.rows.num_rows(), self.bounds.batch as u64 * 2);
        let mut rows = all;
        while rows > 1 && json_bytes(&batch.rows, 0..rows) > longest {
            rows /= 2;
        }
        if rows == 1 {
            self.check_row(&batch)?;
        }
        if rows == all {
            return Ok(Some(batch));
        }
        let Batch { row_group, first_row, rows: all_rows } = batch;
        let rest = all_rows.slice(rows, all - rows);
        self.rest = Some(Batch { row_group, first_row: first_row.saturating_add(rows as u64), rows: rest });
        Ok(Some(Batch { row_group, first_row, rows: all_rows.slice(0, rows) }))
    }

    /// Fails if the JSON of the first row alone exceeds the memory.
    fn check_row(&self, batch: &Batch) -> Result<(), ReadError> {
        let (bytes, bound) = (json_bytes(&batch.rows, 0..1), self.bounds.decoded as u64);
        if bytes <= bound {
            return Ok(());
        }
        let columns = batch.rows.schema();
        let nested = columns.fields().iter().filter(|field| field.data_type().is_nested());
        Err(ReadError::TooLarge {
            file: self.footer.file().to_owned(),
            row_group: batch.row_group,
            column: nested.map(|field| field.name().as_str()).collect::<Vec<_>>().join(", "),
            offset: None,
            what: "one row as JSON",
            bytes,
            bound,
        })
    }

    fn decoded(&mut self) -> Result<Option<Batch>, ReadError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(row_group) = self.row_groups.next() else { return Ok(None) };
                if self.is_empty(row_group)? {
                    continue;
                }
                let rows = batch_rows(self.row_group(row_group)?, &self.projection, self.bounds);
                self.current = Some(self.open(row_group, 0, rows)?);
                continue;
            };
            current.memory_budget.begin_batch();
            match caught(|| current.reader.next().transpose().map_err(|error| error.to_string())) {
                Ok(Some(rows)) => return Self::count(self.footer.file(), current, rows).map(Some),
                Ok(None) => {
                    self.check_count()?;
                    self.current = None;
                }
                Err(problem) => {
                    let (row_group, read) = (current.row_group, current.read);
                    let (trouble, fewer) = (current.memory_budget.trouble(), current.memory_budget.fewer());
                    match (trouble, fewer) {
                        (None, Some(fewer)) => self.current = Some(self.open(row_group, read, fewer)?),
                        (None, None) => {
                            let column = self.failing_column(row_group, read);
                            return Err(self.damaged(row_group, read, column, None, problem));
                        }
                        (Some(trouble), _) => return Err(self.error(row_group, read, trouble)),
                    }
                }
            }
        }
    }

    fn row_group(&self, row_group: usize) -> Result<&RowGroupMetaData, ReadError> {
        let groups = self.footer.metadata.row_groups();
        groups.get(row_group).ok_or_else(|| ReadError::NoRowGroup {
            file: self.footer.file().to_owned(),
            row_group,
            row_groups: groups.len(),
        })
    }

    /// Whether a row group has neither rows nor values. Writers give its columns byte offsets that
    /// lead nowhere.
    fn is_empty(&self, row_group: usize) -> Result<bool, ReadError> {
        let group = self.row_group(row_group)?;
        let has_values =
            |leaf: &usize| group.columns().get(*leaf).is_some_and(|column| column.num_values() != 0);
        Ok(group.num_rows() == 0 && !self.projection.iter().any(has_values))
    }

    /// Opens a row group behind its first `read` rows, with batches of `batch_rows` rows.
    fn open(&self, row_group: usize, read: u64, batch_rows: usize) -> Result<Current, ReadError> {
        self.open_leaves(&self.projection, row_group, read, batch_rows)
    }

    fn open_leaves(
        &self,
        leaves: &[usize],
        row_group: usize,
        read: u64,
        batch_rows: usize,
    ) -> Result<Current, ReadError> {
        let rows = u64::try_from(self.row_group(row_group)?.num_rows()).unwrap_or(0);
        let memory_budget = Arc::new(MemoryBudget::new(self.bounds, leaves.len(), batch_rows));
        let reader = caught(|| {
            let levels = self.footer.levels(leaves)?;
            let pages = RowGroup {
                input: self.input.clone(),
                metadata: self.footer.metadata.clone(),
                row_group,
                projection: leaves.to_vec(),
                memory_budget: memory_budget.clone(),
            };
            // One row more than expected is selected, so that extra rows are detected.
            let (skipped, left) = (as_rows(read), as_rows(rows.saturating_sub(read).saturating_add(1)));
            let rest = [RowSelector::skip(skipped), RowSelector::select(left)];
            let selection = (read > 0).then(|| RowSelection::from(rest.to_vec()));
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, &pages, batch_rows, selection)
        });
        let reader = reader.map_err(|problem| match memory_budget.trouble() {
            Some(trouble) => self.error(row_group, read, trouble),
            None => self.damaged(row_group, read, None, None, problem),
        })?;
        Ok(Current { row_group, rows, read, reader, memory_budget })
    }

    /// Returns a batch with its position. Fails if the footer has fewer rows.
    fn count(file: &str, current: &mut Current, rows: RecordBatch) -> Result<Batch, ReadError> {
        let (row_group, first_row) = (current.row_group, current.read);
        current.read = current.read.saturating_add(rows.num_rows() as u64);
        let (footer, read) = (current.rows, current.read);
        if read > footer {
            return Err(ReadError::RowCount { file: file.to_owned(), row_group, footer, read });
        }
        Ok(Batch { row_group, first_row, rows })
    }

    /// Fails if the row group ends before all of its rows were read.
    fn check_count(&self) -> Result<(), ReadError> {
        match &self.current {
            Some(Current { row_group, rows, read, .. }) if rows != read => Err(ReadError::RowCount {
                file: self.footer.file().to_owned(),
                row_group: *row_group,
                footer: *rows,
                read: *read,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the path of the first column that the decoder fails on behind `read` rows. The
    /// decoder itself does not name it, so each column is decoded alone.
    fn failing_column(&self, row_group: usize, read: u64) -> Option<String> {
        let group = self.row_group(row_group).ok()?;
        let rows = batch_rows(group, &self.projection, self.bounds);
        let fails = |leaf: &&usize| match self.open_leaves(&[**leaf], row_group, read, rows) {
            Ok(mut column) => {
                let is_fault = caught(|| column.reader.next().transpose()).is_err();
                is_fault && column.memory_budget.fewer().is_none()
            }
            Err(_) => true,
        };
        let leaf = self.projection.iter().find(fails)?;
        Some(group.columns().get(*leaf)?.column_path().string())
    }

    /// Returns the error of a fault that a page reader reported.
    fn error(&self, row_group: usize, row: u64, trouble: PageError) -> ReadError {
        let file = self.footer.file().to_owned();
        let PageError { column, offset, cause } = trouble;
        match cause {
            Cause::Input(source) => ReadError::Input { file, row_group, column, offset, source },
            Cause::TooLarge { what, bytes, bound } => {
                let offset = Some(offset);
                ReadError::TooLarge { file, row_group, column, offset, what, bytes, bound }
            }
            Cause::Damaged(problem) => self.damaged(row_group, row, Some(column), Some(offset), problem),
        }
    }

    fn damaged(
        &self,
        row_group: usize,
        row: u64,
        column: Option<String>,
        offset: Option<u64>,
        problem: String,
    ) -> ReadError {
        ReadError::Damaged { file: self.footer.file().to_owned(), row_group, row, column, offset, problem }
    }
}

/// Returns the number of rows with about the target size of a batch.
fn batch_rows(group: &RowGroupMetaData, projection: &[usize], bounds: MemoryBounds) -> usize {
    let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
    let columns = projection.iter().filter_map(|leaf| group.columns().get(*leaf));
    let bytes = columns.map(|column| column_bytes(column, rows)).fold(0, u64::saturating_add);
    let row = (bytes / rows).max(1);
    as_rows((bounds.batch as u64 / row).max(1)).min(bounds.rows)
}

/// Returns about the bytes of a column's decoded values, and of their JSON if they are nested.
/// Nulls take nearly nothing in a file, and as much as other values in memory.
fn column_bytes(column: &ColumnChunkMetaData, rows: u64) -> u64 {
    let pages = u64::try_from(column.uncompressed_size()).unwrap_or(0);
    // Some writers record the size of the values without their dictionary.
    let values = column.unencoded_byte_array_data_bytes().and_then(|bytes| u64::try_from(bytes).ok());
    let data = pages.max(values.unwrap_or(0));
    let value = width(column.column_type(), column.column_descr().type_length()).unwrap_or(VIEW_BYTES);
    let path = column.column_path().parts();
    if path.len() < 2 {
        return data.max(value.saturating_mul(rows));
    }
    let names: usize = path.iter().skip(1).map(String::len).sum();
    let count = u64::try_from(column.num_values()).unwrap_or(0).max(rows);
    data.saturating_add((value + LEVEL_BYTES + names as u64 + JSON_BYTES).saturating_mul(count))
}

fn as_rows(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
