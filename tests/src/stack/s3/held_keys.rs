//! Keys whose reads wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// The keys that are held, and the reads that have waited for each.
#[derive(Debug)]
pub(super) struct HeldKeys {
    keys: watch::Sender<BTreeSet<String>>,
    reads: Mutex<BTreeMap<String, u64>>,
}

impl Default for HeldKeys {
    fn default() -> Self {
        Self { keys: watch::Sender::new(BTreeSet::new()), reads: Mutex::default() }
    }
}

impl HeldKeys {
    pub(super) fn hold(&self, key: &str) {
        self.keys.send_modify(|keys| _ = keys.insert(key.to_owned()));
    }

    pub(super) fn release(&self, key: &str) {
        self.keys.send_modify(|keys| _ = keys.remove(key));
    }

    pub(super) fn reads(&self, key: &str) -> u64 {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or_default()
    }

    /// Waits until the key is not held.
    pub(super) async fn pass(&self, key: &str) {
        let mut keys = self.keys.subscribe();
        if keys.borrow().contains(key) {
            let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
            *reads.entry(key.to_owned()).or_default() += 1;
        }
        // The sender lives as long as this.
        let _ = keys.wait_for(|keys| !keys.contains(key)).await;
    }
}
