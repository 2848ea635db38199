//! Rejected rows and their reasons.

use std::collections::BTreeMap;

/// A row that is not a valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    /// Index in the batch, from 0.
    pub(crate) row: usize,
    /// All reasons, separated by semicolons.
    pub(crate) reason: String,
}

/// Reasons of a batch's rejected rows, by row.
#[derive(Default)]
pub(super) struct Faults {
    reasons: BTreeMap<usize, String>,
}

impl Faults {
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
