//! Event columns as the SQL files take them.

use serde::Serialize;

use crate::event_columns::{
    CORE_NAMES, ColumnOrigin, Conversion, Derivation, EventColumn, Invalid, MessageField, Missing, PARSED,
    inner_type,
};

/// The columns, in the lists that `sql/events` goes through.
#[derive(Serialize)]
pub(super) struct ColumnsValues<'a> {
    /// Columns of an insert, in the order of the tables.
    written: Vec<ColumnValues<'a>>,
    /// Columns that a shard computes.
    materialized: Vec<ColumnValues<'a>>,
    /// Both.
    all: Vec<ColumnValues<'a>>,
    /// Columns with a data-skipping index.
    indexed: Vec<ColumnValues<'a>>,
    /// Columns with a parsed value.
    parsed: Vec<ColumnValues<'a>>,
    /// Columns whose fields can make a message a dead letter, in the order of their reasons.
    checked: Vec<ColumnValues<'a>>,
    /// Columns whose fields may not be an object or a list.
    texts: Vec<ColumnValues<'a>>,
    /// The names of checked core fields, which may not be repeated, as a list in SQL.
    required_names: String,
    /// The type that a message is read as.
    shape: String,
}

/// One column; fields that do not apply are empty.
#[derive(Clone, Serialize)]
struct ColumnValues<'a> {
    name: &'a str,
    /// The name as in a statement.
    ident: String,
    r#type: &'a str,
    codec: Option<&'a str>,
    comment: Option<&'a str>,
    index: Option<&'a str>,
    index_ident: Option<String>,
    /// `field`, `message_timestamp`, `partition`, `offset` or `materialized`.
    origin: &'static str,
    conversion: Option<&'a Conversion>,
    /// `dead_letter`, `default` or `message_timestamp`.
    missing: Option<&'static str>,
    /// The place of the column's reason among those of a dead letter.
    rank: u8,
    /// The field as text; NULL if it is missing.
    text: Option<String>,
    /// Name of the parsed value, if the conversion has one.
    alias: Option<String>,
    /// The type without `Nullable` and `LowCardinality`.
    inner: &'a str,
    is_nullable: bool,
    /// Names and numbers of an enumeration, as lists in SQL.
    names: Option<String>,
    numbers: Option<String>,
    source: Option<&'a str>,
    key: Option<&'a str>,
    file: Option<&'a str>,
    expression: Option<&'a str>,
}

impl<'a> ColumnsValues<'a> {
    pub(super) fn new(columns: &'a [EventColumn]) -> Self {
        let all: Vec<_> = columns.iter().map(ColumnValues::new).collect();
        let some = |keep: &dyn Fn(&EventColumn) -> bool| -> Vec<ColumnValues<'a>> {
            let kept = columns.iter().zip(&all).filter(|(column, _)| keep(column));
            kept.map(|(_, values)| values.clone()).collect()
        };
        let mut checked = some(&|column| field(column).is_some_and(is_checked));
        checked.sort_by_key(|column| column.rank);
        let mut parsed = some(&|column| field(column).is_some_and(|field| is_parsed(&field.conversion)));
        parsed.sort_by_key(|column| column.rank);
        let unique = checked.iter().filter(|column| column.missing != Some("default"));
        let required_names: Vec<String> = unique.map(|column| literal(column.name)).collect();
        Self {
            written: some(&EventColumn::is_written),
            materialized: some(&|column| !column.is_written()),
            indexed: some(&|column| column.index.is_some()),
            texts: some(&|column| field(column).is_some_and(|field| field.conversion == Conversion::Text)),
            parsed,
            checked,
            required_names: required_names.join(", "),
            shape: shape(columns).replace('\'', "\\'"),
            all,
        }
    }
}

impl<'a> ColumnValues<'a> {
    fn new(column: &'a EventColumn) -> Self {
        let field = field(column);
        let inner = inner_type(&column.sql_type);
        let (names, numbers) = match field.map(|field| &field.conversion) {
            Some(Conversion::Enumeration { names, numbers, .. }) => {
                let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
                (Some(format!("[{}]", names.join(", "))), Some(format!("{numbers:?}")))
            }
            _ => (None, None),
        };
        let derivation = match &column.origin {
            ColumnOrigin::Materialized(derivation) => Some(derivation),
            _ => None,
        };
        let (source, key) = match derivation {
            Some(Derivation::Property { source, key }) => (Some(source.as_str()), Some(key.as_str())),
            _ => (None, None),
        };
        Self {
            name: &column.name,
            ident: ident(&column.name),
            r#type: &column.sql_type,
            codec: column.codec.as_deref(),
            comment: column.comment.as_deref(),
            index: column.index.as_deref(),
            index_ident: column.index_name().as_deref().map(ident),
            origin: origin(&column.origin),
            conversion: field.map(|field| &field.conversion),
            missing: field.map(|field| missing(field.missing)),
            rank: field.map_or(0, |field| rank(&field.conversion)),
            text: field.map(text),
            alias: field.filter(|field| is_parsed(&field.conversion)).map(|_| alias(&column.name)),
            inner,
            is_nullable: column.sql_type.contains("Nullable("),
            names,
            numbers,
            source,
            key,
            file: derivation.and_then(|derivation| match derivation {
                Derivation::File(file) => Some(*file),
                _ => None,
            }),
            expression: derivation.and_then(|derivation| match derivation {
                Derivation::Expression(expression) => Some(expression.as_str()),
                _ => None,
            }),
        }
    }
}

fn field(column: &EventColumn) -> Option<&MessageField> {
    match &column.origin {
        ColumnOrigin::Field(field) => Some(field),
        _ => None,
    }
}

fn origin(origin: &ColumnOrigin) -> &'static str {
    match origin {
        ColumnOrigin::Field(_) => "field",
        ColumnOrigin::MessageTimestamp => "message_timestamp",
        ColumnOrigin::Partition => "partition",
        ColumnOrigin::Offset => "offset",
        ColumnOrigin::Materialized(_) => "materialized",
    }
}

fn missing(missing: Missing) -> &'static str {
    match missing {
        Missing::DeadLetter => "dead_letter",
        Missing::Default => "default",
        Missing::MessageTimestamp => "message_timestamp",
    }
}

/// Whether a message can be a dead letter because of this field. Texts are checked as objects and
/// lists too.
fn is_checked(field: &MessageField) -> bool {
    match field.missing {
        Missing::DeadLetter => true,
        _ => {
            field.conversion.finds_invalid()
                && field.conversion != Conversion::Text
                && field.invalid == Invalid::DeadLetter
        }
    }
}

/// Whether the conversion has a parsed value, which is NULL for an invalid field.
fn is_parsed(conversion: &Conversion) -> bool {
    use Conversion::{Boolean, Float, Integer, Seconds, Timestamp, Uuid};
    matches!(conversion, Uuid | Integer { .. } | Timestamp { .. } | Seconds | Float { .. } | Boolean)
}

/// Order of the reasons: identity, texts, numbers, times, all else.
fn rank(conversion: &Conversion) -> u8 {
    match conversion {
        Conversion::Uuid => 0,
        Conversion::Text => 1,
        Conversion::Integer { .. } => 2,
        Conversion::Timestamp { .. } | Conversion::Seconds => 3,
        _ => 4,
    }
}

/// The field in the parsed message.
fn text(field: &MessageField) -> String {
    let keys: Vec<String> = field.path.iter().map(|key| ident(key)).collect();
    format!("field.{}", keys.join("."))
}

/// Name of the parsed value, for the reasons of dead letters too.
fn alias(name: &str) -> String {
    if CORE_NAMES.contains(&name) { format!("event_{name}") } else { ident(&format!("{PARSED}{name}")) }
}

/// The type that a message is read as: a tuple of the fields, in the order of the columns.
fn shape(columns: &[EventColumn]) -> String {
    let mut tree = FieldTree::default();
    for field in columns.iter().filter_map(field) {
        let json_type = match &field.conversion {
            Conversion::Parsed { json_type, .. } => json_type,
            _ => "Nullable(String)",
        };
        tree.add(&field.path, json_type);
    }
    tree.sql_type()
}

/// Fields by key, in the order of their first use.
#[derive(Default)]
struct FieldTree<'a>(Vec<(&'a str, FieldNode<'a>)>);

enum FieldNode<'a> {
    Leaf(&'a str),
    Fields(FieldTree<'a>),
}

impl<'a> FieldTree<'a> {
    fn add(&mut self, path: &'a [String], json_type: &'a str) {
        let Some((key, rest)) = path.split_first() else { return };
        let place = self.0.iter().position(|(known, _)| known == key);
        match (place.map(|place| &mut self.0[place].1), rest.is_empty()) {
            (Some(FieldNode::Fields(fields)), false) => fields.add(rest, json_type),
            // The config refuses a field that two columns read in different ways.
            (Some(_), _) => {}
            (None, true) => self.0.push((key, FieldNode::Leaf(json_type))),
            (None, false) => {
                let mut fields = FieldTree::default();
                fields.add(rest, json_type);
                self.0.push((key, FieldNode::Fields(fields)));
            }
        }
    }

    fn sql_type(&self) -> String {
        let fields = self.0.iter().map(|(key, node)| match node {
            FieldNode::Leaf(json_type) => format!("{} {json_type}", ident(key)),
            FieldNode::Fields(fields) => format!("{} {}", ident(key), fields.sql_type()),
        });
        format!("Tuple({})", fields.collect::<Vec<_>>().join(", "))
    }
}

/// A name in a statement. Those of the core are no keywords, so they need no backticks.
fn ident(name: &str) -> String {
    if CORE_NAMES.contains(&name) { name.to_owned() } else { format!("`{name}`") }
}

/// A text that needs no escapes, between single quotes.
fn literal(text: &str) -> String {
    format!("'{text}'")
}
