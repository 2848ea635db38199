//! Memory for the pages of a file, by its footer and its first page headers.

use std::sync::Arc;

use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use super::footer::Footer;
use super::memory_budget::{MemoryBounds, MemoryBudget};
use super::pages::{FirstPages, Pages};

/// Chunks of less than this share of the limit count whole, so that few headers are read.
const SMALL_SHARE: u64 = 16;
/// Later pages are mostly as large as the first, give or take this share.
const LARGER_SHARE: u64 = 16;

/// Returns the bytes of the largest row group of the leaf columns `leaves`, with its compressed
/// form. Its pages never need more.
pub(crate) fn row_group_bytes(footer: &Footer, leaves: &[usize]) -> u64 {
    largest(footer, leaves).map(|group| group_bytes(group, leaves)).unwrap_or_default()
}

/// Returns about the bytes of pages that the largest row group of `leaves` has in memory at once:
/// one page of each column, and of one column the next page and its compressed form. Pages behind
/// the first of a column may be larger.
pub(crate) fn open_pages<R: ChunkReader>(
    input: Arc<R>,
    footer: &Footer,
    leaves: &[usize],
    limit: u64,
) -> u64 {
    let Some(group) = largest(footer, leaves) else { return 0 };
    let (mut open, mut next) = (0_u64, 0);
    for chunk in chunks(group, leaves) {
        if chunk_bytes(chunk) <= limit / SMALL_SHARE {
            open = open.saturating_add(chunk_bytes(chunk));
            continue;
        }
        let first = first_pages(input.clone(), chunk);
        let pages = first.dictionary.saturating_add(first.data);
        let rest = chunk.uncompressed_size().max(0).unsigned_abs().saturating_sub(pages);
        open = open.saturating_add(pages);
        next = first.data.min(rest).saturating_add(first.compressed).max(next);
    }
    let bytes = open.saturating_add(next);
    bytes.saturating_add(bytes / LARGER_SHARE)
}

/// The load reports a chunk that can't be read, with its place.
fn first_pages<R: ChunkReader>(input: Arc<R>, chunk: &ColumnChunkMetaData) -> FirstPages {
    let unlimited = MemoryBounds { batch: usize::MAX, rows: usize::MAX, decoded: usize::MAX };
    let budget = Arc::new(MemoryBudget::new(unlimited, 1, 1));
    let pages = Pages::new(input, chunk, 0, budget, 0).and_then(|mut pages| pages.first_pages());
    pages.unwrap_or_default()
}

fn largest<'a>(footer: &'a Footer, leaves: &[usize]) -> Option<&'a RowGroupMetaData> {
    footer.metadata.row_groups().iter().max_by_key(|group| group_bytes(group, leaves))
}

fn group_bytes(group: &RowGroupMetaData, leaves: &[usize]) -> u64 {
    chunks(group, leaves).map(chunk_bytes).fold(0, u64::saturating_add)
}

fn chunks<'a>(
    group: &'a RowGroupMetaData,
    leaves: &'a [usize],
) -> impl Iterator<Item = &'a ColumnChunkMetaData> {
    leaves.iter().filter_map(|leaf| group.columns().get(*leaf))
}

/// Pages with their compressed form, if all were open at once.
fn chunk_bytes(chunk: &ColumnChunkMetaData) -> u64 {
    let bytes = chunk.uncompressed_size().max(0).saturating_add(chunk.compressed_size().max(0));
    bytes.unsigned_abs()
}
