//! Strict parser of `mapping.toml`.
//!
//! All errors are reported at once, each with its line.

use std::path::Path;

use toml::de::DeValue;

use super::{EpochUnit, Instant, Mapping, Reading, Timed, ValueSource};
use crate::backfill::map::error::MappingError;
use crate::backfill::map::time::iso8601;
use crate::backfill::map::time::zone::{Ambiguous, Zone};
use crate::config::reader::{self, ConfigTable};
use crate::config::{Fault, rules};

/// Built-in mappings by name.
pub(crate) const PRESETS: [(&str, &str); 2] = [
    ("posthog-export", include_str!("../presets/posthog-export.toml")),
    ("identity", include_str!("../presets/identity.toml")),
];

const UNITS: [(&str, EpochUnit); 4] = [
    ("s", EpochUnit::Second),
    ("ms", EpochUnit::Millisecond),
    ("us", EpochUnit::Microsecond),
    ("ns", EpochUnit::Nanosecond),
];

const AMBIGUOUS: [(&str, Ambiguous); 3] =
    [("reject", Ambiguous::Reject), ("earlier", Ambiguous::Earlier), ("later", Ambiguous::Later)];

/// Keyword for the row's own timestamp.
const TIMESTAMP: &str = "timestamp";

const MICROS: i64 = 1_000_000;

impl Mapping {
    /// Reads the mapping at `path`.
    ///
    /// # Errors
    /// Fails if the file is unreadable or invalid. [`MappingError::Faulty`] lists all errors.
    pub(crate) fn load(path: &Path) -> Result<Self, MappingError> {
        let text = std::fs::read_to_string(path).map_err(|source| MappingError::Unreadable {
            path: path.to_owned(),
            presets: preset_names(),
            source,
        })?;
        parse(&text, &path.display().to_string())
            .map_err(|faults| MappingError::Faulty { path: Some(path.to_owned()), faults })
    }

    /// Parses the text of a mapping.
    ///
    /// # Errors
    /// [`MappingError::Faulty`] lists all errors.
    pub(crate) fn parse(text: &str) -> Result<Self, MappingError> {
        parse(text, "mapping.toml").map_err(|faults| MappingError::Faulty { path: None, faults })
    }

    /// Returns the preset `name`, one of [`PRESETS`].
    ///
    /// # Errors
    /// Fails if no preset has this name.
    pub(crate) fn preset(name: &str) -> Result<Self, MappingError> {
        let Some((name, text)) = PRESETS.iter().find(|(known, _)| *known == name) else {
            return Err(MappingError::UnknownPreset { name: name.to_owned(), presets: preset_names() });
        };
        parse(text, name).map_err(|faults| MappingError::Faulty { path: None, faults })
    }
}

fn preset_names() -> String {
    PRESETS.map(|(name, _)| name).join(", ")
}

/// `name` is the mapping's name in messages.
fn parse(text: &str, name: &str) -> Result<Mapping, Vec<Fault>> {
    reader::read(text, |top| mapping(top, name))
}

fn mapping(top: &mut ConfigTable<'_>, name: &str) -> Option<Mapping> {
    let uuid = uuid(top);
    let event = required(top, "event", text);
    let properties = or(top, "properties", String::new(), text);
    let timestamp = timed(top, "timestamp", instant);
    if !top.holds("timestamp") {
        top.missing("timestamp", "timestamp = \"column\"");
    }
    let team_id = top.holds("team_id").then(|| origin(top, "team_id", rules::integer(i64::MIN..=i64::MAX)));
    let distinct_id = required(top, "distinct_id", text);
    let elements_hash = or(top, "elements_hash", String::new(), text);
    let created_at = timed(top, "created_at", instant_or_timestamp);
    let ingested_at = timed(top, "_timestamp", instant_or_second);
    let elements_chain = or(top, "elements_chain", String::new(), text);
    top.optional("_offset", |_| {
        Err::<(), _>("can't be mapped: remove it, the loader sets it to the row id".to_owned())
    });
    let given = |timed: Option<Timed>, otherwise| {
        timed.unwrap_or(Timed { origin: ValueSource::Constant(otherwise), reading: Reading::default() })
    };
    Some(Mapping {
        name: name.to_owned(),
        uuid: uuid?,
        event: event?,
        properties: properties?,
        timestamp: timestamp?,
        team_id: team_id.map(|origin| origin.ok_or(())).transpose().ok()?,
        distinct_id: distinct_id?,
        elements_hash: elements_hash?,
        created_at: given(created_at, Instant::Timestamp),
        ingested_at: given(ingested_at, Instant::At(0)),
        elements_chain: elements_chain?,
    })
}

/// Neither a constant nor a default is allowed, because rows that share a uuid are the same event.
fn uuid(top: &mut ConfigTable<'_>) -> Option<String> {
    if !top.holds("uuid") {
        return top.required("uuid", "\"column\"", column);
    }
    if !top.holds_table("uuid") {
        return top.optional("uuid", column);
    }
    top.section("uuid", |table| {
        for key in ["constant", "default"] {
            table.optional(key, |_| {
                Err::<(), _>(
                    "remove it: every event needs a uuid of its own, or it is a duplicate".to_owned(),
                )
            });
        }
        table.required("column", "\"uuid\"", column)
    })
}

fn required<T: Clone>(
    top: &mut ConfigTable<'_>,
    key: &'static str,
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Option<ValueSource<T>> {
    if !top.holds(key) {
        // Reports the missing key and registers it as known.
        top.required(key, "\"column\"", column);
        return None;
    }
    origin(top, key, value)
}

fn or<T>(
    top: &mut ConfigTable<'_>,
    key: &'static str,
    otherwise: T,
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Option<ValueSource<T>> {
    if top.holds(key) {
        origin(top, key, value)
    } else {
        // Reads the key only to register it as known.
        top.optional(key, column);
        Some(ValueSource::Constant(otherwise))
    }
}

/// Either a source column in quotes, or a table with `column` (and `default`) or `constant`.
fn origin<T>(
    top: &mut ConfigTable<'_>,
    key: &'static str,
    value: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Option<ValueSource<T>> {
    if !top.holds_table(key) {
        return top.optional(key, column).map(|name| ValueSource::Column { name, default: None });
    }
    top.section(key, |table| column_or_constant(table, value))
}

fn column_or_constant<T>(
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

fn timed(
    top: &mut ConfigTable<'_>,
    key: &'static str,
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

fn reading(table: &mut ConfigTable<'_>) -> Reading {
    let unit = table.optional("unit", rules::one_of(&UNITS));
    let ambiguous = table.or("ambiguous", Ambiguous::Reject, rules::one_of(&AMBIGUOUS));
    let zone = table.optional("zone", |value| Zone::new(value.as_str().unwrap_or_default(), ambiguous));
    if table.holds("ambiguous") && !table.holds("zone") {
        table.fault("ambiguous", "remove it, or give a zone: in UTC no hour occurs twice");
    }
    Reading { zone: zone.unwrap_or_default(), unit }
}

fn column(value: &DeValue<'_>) -> Result<String, String> {
    rules::text(value).map_err(|_| {
        "give a column of the file in quotes, or a table such as { column = \"a\", default = … }".into()
    })
}

/// A string for every row; it may be empty.
fn text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "give a string in quotes".to_owned())
}

fn instant(value: &DeValue<'_>) -> Result<Instant, String> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(moment) => moment.to_string(),
        _ => String::new(),
    };
    iso8601::parse(text.as_bytes(), &Zone::default()).map(Instant::At).map_err(|_| {
        "give a timestamp such as \"2026-11-01 10:42:06\" (UTC unless it has an offset)".to_owned()
    })
}

fn instant_or_timestamp(value: &DeValue<'_>) -> Result<Instant, String> {
    if value.as_str() == Some(TIMESTAMP) {
        return Ok(Instant::Timestamp);
    }
    instant(value).map_err(|problem| format!("{problem}, or \"{TIMESTAMP}\" for the row's own"))
}

fn instant_or_second(value: &DeValue<'_>) -> Result<Instant, String> {
    rules::integer(0..=u32::MAX)(value)
        .map(|second| Instant::At(i64::from(second) * MICROS))
        .or_else(|_| instant(value).map_err(|problem| format!("{problem}, or seconds since 1970")))
}
