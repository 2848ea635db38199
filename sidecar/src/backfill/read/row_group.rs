//! A row group for the Parquet decoder: page readers by leaf column.

use std::sync::Arc;

use parquet::arrow::arrow_reader::RowGroups;
use parquet::column::page::{PageIterator, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use super::footer::uncounted_bytes;
use super::memory_budget::MemoryBudget;
use super::pages::Pages;

/// One row group, for the decoder.
pub(super) struct RowGroup<R> {
    pub(super) input: Arc<R>,
    pub(super) metadata: Arc<ParquetMetaData>,
    pub(super) row_group: usize,
    /// The leaf columns that are read. The memory budget identifies them by their index in this
    /// list.
    pub(super) projection: Vec<usize>,
    pub(super) memory_budget: Arc<MemoryBudget>,
}

impl<R: ChunkReader + 'static> RowGroups for RowGroup<R> {
    fn num_rows(&self) -> usize {
        self.row_groups().map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).sum()
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        let column = self.projection.iter().position(|projected| *projected == leaf);
        let chunk = self.row_groups().next().and_then(|group| group.columns().get(leaf));
        let (Some(column), Some(chunk)) = (column, chunk) else {
            return Err(ParquetError::General(format!("there is no column {leaf}")));
        };
        let uncounted = uncounted_bytes(&self.metadata);
        let pages = Pages::new(self.input.clone(), chunk, column, self.memory_budget.clone(), uncounted)?;
        Ok(Box::new(Chunks(Some(Box::new(pages)))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.metadata.row_groups().get(self.row_group).into_iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The chunks of a column: a row group has one.
struct Chunks(Option<Box<dyn PageReader>>);

impl Iterator for Chunks {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for Chunks {}
