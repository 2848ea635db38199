//! Event columns of the config: a profile, own columns, and materialized ones.

use std::collections::BTreeMap;

use super::reader::ConfigTable;
use super::rules;
use crate::event_columns::{
    ColumnOrigin, Conversion, Derivation, EventColumn, EventProfile, Invalid, MessageField, Missing, PARSED,
    canonical_type, changing_function, person_key,
};

const PROFILES: &[(&str, EventProfile)] = &[("core", EventProfile::Core), ("posthog", EventProfile::Posthog)];

/// Kinds of a column's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceKind {
    Field,
    MessageTimestamp,
    Partition,
}

const SOURCES: &[(&str, SourceKind)] = &[
    ("field", SourceKind::Field),
    ("message_timestamp", SourceKind::MessageTimestamp),
    ("partition", SourceKind::Partition),
];

const INVALID: &[(&str, Invalid)] = &[("dead_letter", Invalid::DeadLetter), ("default", Invalid::Default)];

/// Types of a data-skipping index that need no arguments.
const INDEXES: &[(&str, &str)] = &[("minmax", "minmax"), ("bloom_filter", "bloom_filter")];

/// Compression of a column.
const CODECS: &[(&str, &str)] = &[("ZSTD(1)", "ZSTD(1)"), ("ZSTD(3)", "ZSTD(3)"), ("LZ4", "LZ4")];

/// Reads the profile and all columns of `[events]`.
pub(super) fn read(events: &mut ConfigTable<'_>) -> (EventProfile, Vec<EventColumn>) {
    let profile = events.or("profile", EventProfile::Core, rules::one_of(PROFILES));
    let mut columns = profile.columns();
    if events.or("person_key", false, rules::boolean) {
        columns.push(person_key());
    }
    let known = columns.clone();
    columns.extend(own(events, &known));
    let written = columns.clone();
    columns.extend(materialized(events, &written));
    (profile, columns)
}

fn own(events: &mut ConfigTable<'_>, known: &[EventColumn]) -> Vec<EventColumn> {
    let mut names = BTreeMap::new();
    let mut paths: Vec<Vec<String>> = known.iter().filter_map(path).cloned().collect();
    let columns = events.list("columns", |table| {
        let name = table.required("name", r#""person_id""#, rules::literal);
        let sql_type = table.required("type", r#""UUID""#, rules::column_type);
        table.unique(&mut names, "name", name.as_ref());
        refuse_known(table, name.as_deref(), known);
        refuse_reserved(table, name.as_deref());
        let origin = origin(table, name.as_deref(), sql_type.as_deref());
        let column = column(table, name?, sql_type?, origin?);
        if let Some(path) = path(&column) {
            refuse_read_path(table, path, &paths);
            paths.push(path.clone());
        }
        Some(column)
    });
    columns.into_iter().flatten().collect()
}

/// Reads the keys that all columns have.
fn column(table: &mut ConfigTable<'_>, name: String, sql_type: String, origin: ColumnOrigin) -> EventColumn {
    let codec = table.optional("codec", rules::one_of(CODECS));
    let comment = table.optional("comment", rules::literal);
    let index = table.optional("index", rules::one_of(INDEXES));
    let (codec, index) = (codec.map(str::to_owned), index.map(str::to_owned));
    let sql_type = canonical_type(&sql_type);
    EventColumn { name, sql_type, origin, codec, comment, index }
}

/// The place of a column's field in the message.
fn path(column: &EventColumn) -> Option<&Vec<String>> {
    match &column.origin {
        ColumnOrigin::Field(field) => Some(&field.path),
        _ => None,
    }
}

/// Reads the source of a column that messages fill.
fn origin(table: &mut ConfigTable<'_>, name: Option<&str>, sql_type: Option<&str>) -> Option<ColumnOrigin> {
    let kind = table.or("value", SourceKind::Field, rules::one_of(SOURCES));
    let field = table.optional("field", rules::literal);
    let path = table.optional("path", rules::list_of(rules::literal));
    let invalid = table.optional("invalid", rules::one_of(INVALID));
    if kind != SourceKind::Field {
        for (key, is_given) in
            [("field", field.is_some()), ("path", path.is_some()), ("invalid", invalid.is_some())]
        {
            if is_given {
                table.fault(key, "leave it out, or set value = \"field\"");
            }
        }
    }
    if field.is_some() && path.is_some() {
        table.fault("path", "leave out field or path: both name the place in the message");
    }
    let path = match (path, field) {
        (Some(path), _) if path.is_empty() => {
            table.fault("path", "give at least one key");
            return None;
        }
        (Some(path), _) => path,
        (None, Some(field)) => vec![field],
        (None, None) => vec![name?.to_owned()],
    };
    match kind {
        SourceKind::MessageTimestamp => Some(ColumnOrigin::MessageTimestamp),
        SourceKind::Partition => Some(ColumnOrigin::Partition),
        SourceKind::Field => {
            let conversion = Conversion::of_type(sql_type?);
            if invalid == Some(Invalid::DeadLetter) && !conversion.finds_invalid() {
                table.fault(
                    "invalid",
                    "leave it out: a value of this type can't be checked, and gives its default",
                );
            }
            let invalid = invalid.unwrap_or(Invalid::DeadLetter);
            Some(ColumnOrigin::Field(MessageField { path, conversion, missing: Missing::Default, invalid }))
        }
    }
}

fn refuse_known(table: &mut ConfigTable<'_>, name: Option<&str>, known: &[EventColumn]) {
    if known.iter().any(|column| Some(column.name.as_str()) == name) {
        table.fault("name", "events has this column already: remove the entry");
    }
}

/// Names that the views give to parts of a message. A column of that name would take their place.
const RESERVED: [&str; 10] = [
    "message",
    "field",
    "is_object",
    "bracketed",
    "unquoted",
    "message_time",
    "event_uuid",
    "event_team_id",
    "event_timestamp",
    "event_created_at",
];

fn refuse_reserved(table: &mut ConfigTable<'_>, name: Option<&str>) {
    if name.is_some_and(|name| RESERVED.contains(&name) || name.starts_with(PARSED)) {
        table.fault(
            "name",
            "the views use this name: choose another, and name the field with field = \"...\"",
        );
    }
}

/// A field is read in one way only.
fn refuse_read_path(table: &mut ConfigTable<'_>, path: &[String], known: &[Vec<String>]) {
    if known.iter().any(|other| other.starts_with(path) || path.starts_with(other)) {
        let key = if table.holds("path") { "path" } else { "field" };
        table.fault(key, "another column reads this field of the message: name another field");
    }
}

fn materialized(events: &mut ConfigTable<'_>, written: &[EventColumn]) -> Vec<EventColumn> {
    let mut seen = BTreeMap::new();
    let columns = events.list("materialized", |table| {
        let name = table.required("name", r#""mat_$current_url""#, rules::literal);
        table.unique(&mut seen, "name", name.as_ref());
        if written.iter().any(|column| Some(&column.name) == name.as_ref()) {
            table.fault("name", "events has a column of this name already: choose another, such as mat_NAME");
        }
        let expression = table.optional("expression", rules::text);
        let derivation = match expression {
            Some(expression) => expression_of(table, expression),
            None => property(table, written),
        };
        let sql_type = match &derivation {
            Some(Derivation::Expression(_)) => table.required("type", r#""UInt64""#, rules::column_type),
            _ => Some("String".to_owned()),
        };
        Some(column(table, name?, sql_type?, ColumnOrigin::Materialized(derivation?)))
    });
    columns.into_iter().flatten().collect()
}

fn expression_of(table: &mut ConfigTable<'_>, expression: String) -> Option<Derivation> {
    if table.optional("property", rules::literal).is_some() {
        table.fault("property", "leave out property or expression: both compute the column");
        return None;
    }
    if let Some(function) = changing_function(&expression) {
        table.fault(
            "expression",
            format!(
                "leave out {function}: a block that is sent again must give the same rows, or it is stored twice"
            ),
        );
    }
    Some(Derivation::Expression(expression))
}

fn property(table: &mut ConfigTable<'_>, written: &[EventColumn]) -> Option<Derivation> {
    let key = table.required("property", r#""$current_url""#, rules::literal);
    let source = table.or("source", "properties".to_owned(), rules::literal);
    let is_text = |column: &&EventColumn| column.name == source && column.sql_type == "String";
    if !written.iter().any(|column| is_text(&column)) {
        table.fault("source", "give a column of type String that events has, such as \"properties\"");
    }
    Some(Derivation::Property { source, key: key? })
}
