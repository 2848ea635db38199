//! Columns of the files that a load leaves out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::LoadPlan;
use crate::backfill::map::unread_columns;
use crate::event_columns::{CORE_NAMES, EventColumn};

/// A column that the mapping does not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UnreadColumn {
    /// Dotted if other fields of its struct are read.
    pub(crate) column: String,
    /// Number of files that have it.
    pub(crate) files: usize,
    /// Whether the schema has a column of this name that messages fill and a load can't fill.
    pub(crate) in_schema: bool,
}

/// Returns the unread columns of all files: first the columns of the schema, then by the number of
/// files.
pub(super) fn of_plan(plan: &LoadPlan, columns: &[EventColumn]) -> Vec<UnreadColumn> {
    let unread = |file: &super::File| unread_columns(file.footer.schema().fields(), file.mapper.projection());
    summarize(plan.files.iter().map(unread), columns)
}

fn summarize(
    names_of_files: impl Iterator<Item = BTreeSet<String>>,
    columns: &[EventColumn],
) -> Vec<UnreadColumn> {
    let mut counts = BTreeMap::<String, usize>::new();
    for name in names_of_files.flatten() {
        *counts.entry(name).or_default() += 1;
    }
    // An insert has the core columns, and the shards compute materialized ones.
    let is_unfilled =
        |column: &&EventColumn| column.is_written() && !CORE_NAMES.contains(&column.name.as_str());
    let unfilled: BTreeSet<&str> =
        columns.iter().filter(is_unfilled).map(|column| column.name.as_str()).collect();
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
    use crate::event_columns::EventProfile;

    #[test]
    fn counts_files_and_begins_with_columns_of_the_schema() {
        let files = [
            vec!["extra", "ip", "team_id"],
            vec!["ip", "person_id", "$session_id"],
            vec!["ip", "person_id", "inserted_at"],
        ];
        let names = files.map(|names| names.into_iter().map(str::to_owned).collect());
        let unread = summarize(names.into_iter(), &EventProfile::Posthog.columns());
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
