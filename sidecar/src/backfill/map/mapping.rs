//! A mapping: for each column of events, where its values come from.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::MappingError;
use super::file;
use super::zone::Zone;

/// Version of the rules that turn a file's values into events. It is part of every fingerprint, so it must grow with any
/// change after which the same mapping makes other events of the same bytes.
const RULES: u32 = 1;

/// Mappings that come with posthouse, by name.
pub const PRESETS: [(&str, &str); 2] = [
    ("posthog-export", include_str!("presets/posthog-export.toml")),
    ("identity", include_str!("presets/identity.toml")),
];

/// Where the values of each column of events come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mapping {
    /// For messages: a preset's name or a path. No part of what the mapping means.
    #[serde(skip)]
    pub(super) name: String,
    /// A column only: rows that share a constant would be duplicates.
    pub(super) uuid: String,
    pub(super) event: Origin<String>,
    pub(super) properties: Origin<String>,
    pub(super) timestamp: Timed,
    /// `None`: the command line says it.
    pub(super) team_id: Option<Origin<i64>>,
    pub(super) distinct_id: Origin<String>,
    pub(super) elements_hash: Origin<String>,
    pub(super) created_at: Timed,
    pub(super) ingested_at: Timed,
    pub(super) elements_chain: Origin<String>,
}

/// Where the values of one column come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum Origin<T> {
    /// A column of the file, by its name or dotted path.
    Column {
        name: String,
        /// Used where the file has no such column and where a value is null.
        default: Option<T>,
    },
    /// The same value in every row.
    Constant(T),
}

/// Where the moments of one column come from, and how values that leave something open are read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Timed {
    pub(super) origin: Origin<Instant>,
    pub(super) reading: Reading,
}

/// How values are read that don't say everything themselves.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct Reading {
    /// Of timestamps and texts without one.
    pub(super) zone: Zone,
    /// Of plain numbers, counted from 1970 in UTC.
    pub(super) unit: Option<Unit>,
}

/// A moment that a mapping gives in place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) enum Instant {
    /// Microseconds since 1970 in UTC.
    At(i64),
    /// The `timestamp` of the same row.
    Timestamp,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Unit {
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
}

impl Mapping {
    /// Reads the mapping at `path`.
    ///
    /// # Errors
    /// [`MappingError::Unreadable`], or [`MappingError::Faulty`] with every fault at once.
    pub fn load(path: &Path) -> Result<Self, MappingError> {
        let text = std::fs::read_to_string(path).map_err(|source| MappingError::Unreadable {
            path: path.to_owned(),
            presets: preset_names(),
            source,
        })?;
        file::parse(&text, &path.display().to_string())
            .map_err(|faults| MappingError::Faulty { path: Some(path.to_owned()), faults })
    }

    /// Reads the text of a mapping.
    ///
    /// # Errors
    /// [`MappingError::Faulty`] with every fault at once.
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        file::parse(text, "mapping.toml").map_err(|faults| MappingError::Faulty { path: None, faults })
    }

    /// The preset of this name, one of [`PRESETS`].
    ///
    /// # Errors
    /// [`MappingError::UnknownPreset`].
    pub fn preset(name: &str) -> Result<Self, MappingError> {
        let Some((name, text)) = PRESETS.iter().find(|(known, _)| *known == name) else {
            return Err(MappingError::UnknownPreset { name: name.to_owned(), presets: preset_names() });
        };
        file::parse(text, name).map_err(|faults| MappingError::Faulty { path: None, faults })
    }

    /// What the mapping means, as 64 hexadecimal digits: the same for two files that differ in comments, order or
    /// spelling alone, another one whenever events may come out differently. The team of the command line is no part
    /// of it: see [`Mapper::fingerprint`](super::Mapper::fingerprint).
    pub fn fingerprint(&self) -> String {
        digest(&serde_json::json!({ "rules": RULES, "mapping": self }))
    }
}

/// SHA-256 of `meaning`; `serde_json` writes fields in a fixed order.
pub(super) fn digest(meaning: &serde_json::Value) -> String {
    Sha256::digest(meaning.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn preset_names() -> String {
    PRESETS.map(|(name, _)| name).join(", ")
}
