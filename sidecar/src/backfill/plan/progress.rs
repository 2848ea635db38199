//! Progress of making a plan.

use std::sync::atomic::{AtomicU64, Ordering};

/// Files whose footers were read, of those that are to be read.
#[derive(Debug, Default)]
pub(crate) struct PlanProgress {
    files: AtomicU64,
    read: AtomicU64,
}

impl PlanProgress {
    pub(super) fn listed(&self, files: usize) {
        self.files.fetch_add(files as u64, Ordering::Relaxed);
    }

    pub(super) fn read_one(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of files to read; 0 while the sources are being listed.
    pub(crate) fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Returns the number of files that were read.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}
