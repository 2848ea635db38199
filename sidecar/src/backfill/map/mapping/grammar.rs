//! Grammar of one column's source in a mapping.

use toml::de::DeValue;

use super::{EpochUnit, Instant, Reading, Timed, ValueSource};
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

/// Either a source column in quotes, or a table with `column` (and `default`) or `constant`.
pub(super) fn origin<T>(
    top: &mut ConfigTable<'_>,
    key: &str,
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Option<ValueSource<T>> {
    if !top.holds_table(key) {
        return top.optional(key, column).map(|name| ValueSource::Column { name, default: None });
    }
    top.section(key, |table| column_or_constant(table, value))
}

pub(super) fn column_or_constant<T>(
    table: &mut ConfigTable<'_>,
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Option<ValueSource<T>> {
    let name = table.optional("column", column);
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

pub(super) fn timed(
    top: &mut ConfigTable<'_>,
    key: &str,
    value: impl Fn(&DeValue<'_>) -> Result<Instant, String>,
) -> Option<Timed> {
    if !top.holds_table(key) {
        let name = top.optional(key, column)?;
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

pub(super) fn reading(table: &mut ConfigTable<'_>) -> Reading {
    let unit = table.optional("unit", rules::one_of(&UNITS));
    let ambiguous = table.or("ambiguous", Ambiguous::Reject, rules::one_of(&AMBIGUOUS));
    let zone = table.optional("zone", |value| Zone::new(value.as_str().unwrap_or_default(), ambiguous));
    if table.holds("ambiguous") && !table.holds("zone") {
        table.fault("ambiguous", "remove it, or give a zone: in UTC no hour occurs twice");
    }
    Reading { zone: zone.unwrap_or_default(), unit }
}

pub(super) fn column(value: &DeValue<'_>) -> Result<String, String> {
    rules::text(value).map_err(|_| {
        "give a column of the file in quotes, or a table such as { column = \"a\", default = … }".into()
    })
}
