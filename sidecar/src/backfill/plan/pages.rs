//! Memory for the pages of a plan's files.

use std::cmp::Reverse;
use std::num::NonZeroU64;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use super::Cut;
use crate::backfill::memory::{decoding, largest_slice, memory_for_pages};
use crate::backfill::read::{Footer, open_pages, row_group_bytes};
use crate::backfill::source::{Object, SourceError};

/// Files whose page headers are read, all at once. Other files of a load were mostly written in the
/// same way, and a plan of many files must stay quick.
const MEASURED_FILES: usize = 16;

/// A file with the leaf columns that a load reads.
pub(super) struct ProjectedFile {
    pub(super) object: Object,
    pub(super) footer: Footer,
    pub(super) leaves: Vec<usize>,
}

/// Pages of the plan's files within `--memory`.
pub(super) struct PageNeeds {
    /// The most that one file has open at once, 0 if that fits beside slices of every size.
    pub(super) bytes: u64,
    /// A fault for each file whose pages don't fit.
    pub(super) faults: Vec<String>,
}

/// Reads the headers of the first pages of the files with the largest row groups.
pub(super) async fn page_needs(
    files: impl Iterator<Item = ProjectedFile>,
    memory: NonZeroU64,
) -> Result<PageNeeds, SourceError> {
    let bound = |page_bytes| decoding(memory, page_bytes).decoded as u64;
    let usual = bound(0);
    let with_bytes = files.map(|file| (row_group_bytes(&file.footer, &file.leaves), file));
    let mut large: Vec<(u64, ProjectedFile)> = with_bytes.filter(|(bytes, _)| *bytes > usual).collect();
    large.sort_by_key(|(bytes, _)| Reverse(*bytes));
    large.truncate(MEASURED_FILES);
    let measured = stream::iter(large).map(|(_, file)| measure(file, usual)).buffered(MEASURED_FILES);
    let measured: Vec<(String, u64)> = measured.try_collect().await?;
    let most = measured.iter().map(|(_, bytes)| *bytes).max().unwrap_or_default();
    let too_large = measured.iter().filter(|(_, bytes)| *bytes > bound(*bytes));
    let fault = |(location, bytes): &(String, u64)| {
        format!(
            "{location}: its pages need {bytes} bytes at once: give --memory {}MiB, or write it again with smaller row \
             groups or pages",
            memory_for_pages(*bytes)
        )
    };
    Ok(PageNeeds { bytes: if most > usual { most } else { 0 }, faults: too_large.map(fault).collect() })
}

async fn measure(file: ProjectedFile, usual: u64) -> Result<(String, u64), SourceError> {
    let reader = Arc::new(file.object.open().await?);
    let location = file.object.location;
    let (footer, leaves) = (file.footer, file.leaves);
    let measured = Handle::current().spawn_blocking(move || open_pages(reader, &footer, &leaves, usual));
    let bytes = measured.await.map_err(|_| SourceError::Stopped { location: location.clone() })?;
    Ok((location, bytes))
}

/// Returns the cut with slices that leave the memory that the pages need.
pub(super) fn cut_beside(cut: Cut, memory: NonZeroU64, page_bytes: u64) -> Cut {
    let largest = largest_slice(memory, page_bytes);
    if page_bytes == 0 || cut.slice_bytes <= largest.get() { cut } else { Cut::slices_of(largest) }
}
