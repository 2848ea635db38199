//! Columns beyond the core that a load fills, and those that get their default.

use std::collections::BTreeSet;

use serde::Serialize;

use super::LoadPlan;
use crate::backfill::extra::ExtraColumn;
use crate::event_columns::{CORE_NAMES, ColumnOrigin, EventColumn};

/// A column of the schema in the files of a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ExtraSummary {
    pub(crate) column: String,
    /// Number of files that it concerns.
    pub(crate) files: usize,
    /// The reason if no load can fill the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// Returns the columns that some files fill, and those that get their default in some files, in the
/// order of `columns`.
pub(super) fn of_plan(plan: &LoadPlan, columns: &[EventColumn]) -> (Vec<ExtraSummary>, Vec<ExtraSummary>) {
    let filled: Vec<(BTreeSet<&str>, usize)> =
        plan.kinds().map(|(file, files)| (file.mapper.extra_names().collect(), files)).collect();
    summarize(&filled, columns)
}

/// Summarizes the filled columns of each kind of files, with the number of these files.
fn summarize(
    filled: &[(BTreeSet<&str>, usize)],
    columns: &[EventColumn],
) -> (Vec<ExtraSummary>, Vec<ExtraSummary>) {
    let is_extra = |column: &&EventColumn| column.is_written() && !CORE_NAMES.contains(&column.name.as_str());
    let (mut fills, mut defaults) = (Vec::new(), Vec::new());
    let all: usize = filled.iter().map(|(_, files)| files).sum();
    for column in columns.iter().filter(is_extra) {
        let fills_it = |(names, _): &&(BTreeSet<&str>, usize)| names.contains(column.name.as_str());
        let count = filled.iter().filter(fills_it).map(|(_, files)| files).sum();
        let summary = |files| ExtraSummary { column: column.name.clone(), files, problem: problem(column) };
        if count > 0 {
            fills.push(summary(count));
        }
        if count < all {
            defaults.push(summary(all - count));
        }
    }
    (fills, defaults)
}

/// The reason why no load fills the column.
fn problem(column: &EventColumn) -> Option<String> {
    match &column.origin {
        ColumnOrigin::Field(_) if ExtraColumn::of(column).is_some() => None,
        ColumnOrigin::Field(_) => Some(format!("a backfill can't fill {}", column.sql_type)),
        _ => Some("only messages from Kafka have it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_columns::EventProfile;

    #[test]
    fn a_column_is_filled_in_some_files_and_has_its_default_in_the_others() {
        let filled = [(BTreeSet::from(["person_id", "person_mode"]), 1), (BTreeSet::from(["person_id"]), 2)];
        let (fills, defaults) = summarize(&filled, &EventProfile::Posthog.columns());
        let counts = |all: &[ExtraSummary]| -> Vec<(String, usize)> {
            all.iter().map(|column| (column.column.clone(), column.files)).collect()
        };
        assert_eq!(counts(&fills), [("person_id".to_owned(), 3), ("person_mode".to_owned(), 1)]);
        let of = |name: &str| defaults.iter().find(|column| column.column == name);
        assert_eq!(of("person_mode").map(|column| column.files), Some(2));
        assert_eq!(of("group4_properties").map(|column| column.files), Some(3));
        assert!(of("inserted_at").is_some_and(|column| column.problem.is_some()), "{defaults:#?}");
        assert_eq!(of("person_id").or_else(|| of("$session_id")).or_else(|| of("uuid")), None);
    }
}
