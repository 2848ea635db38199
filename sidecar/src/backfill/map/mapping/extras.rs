//! Sources of the columns beyond the core, by name or from a mapping file.

use std::sync::Arc;

use toml::de::DeValue;

use super::grammar::{column_or_constant, origin, reading};
use super::{ExtraSources, GivenSource, Reading};
use crate::backfill::extra::{CellValue, ExtraColumn};
use crate::backfill::map::columns::extra::value_of_text;
use crate::config::reader::ConfigTable;
use crate::event_columns::{CORE_NAMES, Conversion, EventColumn};

/// Each of `columns` that a load can fill.
pub(super) fn by_name(columns: &[EventColumn]) -> ExtraSources {
    ExtraSources::ByName(columns.iter().filter_map(ExtraColumn::of).map(Arc::new).collect())
}

/// Reads the keys of a mapping file that are names of `columns` beyond the core.
pub(super) fn given(top: &mut ConfigTable<'_>, columns: &[EventColumn]) -> Option<ExtraSources> {
    let mut sources = Vec::new();
    for column in columns.iter().filter(|column| !CORE_NAMES.contains(&column.name.as_str())) {
        let name = &column.name;
        match ExtraColumn::of(column) {
            // Asked for without a value too, so that the key is known.
            None => {
                let problem = cant_fill(column);
                top.optional(name, |_| Err::<(), _>(problem.clone()));
            }
            Some(extra) if top.holds(name) => sources.push(source(top, extra)),
            Some(_) => _ = top.optional(name, |_| Ok(())),
        }
    }
    sources.into_iter().collect::<Option<Vec<_>>>().map(ExtraSources::Given)
}

fn cant_fill(column: &EventColumn) -> String {
    if column.is_written() {
        format!("remove it: a backfill can't fill this column of type {}", column.sql_type)
    } else {
        "remove it: the shards compute this column".to_owned()
    }
}

fn source(top: &mut ConfigTable<'_>, column: ExtraColumn) -> Option<GivenSource> {
    let key = column.name.clone();
    let value = |given: &DeValue<'_>| value(&column, given);
    let is_timed = matches!(column.field.conversion, Conversion::Timestamp { .. } | Conversion::Seconds);
    let (origin, reading) = if is_timed && top.holds_table(&key) {
        top.section(&key, |table| {
            let reading = reading(table);
            column_or_constant(table, value).map(|origin| (origin, reading))
        })?
    } else {
        (origin(top, &key, value)?, Reading::default())
    };
    Some(GivenSource { column: Arc::new(column), origin, reading })
}

/// A value in TOML by the rules for text.
fn value(column: &ExtraColumn, given: &DeValue<'_>) -> Result<CellValue, String> {
    let text = text_of(given).ok_or_else(|| format!("give a value of type {} in quotes", column.sql_type))?;
    value_of_text(column, &text)
        .map_err(|problem| format!("{problem}: give a value of type {}", column.sql_type))
}

fn text_of(given: &DeValue<'_>) -> Option<String> {
    Some(match given {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok()?.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(timestamp) => timestamp.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => return None,
    })
}
