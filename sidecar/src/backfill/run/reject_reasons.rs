//! Rejected rows counted by reason, with an example each.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::backfill::map::Reject;
use crate::backfill::read::Batch;

/// Reasons counted apart. Reasons name columns, so a file has few of them.
const MAX_REASONS: usize = 100;
/// Replaces the reasons beyond [`MAX_REASONS`].
const OTHERS: &str = "other reasons";
/// Replaces a value in a reason.
const VALUE: &str = "…";

/// Rows that were rejected for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RejectReason {
    /// Without the values of the rows.
    pub(crate) reason: String,
    /// A row counts for each of its reasons.
    pub(crate) rows: u64,
    pub(crate) example: RejectExample,
}

/// One rejected row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RejectExample {
    /// The file.
    pub(crate) location: String,
    /// From 0.
    pub(crate) row_group: usize,
    /// Index in the row group, from 0.
    pub(crate) row: u64,
    /// All reasons, with the row's values.
    pub(crate) reason: String,
}

/// Counts by reason, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct RejectReasons(Mutex<BTreeMap<String, RejectReason>>);

impl RejectReasons {
    /// Adds the rejected rows of a batch.
    pub(super) fn add(&self, location: &str, batch: &Batch, rejects: &[Reject]) {
        let mut reasons = self.lock();
        for reject in rejects {
            let example = || RejectExample {
                location: location.to_owned(),
                row_group: batch.row_group,
                row: batch.first_row + reject.row as u64,
                reason: reject.reason.clone(),
            };
            for reason in without_values(&reject.reason).split("; ") {
                count(&mut reasons, reason, example);
            }
        }
    }

    /// Returns the reasons, the most frequent first.
    pub(crate) fn all(&self) -> Vec<RejectReason> {
        let mut reasons: Vec<RejectReason> = self.lock().values().cloned().collect();
        // The sort is stable, so equal counts stay in the order of their reasons.
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.rows));
        reasons
    }

    /// Forgets all, because the rows will be read again.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, RejectReason>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(
    reasons: &mut BTreeMap<String, RejectReason>,
    reason: &str,
    example: impl FnOnce() -> RejectExample,
) {
    let is_full = reasons.len() >= MAX_REASONS && !reasons.contains_key(reason);
    let reason = if is_full { OTHERS } else { reason };
    if let Some(known) = reasons.get_mut(reason) {
        known.rows += 1;
    } else {
        let first = RejectReason { reason: reason.to_owned(), rows: 1, example: example() };
        reasons.insert(reason.to_owned(), first);
    }
}

/// Returns a reason without its quoted texts and its numbers, so that rows with the same fault have
/// the same reason.
pub(super) fn without_values(reason: &str) -> String {
    let mut plain = String::new();
    let mut rest = reason;
    while let Some((before, quoted)) = rest.split_once('"') {
        plain.push_str(before);
        plain.push_str(VALUE);
        rest = quoted.get(end_of_quoted(quoted)..).unwrap_or_default();
        // A long text is shortened.
        rest = rest.strip_prefix(VALUE).unwrap_or(rest);
    }
    plain.push_str(rest);
    plain.split("; ").map(without_number).collect::<Vec<_>>().join("; ")
}

/// A number follows the name of the column, and may have a unit or a second part. Later numbers are
/// limits.
fn without_number(reason: &str) -> String {
    let words = reason.split(' ').enumerate().map(|(index, word)| {
        let is_number = word.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            && word.chars().all(|c| c.is_ascii_digit() || "+-.:eETZ".contains(c));
        if is_number && (1..=2).contains(&index) { VALUE } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the index after the closing quote.
fn end_of_quoted(text: &str) -> usize {
    let mut is_escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            '"' if !is_escaped => return index + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_the_same_fault_have_the_same_reason() {
        for (reason, plain) in [
            (
                r#"team_id "a; \"b\" 7" in column t is not a 64-bit integer"#,
                "team_id … in column t is not a 64-bit integer",
            ),
            (
                "team_id -1.5e3 in column t2 is not a 64-bit integer",
                "team_id … in column t2 is not a 64-bit integer",
            ),
            (
                "event is null (column e); timestamp 2024-13-01 is bad",
                "event is null (column e); timestamp … is bad",
            ),
            (r#"uuid "long"… in column u is not a UUID"#, "uuid … in column u is not a UUID"),
            (
                "_timestamp -7 µs is outside the years 1970 to 2106",
                "_timestamp … µs is outside the years 1970 to 2106",
            ),
            (r#"uuid "open"#, "uuid …"),
        ] {
            assert_eq!(without_values(reason), plain);
        }
    }

    #[test]
    fn counts_each_reason_once_for_a_row_and_keeps_the_first_example() {
        let mut reasons = BTreeMap::new();
        let example =
            |row| RejectExample { location: "/a".to_owned(), row_group: 0, row, reason: String::new() };
        for row in 0..1_000 {
            count(&mut reasons, "null", || example(row));
            count(&mut reasons, &format!("fault {row} of many"), || example(row));
        }
        assert_eq!(reasons.len(), MAX_REASONS + 1);
        assert_eq!((reasons["null"].rows, reasons["null"].example.row), (1_000, 0));
        assert_eq!(reasons[OTHERS].rows, 1_000 - (MAX_REASONS as u64 - 1));
    }
}
