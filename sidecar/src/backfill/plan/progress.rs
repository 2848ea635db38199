//! Progress of making a plan.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Files whose footers were read, of those that are to be read.
#[derive(Debug, Default)]
pub(crate) struct PlanProgress {
    files: AtomicU64,
    read: AtomicU64,
    /// Time when the first footer was requested.
    begin: OnceLock<Instant>,
}

impl PlanProgress {
    pub(super) fn listed(&self, files: usize) {
        self.begin.get_or_init(Instant::now);
        self.files.fetch_add(files as u64, Ordering::Relaxed);
    }

    pub(super) fn read_one(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of files to read; 0 while the sources are being listed.
    pub(crate) fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Returns the time that each file has taken so far, of several at once. `None` before the
    /// first one.
    pub(super) fn per_file(&self) -> Option<Duration> {
        let read = u32::try_from(self.read()).ok().filter(|read| *read > 0)?;
        self.begin.get().map(|begin| begin.elapsed() / read)
    }

    /// Returns the number of files that were read.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}
