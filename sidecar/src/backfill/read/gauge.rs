//! How much is in memory while one row group is read, and whether that is still within bounds.

use std::sync::{Mutex, MutexGuard, PoisonError};

use parquet::errors::ParquetError;

/// Batches above this size gain nothing: it is past what caches hold, and what an insert takes several of.
const MOST_BATCH_BYTES: usize = 8 << 20;
/// Smaller ones cost more in calls than in rows.
const LEAST_BATCH_BYTES: usize = 64 << 10;

/// What may be in memory at once while one row group is read, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// What a batch is meant to hold.
    pub batch: usize,
    /// The most that the pages being decoded may hold together, one page (and a dictionary) for each column, and the
    /// most that a batch may grow to. A page is decompressed whole, so this must not be less than the largest page.
    pub decoded: usize,
}

impl Bounds {
    /// The bounds for a reader that may use `memory` bytes. A quarter is for pages and a quarter for the rows of a batch;
    /// the rest is for the compressed form of a page, and for the copies that growing buffers make.
    pub fn within(memory: usize) -> Self {
        let batch = (memory / 64).clamp(LEAST_BATCH_BYTES, MOST_BATCH_BYTES);
        Self { batch, decoded: (memory / 4).max(LEAST_BATCH_BYTES) }
    }
}

/// What is wrong with a page, or with getting it.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) column: String,
    pub(super) offset: u64,
    pub(super) cause: Cause,
}

/// See [`Trouble`].
#[derive(Debug)]
pub(super) enum Cause {
    Input(ParquetError),
    Damaged(String),
    TooLarge { what: &'static str, bytes: u64, bound: u64 },
}

/// What a page adds to memory when it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// Values that stand in the page itself: a batch takes no more than its bytes.
    Plain,
    /// Values that refer to others: each of them may be as long as `longest`.
    Shared { longest: u64 },
}

/// What to do about a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    /// The rows of the batch would be too many: begin it again with this many.
    Fewer(usize),
    TooLarge {
        what: &'static str,
        bytes: u64,
    },
}

/// Accounts for the pages of the columns of one row group; shared by their readers.
#[derive(Debug)]
pub(super) struct Gauge {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Rows of a batch.
    rows: usize,
    columns: Vec<Column>,
    /// Bytes of the pages that this batch has used up.
    used_up: u64,
    fewer: Option<usize>,
    trouble: Option<Trouble>,
}

#[derive(Debug, Default, Clone)]
struct Column {
    dictionary: u64,
    page: u64,
    /// Of the page that is being decoded, what the batch will have taken of it when the next one comes.
    taken: u64,
    longest: u64,
}

impl Gauge {
    /// A gauge for `columns` columns and batches of `rows` rows.
    pub(super) fn new(bounds: Bounds, columns: usize, rows: usize) -> Self {
        let state = State { rows, columns: vec![Column::default(); columns], ..State::default() };
        Self { bounds, state: Mutex::new(state) }
    }

    /// The most that a page may have.
    pub(super) fn bound(&self) -> u64 {
        self.bounds.decoded.try_into().unwrap_or(u64::MAX)
    }

    /// Whether a page of `bytes` bytes may be read into memory now, in place of the last one of its column.
    pub(super) fn admits(&self, column: usize, bytes: u64) -> Verdict {
        let state = self.lock();
        let others = state
            .columns
            .iter()
            .enumerate()
            .map(|(index, other)| other.dictionary + if index == column { 0 } else { other.page });
        let sum = others.sum::<u64>().saturating_add(bytes);
        if sum > self.bound() {
            return Verdict::TooLarge { what: "its pages together with this one", bytes: sum };
        }
        Verdict::Fits
    }

    /// A new batch begins.
    pub(super) fn begin_batch(&self) {
        let mut state = self.lock();
        state.used_up = 0;
        for column in &mut state.columns {
            column.taken = 0;
        }
    }

    /// The dictionary of `column` has been read.
    pub(super) fn dictionary(&self, column: usize, bytes: u64) {
        if let Some(column) = self.lock().columns.get_mut(column) {
            column.dictionary = bytes;
        }
    }

    /// A page of `column` with `bytes` bytes has been read. `values` is how many values it has where a row may have many
    /// of them.
    pub(super) fn page(&self, column: usize, bytes: u64, weight: Weight, values: Option<u64>) -> Verdict {
        let mut state = self.lock();
        let Some(entry) = state.columns.get_mut(column) else { return Verdict::Fits };
        let used_up = std::mem::take(&mut entry.taken);
        entry.page = bytes;
        (entry.taken, entry.longest) = match (weight, values) {
            (Weight::Plain, _) => (bytes, 0),
            (Weight::Shared { longest }, None) => (0, longest),
            (Weight::Shared { longest }, Some(values)) => (values.saturating_mul(longest.max(1)), 0),
        };
        let page_alone = entry.taken;
        state.used_up = state.used_up.saturating_add(used_up);
        if page_alone > self.bound() {
            return Verdict::TooLarge { what: "the values of a page", bytes: page_alone };
        }
        let verdict = state.verdict(self.bound());
        if let Verdict::Fewer(rows) = verdict {
            state.fewer = Some(rows);
        }
        verdict
    }

    /// Remembers what is wrong, since the decoder would pass on its text alone.
    pub(super) fn report(&self, trouble: Trouble) {
        self.lock().trouble.get_or_insert(trouble);
    }

    /// What was reported since the last call, if anything.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble.take()
    }

    /// The number of rows with which the batch should begin again, if it should.
    pub(super) fn fewer(&self) -> Option<usize> {
        self.lock().fewer.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a batch stays within `bound`, as far as its pages are known.
    fn verdict(&self, bound: u64) -> Verdict {
        let longest: u64 = self.columns.iter().map(|column| column.longest).fold(0, u64::saturating_add);
        let rows = u64::try_from(self.rows).unwrap_or(u64::MAX);
        let shared = longest.saturating_mul(rows);
        if shared.saturating_add(self.used_up) <= bound {
            return Verdict::Fits;
        }
        if self.rows <= 1 {
            return Verdict::TooLarge { what: "one row", bytes: shared.saturating_add(self.used_up) };
        }
        // Where values are shared we know how many rows fit; else half as many, and so on.
        let half = self.rows / 2;
        let fitting = (bound / 2).checked_div(longest).and_then(|rows| usize::try_from(rows).ok());
        Verdict::Fewer(fitting.map_or(half, |rows| rows.clamp(1, half)))
    }
}
