//! What a running load has done so far, for whoever shows it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// Why a load ends before its plan does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// `posthouse backfill cancel`, here or elsewhere.
    Cancelled,
    /// A part of it failed, which is reported by itself.
    Failed,
}

/// Counters that grow, and what is in the way. Rows are those of the source.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows read, mapped and routed.
    pub read: AtomicU64,
    /// Rows in blocks that were sent and acknowledged by this run.
    pub stored: AtomicU64,
    /// Rows in blocks that were there before.
    pub before: AtomicU64,
    /// Rows that were rejected.
    pub rejected: AtomicU64,
    /// Bytes of the blocks sent and acknowledged.
    pub bytes: AtomicU64,
    /// Blocks sent and acknowledged, each a part.
    pub blocks: AtomicU64,
    /// What slows each shard down, by its number.
    slowed: Mutex<BTreeMap<u32, String>>,
    stop: watch::Sender<Option<Stop>>,
}

impl Progress {
    /// Adds to a counter.
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// A counter's value.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Says what slows a shard down, or that nothing does.
    pub(super) fn slow(&self, shard: u32, reason: Option<String>) {
        let mut slowed = self.slowed.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => _ = slowed.insert(shard, reason),
            None => _ = slowed.remove(&shard),
        }
    }

    /// What slows which shard down.
    pub fn slowed(&self) -> Vec<(u32, String)> {
        let slowed = self.slowed.lock().unwrap_or_else(PoisonError::into_inner);
        slowed.iter().map(|(shard, reason)| (*shard, reason.clone())).collect()
    }

    /// Asks for an end after the blocks under way; the first reason stays.
    pub fn stop(&self, reason: Stop) {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert(reason);
            first
        });
    }

    /// Whether and why somebody asked for an end.
    pub fn stopped(&self) -> Option<Stop> {
        *self.stop.borrow()
    }
}
