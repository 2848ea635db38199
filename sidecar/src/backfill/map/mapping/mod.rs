//! Mappings from source columns to the columns of events.

pub(super) mod file;
pub(super) mod find;
mod names;
mod resolved;
mod first_of;
mod path;
mod lookup;
mod bind;
mod foreign;
mod select;
mod grammar;
mod identity;
mod object;
mod extras;
mod team;
pub(super) mod unread;

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

pub(super) use self::identity::{DerivedUuid, UuidNames, UuidSource};
pub(super) use self::names::ColumnNames;
pub(super) use self::object::PropertiesSource;
pub(super) use self::path::PathReads;
use super::time::zone::Zone;
use crate::backfill::extra::{CellValue, ExtraColumn, FilledColumn};

/// Version of the conversion rules. It is part of every fingerprint. Increase it with every change
/// that makes the same mapping produce other events from the same bytes.
const RULES: u32 = 1;

/// Source of each column of events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Mapping {
    /// Preset name or path, for messages. Excluded from the fingerprint.
    #[serde(skip)]
    pub(super) name: String,
    pub(super) uuid: UuidSource,
    pub(super) event: ValueSource<String>,
    pub(super) properties: PropertiesSource,
    pub(super) timestamp: Timed,
    /// `None` if the team comes from the command line.
    pub(super) team_id: Option<ValueSource<i64>>,
    pub(super) distinct_id: ValueSource<String>,
    pub(super) elements_hash: ValueSource<String>,
    pub(super) created_at: Timed,
    pub(super) ingested_at: Timed,
    pub(super) elements_chain: ValueSource<String>,
    /// Not in this fingerprint but in [`Mapper::fingerprint`](super::Mapper::fingerprint), which
    /// has the columns that a file fills.
    #[serde(skip)]
    pub(super) extras: ExtraSources,
}

/// Sources of the columns beyond the core.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ExtraSources {
    /// Columns of the file with the name of the column or of its field.
    ByName(Vec<Arc<ExtraColumn>>),
    /// Sources that the mapping names.
    Given(Vec<GivenSource>),
}

/// Source of a column beyond the core.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GivenSource {
    pub(super) column: Arc<ExtraColumn>,
    pub(super) origin: ValueSource<CellValue>,
    pub(super) reading: Reading,
}

/// Source of one column's values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum ValueSource<T> {
    /// A column of the file or a value of its path.
    Column {
        name: ColumnNames,
        /// Used if the file has no such column, and for null values.
        default: Option<T>,
    },
    /// The same value in every row.
    Constant(T),
}

/// Source of a timestamp column, and the zone and unit for values without their own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Timed {
    pub(super) origin: ValueSource<Instant>,
    pub(super) reading: Reading,
}

/// Zone and unit for values that don't state them.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct Reading {
    /// For timestamps and strings without a zone.
    pub(super) zone: Zone,
    /// For plain numbers, counted from 1970 in UTC.
    pub(super) unit: Option<EpochUnit>,
}

/// Timestamp that a mapping gives in place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) enum Instant {
    /// Microseconds since 1970 in UTC.
    At(i64),
    /// The `timestamp` of the same row.
    Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum EpochUnit {
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
}

impl Mapping {
    /// The mapping as it was when the config had only these columns beyond the core. `None` if it
    /// names its columns itself.
    pub(crate) fn limited_to(&self, columns: &[FilledColumn]) -> Option<Self> {
        let ExtraSources::ByName(all) = &self.extras else { return None };
        let is_one = |column: &&Arc<ExtraColumn>| columns.contains(&FilledColumn::of(column));
        let extras = ExtraSources::ByName(all.iter().filter(is_one).cloned().collect());
        Some(Self { extras, ..self.clone() })
    }

    /// Fingerprint of the mapping's meaning, as 64 hexadecimal digits. Two files that differ only
    /// in comments, order or spelling have the same fingerprint. Mappings that may produce
    /// different events have different ones. The team of the command line is not included: see
    /// [`Mapper::fingerprint`](super::Mapper::fingerprint).
    pub(crate) fn fingerprint(&self) -> String {
        digest(&serde_json::json!({ "rules": RULES, "mapping": self }))
    }
}

/// SHA-256 of `meaning`. The digest is stable because `serde_json` writes fields in a fixed order.
pub(super) fn digest(meaning: &serde_json::Value) -> String {
    Sha256::digest(meaning.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}
