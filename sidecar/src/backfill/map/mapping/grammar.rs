//! Grammar of one column's source in a mapping.

use toml::de::DeValue;

use super::{ColumnNames, EpochUnit, Instant, Reading, Timed, ValueSource};
use crate::backfill::map::time::zone::{Ambiguous, Zone};
use crate::config::reader::ConfigTable;
use crate::config::rules;

const UNITS: [(&str, EpochUnit); 4] = [
    ("s", EpochUnit::Second),
    ("ms", EpochUnit::Millisecond),
    ("us", EpochUnit::Microsecond),
    ("ns", EpochUnit::Nanosecond),
];

const AMBIGUOUS: [(&str, Ambiguous); 3] =
    [("reject", Ambiguous::Reject), ("earlier", Ambiguous::Earlier), ("later", Ambiguous::Later)];

/// Either a source column in quotes, a list of them, or a table with `column` (and `default`) or
/// `constant`.
pub(super) fn origin<T>(
    top: &mut ConfigTable<'_>,
    key: &str,
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Option<ValueSource<T>> {
    if !top.holds_table(key) {
        return top.optional(key, columns_or(&value)).map(|name| ValueSource::Column { name, default: None });
    }
    top.section(key, |table| column_or_constant(table, value))
}

pub(super) fn column_or_constant<T>(
    table: &mut ConfigTable<'_>,
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Option<ValueSource<T>> {
    let name = table.optional("column", columns);
    let constant = table.optional("constant", &value);
    let default = table.optional("default", &value);
    match (table.holds("column"), table.holds("constant")) {
        (true, true) => {
            table
                .fault("constant", "a column is given too: remove one (default is for rows without a value)");
            None
        }
        (false, false) => {
            table.missing("column", "column = \"…\", or constant = …");
            None
        }
        (false, true) if table.holds("default") => {
            table.fault("default", "remove it: a constant is the same in every row");
            None
        }
        (false, true) => constant.map(ValueSource::Constant),
        (true, false) => name.map(|name| ValueSource::Column { name, default }),
    }
}

pub(super) fn required<T: Clone>(
    top: &mut ConfigTable<'_>,
    key: &str,
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Option<ValueSource<T>> {
    if !top.holds(key) {
        // Reports the missing key and registers it as known.
        top.required(key, "\"column\"", columns);
        return None;
    }
    origin(top, key, value)
}

pub(super) fn or<T>(
    top: &mut ConfigTable<'_>,
    key: &str,
    otherwise: T,
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Option<ValueSource<T>> {
    if top.holds(key) {
        origin(top, key, value)
    } else {
        // Reads the key only to register it as known.
        top.optional(key, columns);
        Some(ValueSource::Constant(otherwise))
    }
}

pub(super) fn timed(
    top: &mut ConfigTable<'_>,
    key: &str,
    value: impl Fn(&DeValue<'_>) -> Result<Instant, String>,
) -> Option<Timed> {
    if !top.holds_table(key) {
        let name = top.optional(key, columns_or(&value))?;
        return Some(Timed {
            origin: ValueSource::Column { name, default: None },
            reading: Reading::default(),
        });
    }
    top.section(key, |table| {
        let reading = reading(table);
        column_or_constant(table, value).map(|origin| Timed { origin, reading })
    })
}

/// A string for every row; it may be empty.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "give a string in quotes".to_owned())
}

pub(super) fn reading(table: &mut ConfigTable<'_>) -> Reading {
    let unit = table.optional("unit", rules::one_of(&UNITS));
    let ambiguous = table.or("ambiguous", Ambiguous::Reject, rules::one_of(&AMBIGUOUS));
    let zone = table.optional("zone", |value| Zone::new(value.as_str().unwrap_or_default(), ambiguous));
    if table.holds("ambiguous") && !table.holds("zone") {
        table.fault("ambiguous", "remove it, or give a zone: in UTC no hour occurs twice");
    }
    Reading { zone: zone.unwrap_or_default(), unit }
}

/// A column in quotes, or a list of columns in order of preference.
pub(super) fn columns(value: &DeValue<'_>) -> Result<ColumnNames, String> {
    let DeValue::Array(_) = value else { return column(value).map(ColumnNames::one) };
    let names = list(value)?;
    if let Some(twice) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
        return Err(format!("names {:?} twice: remove one", twice.1));
    }
    ColumnNames::of(names).ok_or_else(|| "is empty: give at least one column".to_owned())
}

/// A list of strings in quotes.
pub(super) fn list(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let wrong = || "give a list of columns in quotes, such as [\"a\", \"b\"]".to_owned();
    let items = value.as_array().ok_or_else(wrong)?;
    items.iter().map(|item| rules::text(item.get_ref()).map_err(|_| wrong())).collect()
}

pub(super) fn column(value: &DeValue<'_>) -> Result<String, String> {
    rules::text(value).map_err(|_| {
        "give a column of the file in quotes, or a table such as { column = \"a\", default = … }".into()
    })
}

/// Like [`columns`]. The fault of a constant without its key shows the constant with it; `value` is
/// the rule for constants.
fn columns_or<T>(
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> impl Fn(&DeValue<'_>) -> Result<ColumnNames, String> {
    move |given| {
        columns(given).map_err(|problem| {
            let Some(constant) = plain(given) else { return problem };
            let constant = if value(given).is_ok() { constant } else { format!("{constant:?}") };
            format!(
                "give a column of the file in quotes, or {{ constant = {constant} }} for this value in every row"
            )
        })
    }
}

/// A value without quotes, as it is in the mapping.
fn plain(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(timestamp) => timestamp.to_string(),
        DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
    })
}
