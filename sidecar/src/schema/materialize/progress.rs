//! Progress of a materialization, shared with the display.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Progress of all shards.
#[derive(Debug, Default)]
pub(crate) struct MaterializeProgress(Mutex<BTreeMap<usize, ShardProgress>>);

/// Progress of one shard.
#[derive(Debug, Default)]
struct ShardProgress {
    /// Rows of partitions that are done.
    done: u64,
    /// Rows of the current partition that are stored.
    stored: u64,
    status: String,
}

impl MaterializeProgress {
    /// Rows that need no further work.
    pub(crate) fn rows(&self) -> u64 {
        self.read(|shard| Some(shard.done + shard.stored)).into_iter().sum()
    }

    /// The status of each shard at work.
    pub(crate) fn statuses(&self) -> Vec<String> {
        self.read(|shard| (!shard.status.is_empty()).then(|| shard.status.clone()))
    }

    fn read<T>(&self, value: impl Fn(&ShardProgress) -> Option<T>) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(value).collect()
    }

    fn change(&self, shard: usize, change: impl FnOnce(&mut ShardProgress)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(shard).or_default());
    }

    pub(super) fn waits(&self, shard: usize, status: String) {
        self.change(shard, |shard| shard.status = status);
    }

    pub(super) fn works(&self, shard: usize, status: String, stored: u64) {
        self.change(shard, |shard| (shard.status, shard.stored) = (status, stored));
    }

    /// A partition of so many rows is done.
    pub(super) fn finish(&self, shard: usize, rows: u64) {
        self.change(shard, |shard| {
            *shard = ShardProgress { done: shard.done + rows, ..ShardProgress::default() };
        });
    }
}
