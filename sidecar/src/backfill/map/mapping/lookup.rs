//! Lookup of the columns that a mapping names, with the faults found so far.

use std::fmt;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Fields, Schema};

use super::file::PRESETS;
use super::find::{FoundColumn, columns, find, missing};
use super::path::{PathReads, PathValues};
use super::{ColumnNames, foreign};
use crate::backfill::map::columns::json;
use crate::backfill::map::reject::Faults;

/// State of a binding: the columns found so far and the errors.
pub(super) struct Binding<'a> {
    pub(super) fields: &'a Fields,
    pub(super) path: &'a PathValues,
    /// Leaves of the columns that are read.
    pub(super) leaves: Vec<usize>,
    pub(super) faults: Vec<String>,
    /// Whether a column is missing from the file.
    is_absent: bool,
    pub(super) path_reads: PathReads,
    /// Whether a struct, map or list that is read has bytes.
    pub(super) has_nested_bytes: bool,
}

/// A column that the mapping names.
pub(super) enum LeafColumn<T> {
    Found(FoundColumn),
    /// The column is missing and the mapping has a default.
    Default(T),
}

impl<'a> Binding<'a> {
    pub(super) fn new(path: &'a PathValues, fields: &'a Fields) -> Self {
        Self {
            fields,
            path,
            leaves: Vec::new(),
            faults: Vec::new(),
            is_absent: false,
            path_reads: PathReads::default(),
            has_nested_bytes: false,
        }
    }

    pub(super) fn column<T: Clone>(
        &mut self,
        target: &str,
        names: &ColumnNames,
        default: Option<&T>,
    ) -> Option<LeafColumn<T>> {
        let found = names.iter().map(|name| self.find(target, name)).collect::<Result<Vec<_>, _>>();
        let found = found.and_then(|found| FoundColumn::first_of(found.into_iter().flatten().collect()));
        let problem = match (found, default) {
            (Ok(Some(found)), _) => {
                self.read(&found);
                return Some(LeafColumn::Found(found));
            }
            (Ok(None), Some(default)) => return Some(LeafColumn::Default(default.clone())),
            (Ok(None), None) => {
                self.is_absent = true;
                self.missing(target, names)
            }
            (Err(problem), _) => problem,
        };
        self.faults.push(format!("{target} ← {names}: {problem}"));
        None
    }

    /// Notes that the rows need the values of `column`.
    pub(super) fn read(&mut self, column: &FoundColumn) {
        self.leaves.extend(&column.leaves);
        self.has_nested_bytes |= json::has_bytes(&column.field);
    }

    /// Returns the column `name` of the file, or else of its path. A path has no UUIDs, because
    /// rows that share one are the same event.
    ///
    /// # Errors
    /// Fails if the name is ambiguous, or if the file declares a type that can't be loaded.
    pub(super) fn find(&mut self, target: &str, name: &str) -> Result<Option<FoundColumn>, String> {
        let found = find(self.fields, name)?;
        if let Some(found) = &found {
            foreign::check(&found.field)?;
        }
        if found.is_some() || target == "uuid" {
            return Ok(found);
        }
        let value = self.path_reads.read(name, self.path);
        Ok(value.map(|value| FoundColumn::in_path(name, value)))
    }

    fn missing(&self, target: &str, names: &ColumnNames) -> String {
        let Some(name) = names.only() else { return "the file has none of these columns".to_owned() };
        // `uuid` accepts neither a default nor a constant: see `identity::uuid`.
        let next = if target == "uuid" {
            "name another one".to_owned()
        } else {
            let is_number = target == "team_id" && name.parse::<i64>().is_ok();
            let constant = if is_number { name.to_owned() } else { format!("{name:?}") };
            format!(
                "name another one, give a default, or write {target} = {{ constant = {constant} }} for this value \
                 in every row"
            )
        };
        missing(self.fields, name, &next)
    }

    /// The problem of a column of an object.
    pub(super) fn missing_of(&mut self, name: &str) -> String {
        self.is_absent = true;
        missing(self.fields, name, "name another one")
    }

    /// Reads one row of a value in the path, so that an invalid one is found before the first row.
    pub(super) fn check_path(
        &mut self,
        target: &str,
        column: &FoundColumn,
        read: impl Fn(&RecordBatch, &mut Faults),
    ) -> Option<()> {
        if !column.is_in_path() {
            return Some(());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).ok()?;
        let mut faults = Faults::default();
        read(&row, &mut faults);
        let rejects = faults.into_rejects();
        self.faults
            .extend(rejects.iter().map(|reject| format!("{target} ← {}: {}", column.name, reject.reason)));
        rejects.is_empty().then_some(())
    }

    pub(super) fn hints(&self, mapping: &str) -> Vec<String> {
        let columns = self.is_absent.then(|| {
            let path: Vec<&str> = self.path.names().collect();
            let path =
                if path.is_empty() { String::new() } else { format!("; its path has: {}", path.join(", ")) };
            format!("the file has: {}{path}", columns(self.fields))
        });
        let own = is_preset(mapping)
            .then(|| "for other columns write a mapping of your own: see mapping.example.toml".to_owned());
        columns.into_iter().chain(own).collect()
    }

    /// Records the error of a column that exists.
    pub(super) fn judge<T>(
        &mut self,
        target: &str,
        name: &impl fmt::Display,
        judged: Result<T, String>,
    ) -> Option<T> {
        judged.map_err(|problem| self.faults.push(format!("{target} ← {name}: {problem}"))).ok()
    }
}

pub(super) fn is_preset(mapping: &str) -> bool {
    PRESETS.iter().any(|(name, _)| *name == mapping)
}
