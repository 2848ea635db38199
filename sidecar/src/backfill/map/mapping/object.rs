//! Source of `properties`: one column, or an object of several.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use toml::de::DeValue;

use super::ValueSource;
use super::grammar::{column, column_or_constant, list, or, text};
use crate::config::reader::ConfigTable;
use crate::config::rules;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(in crate::backfill::map) enum PropertiesSource {
    Value(ValueSource<String>),
    Object(ObjectSource),
}

/// An object with a field for each column that has a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::backfill::map) struct ObjectSource {
    pub(super) columns: BTreeSet<ColumnPattern>,
    /// Columns that are left out.
    pub(super) except: BTreeSet<ColumnPattern>,
    /// Columns whose text is JSON.
    pub(super) json: BTreeSet<ColumnPattern>,
    /// A column that holds an object, whose fields come first.
    pub(super) object: Option<String>,
    /// Names of fields, by column.
    pub(super) rename: BTreeMap<String, String>,
}

/// Columns by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum ColumnPattern {
    /// Columns of the file that no other key of the mapping reads.
    Rest,
    /// Columns of the file whose names begin with a text.
    Prefix(String),
    /// A column of the file or of its path.
    Name(String),
}

impl ColumnPattern {
    fn of(text: String) -> Self {
        match text.strip_suffix('*') {
            Some("") => Self::Rest,
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Name(text),
        }
    }

    /// Whether it names `column`. [`ColumnPattern::Rest`] does not name any.
    pub(super) fn names(&self, column: &str) -> bool {
        match self {
            Self::Rest => false,
            Self::Prefix(prefix) => column.starts_with(prefix.as_str()),
            Self::Name(name) => column == name,
        }
    }
}

/// Keys of an object of several columns.
const OBJECT_KEYS: [&str; 2] = ["columns", "object"];

pub(super) fn properties(top: &mut ConfigTable<'_>) -> Option<PropertiesSource> {
    if !top.holds_table("properties") {
        return or(top, "properties", String::new(), text).map(PropertiesSource::Value);
    }
    top.section("properties", |table| {
        if OBJECT_KEYS.iter().any(|key| table.holds(key)) {
            return object(table).map(PropertiesSource::Object);
        }
        let value = column_or_constant(table, text).map(PropertiesSource::Value);
        // Asked for, so that their names are known.
        for key in OBJECT_KEYS.iter().chain(&["except", "json", "rename"]) {
            table.optional(key, |_| Err::<(), _>("remove it, or give columns = [\"…\"]".to_owned()));
        }
        value
    })
}

fn object(table: &mut ConfigTable<'_>) -> Option<ObjectSource> {
    let given = table.holds("columns");
    let columns = table.optional("columns", patterns);
    let object = table.optional("object", column);
    for key in ["column", "constant", "default"] {
        table.optional(key, |_| {
            Err::<(), _>("remove it: columns and object make an object of their own".to_owned())
        });
    }
    let mut no_rest = |key| {
        let patterns: BTreeSet<_> = table.or(key, BTreeSet::new(), patterns);
        if patterns.contains(&ColumnPattern::Rest) {
            table.fault(key, "give names, or the beginning of names such as \"context_*\"");
        }
        patterns
    };
    let (except, json) = (no_rest("except"), no_rest("json"));
    let rename = table.map("rename", rules::text);
    let columns = if given { columns? } else { BTreeSet::new() };
    Some(ObjectSource { columns, except, json, object, rename })
}

/// Column names, or their beginnings with a `*` at the end.
fn patterns(value: &DeValue<'_>) -> Result<BTreeSet<ColumnPattern>, String> {
    let names = list(value)?;
    if names.is_empty() {
        return Err("is empty: give at least one column, or \"*\" for all that no other key reads".to_owned());
    }
    Ok(names.into_iter().map(ColumnPattern::of).collect())
}
