//! Rejected rows, each with every reason.

use std::collections::BTreeMap;

/// A row that is not a valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Its index in the batch, from 0.
    pub row: usize,
    /// Every reason, separated by semicolons.
    pub reason: String,
}

/// The reasons of a batch's rejects, by row.
#[derive(Default)]
pub(super) struct Faults {
    reasons: BTreeMap<usize, String>,
}

impl Faults {
    /// Adds a reason to those of `row`.
    pub(super) fn add(&mut self, row: usize, reason: &str) {
        let reasons = self.reasons.entry(row).or_default();
        if !reasons.is_empty() {
            reasons.push_str("; ");
        }
        reasons.push_str(reason);
    }

    pub(super) fn into_rejects(self) -> Vec<Reject> {
        self.reasons.into_iter().map(|(row, reason)| Reject { row, reason }).collect()
    }
}
