//! Source of the events' UUIDs.

use serde::Serialize;
use toml::de::DeValue;
use uuid::Uuid;

use super::ColumnNames;
use super::grammar::{columns, list};
use crate::config::reader::ConfigTable;

/// Never a constant, because rows that share a uuid are the same event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(in crate::backfill::map) enum UuidSource {
    /// UUIDs of the file.
    Column(ColumnNames),
    Derived(DerivedUuid),
}

/// UUIDs of version 5, which are a hash of their namespace and a name. The same name has the same
/// UUID in every file, load and version of posthouse.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::backfill::map) struct DerivedUuid {
    pub(in crate::backfill::map) namespace: Uuid,
    pub(in crate::backfill::map) names: UuidNames,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::backfill::map) enum UuidNames {
    /// The name is the value.
    Column(ColumnNames),
    /// The name is a JSON list of the values of all columns.
    Joined(Vec<String>),
}

pub(super) fn uuid(top: &mut ConfigTable<'_>) -> Option<UuidSource> {
    if !top.holds("uuid") {
        return top.required("uuid", "\"column\"", columns).map(UuidSource::Column);
    }
    if !top.holds_table("uuid") {
        return top.optional("uuid", columns).map(UuidSource::Column);
    }
    top.section("uuid", |table| {
        for key in ["constant", "default"] {
            table.optional(key, |_| {
                Err::<(), _>(
                    "remove it: every event needs a uuid of its own, or it is a duplicate".to_owned(),
                )
            });
        }
        let column = table.optional("column", columns);
        let joined = table.optional("joined", several);
        let namespace = table.optional("namespace", namespace);
        match (table.holds("column"), table.holds("joined")) {
            (true, true) => {
                table.fault("joined", "a column is given too: remove one");
                None
            }
            (false, false) => {
                table.missing("column", "column = \"uuid\"");
                None
            }
            (true, false) if !table.holds("namespace") => column.map(UuidSource::Column),
            (false, true) if !table.holds("namespace") => {
                table.missing(
                    "namespace",
                    "namespace = \"…\", any UUID, the same one for all files of this export",
                );
                None
            }
            (true, false) => Some(UuidNames::Column(column?)).zip(namespace).map(UuidSource::derived),
            (false, true) => Some(UuidNames::Joined(joined?)).zip(namespace).map(UuidSource::derived),
        }
    })
}

impl UuidSource {
    fn derived((names, namespace): (UuidNames, Uuid)) -> Self {
        Self::Derived(DerivedUuid { namespace, names })
    }
}

fn several(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let names = list(value)?;
    if names.len() < 2 {
        return Err("give at least two columns, or column = \"…\" for one".to_owned());
    }
    Ok(names)
}

fn namespace(value: &DeValue<'_>) -> Result<Uuid, String> {
    value.as_str().and_then(|text| Uuid::try_parse(text).ok()).ok_or_else(|| {
        "give a UUID in quotes, the same one for all files of this export, such as \
         \"5ec2a1c4-8f0e-4c8f-9a57-3f8f6f5a7a10\""
            .to_owned()
    })
}
