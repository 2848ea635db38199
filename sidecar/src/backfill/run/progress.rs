//! Progress of a running load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::reject_reasons::RejectReasons;

/// Reason of an early stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// `posthouse backfill cancel`, on any machine.
    Cancelled,
    /// A failed part of the load, which reports its own error.
    Failed,
}

/// A counter that never decreases, even if the same rows are counted a second time.
#[derive(Debug, Default)]
pub(crate) struct Count {
    now: AtomicI64,
    most: AtomicU64,
}

impl Count {
    pub(crate) fn get(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let now = self.now.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        self.most.fetch_max(u64::try_from(now).unwrap_or_default(), Ordering::Relaxed);
    }

    /// Restarts the count without lowering the value. The same rows will be counted a second time,
    /// plus `beside` rows of another counter. The value stays until the new count exceeds it.
    fn again(&self, beside: u64) {
        self.now.store(i64::try_from(beside).map_or(i64::MIN, |beside| -beside), Ordering::Relaxed);
    }
}

/// Counters of a load, and causes of delay. Rows are rows of the source.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Rows read, mapped and routed.
    pub(crate) read: Count,
    /// Rows in blocks that were sent and acknowledged by this run.
    pub(crate) stored: Count,
    /// Rows in blocks that were stored before.
    pub(crate) before: Count,
    pub(crate) rejected: Count,
    /// Reasons of the rejected rows that this pass has read.
    pub(crate) reject_reasons: RejectReasons,
    /// Bytes of the blocks sent and acknowledged.
    pub(crate) bytes: Count,
    /// Blocks sent and acknowledged; each becomes a part.
    pub(crate) blocks: Count,
    /// The cause of each shard's delay, by shard number.
    slowed: Mutex<BTreeMap<u32, String>>,
    stop: watch::Sender<Option<Stop>>,
    /// Whether this pass over the plan is to end; another may follow.
    ending: AtomicBool,
}

impl Progress {
    /// Sets or clears the cause of a shard's delay.
    pub(super) fn slow(&self, shard: u32, reason: Option<String>) {
        let mut slowed = self.slowed.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => _ = slowed.insert(shard, reason),
            None => _ = slowed.remove(&shard),
        }
    }

    /// Returns the delayed shards with their causes.
    pub(crate) fn slowed(&self) -> Vec<(u32, String)> {
        let slowed = self.slowed.lock().unwrap_or_else(PoisonError::into_inner);
        slowed.iter().map(|(shard, reason)| (*shard, reason.clone())).collect()
    }

    /// Requests a stop after the blocks in flight. The first reason wins.
    pub(crate) fn stop(&self, reason: Stop) {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert(reason);
            first
        });
    }

    /// Returns the reason of a requested stop.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Returns after a stop is requested.
    pub(super) async fn until_stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stop.subscribe().wait_for(Option::is_some).await;
    }

    /// Begins a pass over the plan. The pass counts blocks of earlier passes as stored before.
    pub(super) fn begin_pass(&self) {
        self.read.again(0);
        self.rejected.again(0);
        self.reject_reasons.clear();
        self.before.again(self.stored.get());
        self.ending.store(false, Ordering::Relaxed);
    }

    /// Requests an end of this pass after the blocks in flight.
    pub(super) fn end_pass(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Returns the reason to begin no more work: the load or this pass is to end.
    pub(super) fn ending(&self) -> Option<Stop> {
        self.stopped().or_else(|| self.ending.load(Ordering::Relaxed).then_some(Stop::Failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of a pass: rows before, stored, rejected.
    fn count(progress: &Progress, [before, stored, rejected]: [u64; 3]) -> [u64; 3] {
        progress.before.add(before);
        progress.stored.add(stored);
        progress.rejected.add(rejected);
        [&progress.before, &progress.stored, &progress.rejected].map(Count::get)
    }

    #[test]
    fn rows_that_a_further_pass_meets_again_count_once() {
        let progress = Progress::default();
        progress.begin_pass();
        assert_eq!(count(&progress, [10, 5, 1]), [10, 5, 1]);
        // The pass meets the fifteen rows and the reject, finds two rows whose answer was lost,
        // stores three and rejects one more.
        progress.begin_pass();
        assert_eq!(count(&progress, [12, 0, 1]), [10, 5, 1]);
        assert_eq!(count(&progress, [5, 3, 1]), [12, 8, 2]);
        // The pass ends after it has met all of them.
        progress.begin_pass();
        assert_eq!(count(&progress, [20, 0, 2]), [12, 8, 2]);
    }

    #[test]
    fn a_pass_ends_without_the_load() {
        let progress = Progress::default();
        progress.end_pass();
        assert_eq!((progress.ending(), progress.stopped()), (Some(Stop::Failed), None));
        progress.begin_pass();
        assert_eq!(progress.ending(), None);
        progress.stop(Stop::Interrupted);
        progress.end_pass();
        assert_eq!(progress.ending(), Some(Stop::Interrupted));
    }
}
