//! Files of one unit, opened ahead of the reader.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use tokio::runtime::Handle;
use tracing::Instrument;

use super::RunError;
use crate::backfill::plan::{Bundle, File, OpenFile, PlannedBytes, Unit};
use crate::backfill::read::{Batches, MemoryBounds, batches};
use crate::backfill::source::ObjectReader;

/// Small files opened at once: enough to hide the round trips of an object store. An open remote
/// file holds the blocks of its footer, which is 1 MiB for most.
const OPEN_AT_ONCE: usize = 16;

/// A file's index in the bundle, and the file.
type Opened = anyhow::Result<(usize, OpenFile)>;

/// A unit's files in order.
pub(super) struct UnitFiles {
    opening: Pin<Box<dyn Stream<Item = Opened> + Send>>,
    /// Of the only file; `None` for all of each file.
    row_groups: Option<Range<usize>>,
    runtime: Handle,
}

/// A file of a unit, with the batches of its rows.
pub(super) struct UnitFile {
    /// Index in the bundle.
    pub(super) index: usize,
    pub(super) file: OpenFile,
    pub(super) batches: Batches<ObjectReader>,
}

impl UnitFiles {
    /// Begins to open the files of a unit of `bundle`.
    pub(super) fn new(bundle: &Bundle, unit: &Unit, runtime: Handle) -> Self {
        let planned: Vec<PlannedBytes> = bundle.files.iter().map(File::planned_bytes).collect();
        let opening = planned.into_iter().enumerate().map(|(index, planned)| {
            let open = async move { planned.open().await.map(|file| (index, file)) };
            // A separate task, so that files are read while the reader decodes.
            let task = tokio::spawn(open.in_current_span());
            async move { task.await.map_err(|error| anyhow::Error::from(RunError::from(error))).flatten() }
        });
        let opening = stream::iter(opening).buffered(OPEN_AT_ONCE).boxed();
        Self { opening, row_groups: unit.row_groups.clone(), runtime }
    }

    /// Returns the next file, which is read with the columns of `bundle` and within `bounds`.
    pub(super) fn next(&mut self, bundle: &Bundle, bounds: MemoryBounds) -> Option<anyhow::Result<UnitFile>> {
        let opened = self.runtime.block_on(self.opening.next())?;
        Some(opened.map(|(index, file)| {
            let all = 0..file.footer.metadata().num_row_groups();
            let groups = self.row_groups.clone().unwrap_or(all);
            let mapper = &bundle.files[index].mapper;
            let (columns, bounds) = (mapper.projection(), bounds.for_growth(mapper.added_row_bytes()));
            let batches = batches(Arc::clone(&file.reader), &file.footer, groups, columns, bounds);
            UnitFile { index, file, batches }
        }))
    }
}
