//! A mapping: for each column of events, where its values come from.

pub(super) mod file;
pub(super) mod find;
mod bind;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::time::zone::Zone;

/// Version of the rules that turn a file's values into events. It is part of every fingerprint, so it must grow with any
/// change after which the same mapping makes other events of the same bytes.
const RULES: u32 = 1;

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
