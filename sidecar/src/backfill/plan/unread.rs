//! Columns of the files that a load leaves out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::LoadPlan;
use super::extras::ExtraSummary;
use crate::backfill::map::unread_columns;

/// A column that the mapping does not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UnreadColumn {
    /// Dotted if other fields of its struct are read.
    pub(crate) column: String,
    /// Number of files that have it.
    pub(crate) files: usize,
    /// Whether the schema has a column of this name that messages fill and the load does not.
    pub(crate) in_schema: bool,
}

/// Returns the unread columns of all files: first those that the schema has and the load does not
/// fill, then by the number of files.
pub(super) fn of_plan(plan: &LoadPlan, defaulted: &[ExtraSummary]) -> Vec<UnreadColumn> {
    let unread = plan
        .kinds()
        .map(|(file, files)| (unread_columns(file.schema.fields(), file.mapper.projection()), files));
    summarize(unread, defaulted)
}

/// Summarizes the unread columns of each kind of files, with the number of these files.
fn summarize(
    unread: impl Iterator<Item = (BTreeSet<String>, usize)>,
    defaulted: &[ExtraSummary],
) -> Vec<UnreadColumn> {
    let mut counts = BTreeMap::<String, usize>::new();
    for (name, files) in unread.flat_map(|(names, files)| names.into_iter().map(move |name| (name, files))) {
        *counts.entry(name).or_default() += files;
    }
    let unfilled: BTreeSet<&str> = defaulted.iter().map(|column| column.column.as_str()).collect();
    let unread = counts.into_iter().map(|(column, files)| {
        let in_schema = unfilled.contains(column.as_str());
        UnreadColumn { column, files, in_schema }
    });
    let mut unread: Vec<UnreadColumn> = unread.collect();
    // The sort is stable, so equal columns stay in the order of their names.
    unread.sort_by_key(|column| (!column.in_schema, Reverse(column.files)));
    unread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_files_and_begins_with_columns_of_the_schema() {
        let files = [
            vec!["extra", "ip", "team_id"],
            vec!["ip", "person_id", "$session_id"],
            vec!["ip", "person_id", "inserted_at"],
        ];
        let names = files.map(|names| (names.into_iter().map(str::to_owned).collect(), 1));
        let defaulted = ["person_id", "inserted_at", "person_mode"].map(|column| ExtraSummary {
            column: column.to_owned(),
            files: 3,
            problem: None,
        });
        let unread = summarize(names.into_iter(), &defaulted);
        let unread: Vec<_> =
            unread.iter().map(|column| (column.column.as_str(), column.files, column.in_schema)).collect();
        let expected = [
            ("person_id", 2, true),
            ("inserted_at", 1, true),
            ("ip", 3, false),
            ("$session_id", 1, false),
            ("extra", 1, false),
            ("team_id", 1, false),
        ];
        assert_eq!(unread, expected);
    }
}
