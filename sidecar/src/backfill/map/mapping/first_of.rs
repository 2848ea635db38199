//! Lists of columns, of which the first value counts.

use std::sync::Arc;

use arrow_schema::{DataType, Field};

use super::find::FoundColumn;
use crate::backfill::map::columns::plain_text::is_id;
use crate::backfill::read::DeclaredType;

impl FoundColumn {
    /// Column of the first value that is not null. Columns of several types become text. One of
    /// nulls has any type. Returns `None` for an empty list.
    ///
    /// # Errors
    /// Fails if the types differ and one can't become text.
    pub(super) fn first_of(mut columns: Vec<Self>) -> Result<Option<Self>, String> {
        let is_null = |column: &Self| *column.field.data_type() == DataType::Null;
        let first = columns.iter().find(|column| !is_null(column)).or(columns.first());
        let Some(first) = first else { return Ok(None) };
        if columns.len() == 1 {
            return Ok(columns.pop());
        }
        // Dictionaries of one type have different values.
        let is_plain = !matches!(first.field.data_type(), DataType::Dictionary(..));
        // Sixteen bytes may be a UUID, and a text of sixteen letters is not.
        let kind = |column: &Self| (column.field.data_type().clone(), DeclaredType::is_text(&column.field));
        let is_same = |column: &Self| is_null(column) || (is_plain && kind(column) == kind(first));
        // A float has no text that is right for every use.
        let is_mixable =
            |column: &Self| is_id(column.field.data_type()) && !column.field.data_type().is_floating();
        let field = if columns.iter().all(is_same) {
            first.field.clone()
        } else if columns.iter().all(is_mixable) {
            Arc::new(DeclaredType::Text.mark(Field::new(first.field.name(), DataType::BinaryView, true)))
        } else {
            let types: Vec<String> = columns
                .iter()
                .map(|column| format!("{} {}", column.name, column.field.data_type()))
                .collect();
            return Err(format!(
                "the columns are of several types ({}): give columns of one",
                types.join(", ")
            ));
        };
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let leaves = columns.iter().flat_map(|column| column.leaves.iter().copied()).collect();
        Ok(Some(Self::alternatives(names.join(", "), field, leaves, columns)))
    }
}
