//! Strict parser of `mapping.toml`.
//!
//! All errors are reported at once, each with its line.

use std::path::Path;

use toml::de::DeValue;

use super::grammar::{or, origin, required, text, timed};
use super::identity::uuid;
use super::object::properties;
use super::{Instant, Mapping, Reading, Timed, ValueSource, extras};
use crate::backfill::map::error::MappingError;
use crate::backfill::map::time::iso8601;
use crate::backfill::map::time::zone::Zone;
use crate::config::reader::{self, ConfigTable};
use crate::config::{Fault, rules};
use crate::event_columns::EventColumn;

/// Built-in mappings by name.
pub(crate) const PRESETS: [(&str, &str); 8] = [
    ("posthog-export", include_str!("../presets/posthog-export.toml")),
    ("identity", include_str!("../presets/identity.toml")),
    ("segment-tracks", include_str!("../presets/segment-tracks.toml")),
    ("segment-pages", include_str!("../presets/segment-pages.toml")),
    ("segment-identifies", include_str!("../presets/segment-identifies.toml")),
    ("amplitude", include_str!("../presets/amplitude.toml")),
    ("mixpanel", include_str!("../presets/mixpanel.toml")),
    ("snowplow", include_str!("../presets/snowplow.toml")),
];

/// Keyword for the row's own timestamp.
const TIMESTAMP: &str = "timestamp";

const MICROS: i64 = 1_000_000;

impl Mapping {
    /// Reads the mapping at `path` for a schema with the events' `columns`.
    ///
    /// # Errors
    /// Fails if the file is unreadable or invalid. [`MappingError::Faulty`] lists all errors.
    pub(crate) fn load(path: &Path, columns: &[EventColumn]) -> Result<Self, MappingError> {
        let text = std::fs::read_to_string(path).map_err(|source| MappingError::Unreadable {
            path: path.to_owned(),
            presets: preset_names(),
            source,
        })?;
        parse(&text, &path.display().to_string(), columns)
            .map_err(|faults| MappingError::Faulty { path: Some(path.to_owned()), faults })
    }

    /// Parses the text of a mapping for a schema with the events' `columns`.
    ///
    /// # Errors
    /// [`MappingError::Faulty`] lists all errors.
    pub(crate) fn parse(text: &str, columns: &[EventColumn]) -> Result<Self, MappingError> {
        parse(text, "mapping.toml", columns).map_err(|faults| MappingError::Faulty { path: None, faults })
    }

    /// Returns the preset `name`, one of [`PRESETS`]. It fills each of `columns` that a file has by
    /// name.
    ///
    /// # Errors
    /// Fails if no preset has this name.
    pub(crate) fn preset(name: &str, columns: &[EventColumn]) -> Result<Self, MappingError> {
        let Some((name, text)) = PRESETS.iter().find(|(known, _)| *known == name) else {
            return Err(MappingError::UnknownPreset { name: name.to_owned(), presets: preset_names() });
        };
        let preset = parse(text, name, &[]);
        let preset = preset.map_err(|faults| MappingError::Faulty { path: None, faults })?;
        Ok(Self { extras: extras::by_name(columns), ..preset })
    }
}

fn preset_names() -> String {
    PRESETS.map(|(name, _)| name).join(", ")
}

/// `name` is the mapping's name in messages.
fn parse(text: &str, name: &str, columns: &[EventColumn]) -> Result<Mapping, Vec<Fault>> {
    reader::read(text, |top| mapping(top, name, columns))
}

fn mapping(top: &mut ConfigTable<'_>, name: &str, columns: &[EventColumn]) -> Option<Mapping> {
    let uuid = uuid(top);
    let event = required(top, "event", text);
    let properties = properties(top);
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
    let extras = extras::given(top, columns);
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
        extras: extras?,
    })
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
