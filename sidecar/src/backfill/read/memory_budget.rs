//! Memory budget of the row group that is being read.

use std::sync::{Mutex, MutexGuard, PoisonError};

use parquet::errors::ParquetError;

/// Larger batches bring no benefit: they exceed the caches, and an insert block takes several of
/// them.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// Smaller batches cost more for calls than for rows.
const MIN_BATCH_BYTES: usize = 64 << 10;

/// Limits, in bytes, on memory in use while one row group is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryBounds {
    /// Target size of a batch.
    pub(crate) batch: usize,
    /// Limit on the pages being decoded together, one page (and a dictionary) for each column, and
    /// on the size of a batch. A page is decompressed whole, so this must not be less than the
    /// largest page.
    pub(crate) decoded: usize,
}

impl MemoryBounds {
    /// Returns the limits for a reader that may use `memory` bytes. A quarter is for pages and a
    /// quarter for the rows of a batch. The rest is for the compressed form of a page, and for the
    /// copies that growing buffers make.
    pub(crate) fn within(memory: usize) -> Self {
        let batch = (memory / 64).clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES);
        Self { batch, decoded: (memory / 4).max(MIN_BATCH_BYTES) }
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

/// Memory that a decoded page adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageMemory {
    /// Values inside the page itself: a batch takes at most the page's bytes.
    Plain,
    /// References to values elsewhere: each may be as long as `longest`.
    DictionaryEncoded { longest: u64 },
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
    longest: u64,
}

impl MemoryBudget {
    pub(super) fn new(bounds: MemoryBounds, columns: usize, rows: usize) -> Self {
        let state =
            BatchState { rows, columns: vec![ColumnBytes::default(); columns], ..BatchState::default() };
        Self { bounds, state: Mutex::new(state) }
    }

    /// Returns the largest permitted size of a page, in bytes.
    pub(super) fn bound(&self) -> u64 {
        self.bounds.decoded.try_into().unwrap_or(u64::MAX)
    }

    /// Whether a page of `bytes` bytes may be read into memory now, replacing the previous page of
    /// its column.
    pub(super) fn admits(&self, column: usize, bytes: u64) -> Admission {
        let state = self.lock();
        let others = state
            .columns
            .iter()
            .enumerate()
            .map(|(index, other)| other.dictionary + if index == column { 0 } else { other.page });
        let sum = others.sum::<u64>().saturating_add(bytes);
        if sum > self.bound() {
            return Admission::TooLarge { what: "its open pages including the page", bytes: sum };
        }
        Admission::Fits
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

    /// Records a page of `column` with `bytes` bytes. `values` is its number of values if a row may
    /// have many.
    pub(super) fn page(
        &self,
        column: usize,
        bytes: u64,
        weight: PageMemory,
        values: Option<u64>,
    ) -> Admission {
        let mut state = self.lock();
        let Some(entry) = state.columns.get_mut(column) else { return Admission::Fits };
        let used_up = std::mem::take(&mut entry.taken);
        entry.page = bytes;
        (entry.taken, entry.longest) = match (weight, values) {
            (PageMemory::Plain, _) => (bytes, 0),
            (PageMemory::DictionaryEncoded { longest }, None) => (0, longest),
            (PageMemory::DictionaryEncoded { longest }, Some(values)) => {
                (values.saturating_mul(longest.max(1)), 0)
            }
        };
        let page_alone = entry.taken;
        state.used_up = state.used_up.saturating_add(used_up);
        if page_alone > self.bound() {
            return Admission::TooLarge { what: "the values of a page", bytes: page_alone };
        }
        let verdict = state.verdict(self.bound());
        if let Admission::Fewer(rows) = verdict {
            state.fewer = Some(rows);
        }
        verdict
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
    /// Whether a batch stays within `bound`, by the pages read so far.
    fn verdict(&self, bound: u64) -> Admission {
        let longest: u64 = self.columns.iter().map(|column| column.longest).fold(0, u64::saturating_add);
        let rows = u64::try_from(self.rows).unwrap_or(u64::MAX);
        let shared = longest.saturating_mul(rows);
        if shared.saturating_add(self.used_up) <= bound {
            return Admission::Fits;
        }
        if self.rows <= 1 {
            return Admission::TooLarge { what: "one row", bytes: shared.saturating_add(self.used_up) };
        }
        // The length of shared values gives the number of rows that fit. Without it, each attempt
        // halves the rows.
        let half = self.rows / 2;
        let fitting = (bound / 2).checked_div(longest).and_then(|rows| usize::try_from(rows).ok());
        Admission::Fewer(fitting.map_or(half, |rows| rows.clamp(1, half)))
    }
}
