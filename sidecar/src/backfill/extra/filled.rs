//! Extra columns that a load has filled, as recorded in the ledger.
//!
//! The record is a part of the mapping's fingerprint: a verification finds the columns there that a
//! block's checksum covers, even if the config has gained columns since.

use serde::{Deserialize, Serialize};

use super::column::{CellLayout, ExtraColumn, is_nullable};
use crate::event_columns::{Conversion, inner_type};

/// A column with the type that its values were sent as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FilledColumn {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) sql_type: String,
}

/// A fingerprint can't be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "the ledger has a load with the columns {columns}, which this version can't read: use the version of posthouse that loaded it"
)]
pub(crate) struct UnknownColumns {
    columns: String,
}

/// A column as `sql/backfill/cell_hash.sql` takes it.
#[derive(Debug, Serialize)]
pub(crate) struct HashedColumn {
    name: String,
    /// The type without `Nullable` and `LowCardinality`.
    inner: String,
    is_nullable: bool,
    /// `fixed`, `text`, `list` or `map`.
    layout: &'static str,
}

impl FilledColumn {
    pub(crate) fn of(column: &ExtraColumn) -> Self {
        Self { name: column.name.clone(), sql_type: column.sql_type.clone() }
    }

    /// Appends the columns to a mapping's digest. A load without any has the digest alone.
    pub(crate) fn append(digest: String, columns: &[Self]) -> String {
        if columns.is_empty() {
            return digest;
        }
        format!("{digest} {}", serde_json::json!(columns))
    }

    /// Returns the columns in a mapping's fingerprint.
    pub(crate) fn in_fingerprint(fingerprint: &str) -> Result<Vec<Self>, UnknownColumns> {
        let Some((_, columns)) = fingerprint.split_once(' ') else { return Ok(Vec::new()) };
        serde_json::from_str(columns).map_err(|_| UnknownColumns { columns: columns.to_owned() })
    }

    /// Returns the column for its hash in SQL.
    pub(crate) fn hashed(&self) -> Result<HashedColumn, UnknownColumns> {
        let Self { name, sql_type } = self;
        let layout = match CellLayout::of(&Conversion::of_type(sql_type), sql_type) {
            Some(CellLayout::Fixed(_)) => "fixed",
            Some(CellLayout::Text) => "text",
            Some(CellLayout::TextList) => "list",
            Some(CellLayout::TextMap) => "map",
            None => return Err(UnknownColumns { columns: format!("{name} {sql_type}") }),
        };
        let (name, inner) = (name.clone(), inner_type(sql_type).to_owned());
        Ok(HashedColumn { name, inner, is_nullable: is_nullable(sql_type), layout })
    }
}
