//! Columns of an object.

use std::collections::BTreeSet;

use arrow_schema::{DataType, FieldRef};

use super::find::{FoundColumn, leaf_count};
use super::lookup::Binding;
use super::object::{ColumnPattern, ObjectSource};
use crate::backfill::map::columns::object::{FieldForm, ObjectColumn, ObjectField, check_object};
use crate::backfill::map::quarantine::PLACE_COLUMNS;

impl Binding<'_> {
    /// Selects columns in the order of the file, and behind them those of the path and inside
    /// structs.
    pub(super) fn object(&mut self, target: &'static str, source: &ObjectSource) -> Option<ObjectColumn> {
        let faults = self.faults.len();
        let object = match &source.object {
            Some(name) => Some(self.object_column(target, name)?),
            None => None,
        };
        let mut columns = Vec::new();
        for name in self.selected(source) {
            columns.extend(self.named(target, &name));
        }
        let mut fields: Vec<ObjectField> = Vec::new();
        for column in columns {
            let is_json = source.json.iter().any(|pattern| pattern.names(&column.name));
            let form = self.judge(target, &column.name, FieldForm::of(column.field.data_type(), is_json));
            let own = || column.own_name().to_owned();
            let key = source.rename.get(&column.name).cloned().unwrap_or_else(own);
            if let Some(other) = fields.iter().find(|field| field.key == key) {
                let other = &other.column.name;
                let problem = format!("the column {other} has the key {key:?} too: rename or except one");
                self.faults.push(format!("{target} ← {}: {problem}", column.name));
            }
            self.read(&column);
            fields.extend(form.map(|form| ObjectField { key, column, form }));
        }
        let is_good = self.faults.len() == faults;
        is_good.then(|| ObjectColumn { target: target.into(), object, fields })
    }

    fn object_column(&mut self, target: &str, name: &str) -> Option<FoundColumn> {
        let column = self.named(target, name)?;
        self.judge(target, &name, check_object(column.field.data_type()))?;
        self.read(&column);
        Some(column)
    }

    fn named(&mut self, target: &str, name: &str) -> Option<FoundColumn> {
        let found = self.find(target, name);
        let found = found.and_then(|found| found.ok_or_else(|| self.missing_of(name)));
        self.judge(target, &name, found)
    }

    /// Names of the columns, without those that are left out.
    fn selected(&self, source: &ObjectSource) -> Vec<String> {
        let is_all = source.columns.contains(&ColumnPattern::Rest);
        let read: BTreeSet<usize> = self.leaves.iter().copied().collect();
        let own = self.fields.len() - self.place_columns();
        let (mut names, mut first_leaf) = (Vec::new(), 0);
        for field in self.fields.iter().take(own) {
            let leaves = first_leaf..first_leaf + leaf_count(field.data_type());
            first_leaf = leaves.end;
            let is_named = |patterns: &BTreeSet<ColumnPattern>| {
                patterns.iter().any(|pattern| pattern.names(field.name()))
            };
            // Of a column that is read in part, the other fields would be lost.
            let is_rest = || is_all && !leaves.clone().all(|leaf| read.contains(&leaf));
            if (is_named(&source.columns) || is_rest()) && !is_named(&source.except) {
                names.push(field.name().clone());
            }
        }
        let others = source.columns.iter().filter_map(|pattern| match pattern {
            ColumnPattern::Name(name) if !self.fields.iter().any(|field| field.name() == name) => Some(name),
            _ => None,
        });
        names.extend(others.cloned());
        names
    }

    /// Number of columns at the end that a quarantine file has beyond its source's.
    fn place_columns(&self) -> usize {
        let count = PLACE_COLUMNS.len();
        let Some(start) = self.fields.len().checked_sub(count) else { return 0 };
        let is_one = |(field, name): (&FieldRef, &(&str, DataType))| {
            field.name().trim_start_matches('_') == name.0.trim_start_matches('_')
        };
        let are_all = self.fields.iter().skip(start).zip(&PLACE_COLUMNS).all(is_one);
        if are_all { count } else { 0 }
    }
}
