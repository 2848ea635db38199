//! Memory budget of the row group that is being read.

use std::sync::{Mutex, MutexGuard, PoisonError};

use parquet::errors::ParquetError;

/// Larger batches bring no benefit: they exceed the caches, and an insert block takes several of
/// them.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// Smaller batches cost more for calls than for rows.
const MIN_BATCH_BYTES: usize = 64 << 10;
/// Batches of more rows bring no benefit, however short the rows are.
const MAX_ROWS: usize = 65_536;

/// Limits, in bytes, on memory in use while one row group is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryBounds {
    /// Target size of a batch.
    pub(crate) batch: usize,
    /// Maximum number of rows of a batch.
    pub(crate) rows: usize,
    /// Limit on all pages in memory: a page and a dictionary for each column, further pages that
    /// the batch refers to, and the compressed form of the page that is being read.
    pub(crate) decoded: usize,
}

impl MemoryBounds {
    /// Returns the limits for a reader that may use `memory` bytes. Three quarters are for pages.
    /// The rest is for the values of a batch beside its pages, and for its JSON.
    pub(crate) fn within(memory: usize) -> Self {
        let batch = (memory / 64).clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES);
        Self { batch, rows: MAX_ROWS, decoded: (memory / 4 * 3).max(MIN_BATCH_BYTES) }
    }

    /// Returns the memory of a reader that may have `pages` bytes of pages.
    pub(crate) fn memory_for(pages: u64) -> u64 {
        pages.div_ceil(3).saturating_mul(4)
    }

    /// Limits for rows that grow by `added` bytes each after they are read, so that the growth of a
    /// batch is no more than a batch.
    pub(crate) fn for_growth(self, added: usize) -> Self {
        let rows = self.batch.checked_div(added).unwrap_or(self.rows);
        Self { rows: rows.clamp(1, self.rows), ..self }
    }
}

/// A fault of a page or of its read.
#[derive(Debug)]
pub(super) struct PageError {
    pub(super) column: String,
    pub(super) offset: u64,
    pub(super) cause: Cause,
}

/// Cause of a [`PageError`].
#[derive(Debug)]
pub(super) enum Cause {
    Input(ParquetError),
    Damaged(String),
    TooLarge { what: &'static str, bytes: u64, bound: u64 },
}

/// Memory that the values of a page take in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageMemory {
    /// Bytes of all values, if the batch takes the whole page.
    pub(super) all: u64,
    /// Limit on the bytes of one row's values, if the page may expand further than its size shows.
    pub(super) row: u64,
}

/// Admission of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Fits,
    /// The batch has too many rows: restart it with this many.
    Fewer(usize),
    TooLarge {
        what: &'static str,
        bytes: u64,
    },
}

/// Accounting for the pages of one row group, shared by the readers of its columns.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    bounds: MemoryBounds,
    state: Mutex<BatchState>,
}

#[derive(Debug, Default)]
struct BatchState {
    /// Per batch.
    rows: usize,
    columns: Vec<ColumnBytes>,
    /// Bytes of the pages that this batch has consumed.
    used_up: u64,
    fewer: Option<usize>,
    trouble: Option<PageError>,
}

#[derive(Debug, Default, Clone)]
struct ColumnBytes {
    dictionary: u64,
    page: u64,
    /// Bytes of the page being decoded that the batch will have taken when the next page comes.
    taken: u64,
    row: u64,
}

impl MemoryBudget {
    pub(super) fn new(bounds: MemoryBounds, columns: usize, rows: usize) -> Self {
        let state =
            BatchState { rows, columns: vec![ColumnBytes::default(); columns], ..BatchState::default() };
        Self { bounds, state: Mutex::new(state) }
    }

    /// Returns the limit on all pages, in bytes.
    pub(super) fn bound(&self) -> u64 {
        self.bounds.decoded.try_into().unwrap_or(u64::MAX)
    }

    /// Whether a page of `bytes` bytes may be read into memory now, beside its `compressed` bytes.
    /// The previous page of its column is released only afterwards.
    pub(super) fn admits(&self, bytes: u64, compressed: u64) -> Admission {
        let mut state = self.lock();
        let open: u64 = state.columns.iter().map(|column| column.dictionary + column.page).sum();
        let alone = open.saturating_add(bytes).saturating_add(compressed);
        if alone > self.bound() {
            return Admission::TooLarge { what: "its open pages including the page", bytes: alone };
        }
        state.judge(alone, self.bound())
    }

    /// Resets the counts of the batch.
    pub(super) fn begin_batch(&self) {
        let mut state = self.lock();
        state.used_up = 0;
        for column in &mut state.columns {
            column.taken = 0;
        }
    }

    /// Records the dictionary of `column`.
    pub(super) fn dictionary(&self, column: usize, bytes: u64) {
        if let Some(column) = self.lock().columns.get_mut(column) {
            column.dictionary = bytes;
        }
    }

    /// Records a page of `column` with `bytes` bytes.
    pub(super) fn page(&self, column: usize, bytes: u64, memory: PageMemory) -> Admission {
        let mut state = self.lock();
        let Some(entry) = state.columns.get_mut(column) else { return Admission::Fits };
        let used_up = std::mem::take(&mut entry.taken);
        (entry.page, entry.taken, entry.row) = (bytes, memory.all, memory.row);
        state.used_up = state.used_up.saturating_add(used_up);
        state.judge(0, self.bound())
    }

    /// Keeps the fault, because the decoder passes on its text alone.
    pub(super) fn report(&self, trouble: PageError) {
        self.lock().trouble.get_or_insert(trouble);
    }

    /// Takes the fault reported since the last call.
    pub(super) fn trouble(&self) -> Option<PageError> {
        self.lock().trouble.take()
    }

    /// Takes the number of rows to restart the batch with.
    pub(super) fn fewer(&self) -> Option<usize> {
        self.lock().fewer.take()
    }

    fn lock(&self) -> MutexGuard<'_, BatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BatchState {
    /// Whether a batch stays within `bound` beside `open` bytes of pages, by the pages read so far.
    fn judge(&mut self, open: u64, bound: u64) -> Admission {
        let row: u64 = self.columns.iter().map(|column| column.row).fold(0, u64::saturating_add);
        let rows = u64::try_from(self.rows).unwrap_or(u64::MAX);
        let bytes = row.saturating_mul(rows).saturating_add(self.used_up).saturating_add(open);
        if bytes <= bound {
            return Admission::Fits;
        }
        if self.rows <= 1 {
            return Admission::TooLarge { what: "one row", bytes };
        }
        // The limit of a row gives the number of rows that fit. Without it, each attempt halves the
        // rows.
        let half = self.rows / 2;
        let fitting = (bound.saturating_sub(open) / 2).checked_div(row);
        let fitting = fitting.and_then(|rows| usize::try_from(rows).ok());
        let fewer = fitting.map_or(half, |rows| rows.clamp(1, half));
        self.fewer = Some(fewer);
        Admission::Fewer(fewer)
    }
}
