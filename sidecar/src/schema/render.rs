//! Rendering of a node's statements from the config.
//!
//! One set of SQL files serves every topology.

use serde::Serialize;

use super::objects::SchemaObject;
use crate::config::{ColumnValue, Config, EventColumn, OffsetStorage};
use crate::node::Node;
use crate::sql::{self, RenderError};

/// One object's desired `CREATE` statement on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) object: &'static SchemaObject,
    /// Includes the comments of its file.
    pub(crate) sql: String,
}

/// Values for the templates.
#[derive(Serialize)]
struct RenderValues<'a> {
    database: &'a str,
    cluster: &'a str,
    replicated: bool,
    node: NodeValues<'a>,
    kafka: KafkaValues,
    events: EventsValues<'a>,
    /// `None` if the config has no `[persons]`.
    persons: Option<PersonsValues<'a>>,
}

#[derive(Serialize)]
struct NodeValues<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct KafkaValues {
    brokers: String,
}

#[derive(Serialize)]
struct EventsValues<'a> {
    topic: &'a str,
    group: &'a str,
    /// `None` if the group keeps the offsets.
    keeper_path: Option<&'a str>,
    consumers: u32,
    batch_rows: u32,
    poll_timeout_ms: u128,
    deduplication_window: u32,
    columns: Vec<ColumnTemplate<'a>>,
    materialized: Vec<MaterializedValues<'a>>,
}

/// A column of `[[events.columns]]`, for `sql/events/column_value.sql`.
#[derive(Serialize)]
struct ColumnTemplate<'a> {
    name: &'a str,
    r#type: &'a str,
    /// `field`, `message_timestamp` or `partition`.
    value: &'static str,
    /// The field of the message; `None` for other values.
    field: Option<&'a str>,
    /// The type that the field is read as.
    json_type: String,
    /// Whether `json_type` yields NULL for a missing or invalid value.
    nullable_in_json: bool,
    /// Fractional digits of a timestamp, which is read as text.
    digits: Option<u8>,
}

#[derive(Serialize)]
struct MaterializedValues<'a> {
    name: &'a str,
    property: &'a str,
}

#[derive(Serialize)]
struct PersonsValues<'a> {
    topic: &'a str,
    distinct_id_topic: &'a str,
    group: String,
    distinct_id_group: String,
    flush_ms: u128,
}

/// Returns all statements of one node, in the order of creation.
///
/// # Errors
/// [`RenderError`], a bug of posthouse.
pub(crate) fn render(config: &Config, node: &Node) -> Result<Vec<Statement>, RenderError> {
    let values = values(config, node);
    let mut statements = SchemaObject::wanted(config)
        .map(|object| Ok(Statement { object, sql: sql::render(object.file, &values)?.trim_end().to_owned() }))
        .collect::<Result<Vec<_>, _>>()?;
    statements.sort_by_key(|statement| statement.object.role);
    Ok(statements)
}

fn values<'a>(config: &'a Config, node: &'a Node) -> RenderValues<'a> {
    let events = &config.events;
    let brokers: Vec<String> = config.kafka.brokers.iter().map(ToString::to_string).collect();
    RenderValues {
        database: &config.database,
        cluster: &config.cluster,
        replicated: config.replicated,
        node: NodeValues { name: &node.name },
        kafka: KafkaValues { brokers: brokers.join(",") },
        events: EventsValues {
            topic: &events.topic,
            group: &events.group,
            keeper_path: (events.offsets == OffsetStorage::Keeper).then_some(&events.keeper_path),
            consumers: events.consumers,
            batch_rows: events.batch_rows,
            poll_timeout_ms: events.poll_timeout.as_millis(),
            deduplication_window: events.deduplication_window,
            columns: events.columns.iter().map(column).collect(),
            materialized: events
                .materialized
                .iter()
                .map(|column| MaterializedValues { name: &column.name, property: &column.property })
                .collect(),
        },
        persons: config.persons.as_ref().map(|persons| {
            // Consumers of one group share its messages, so only replicas may share a group.
            let own = if config.replicated { String::new() } else { format!("_{}", node.name) };
            PersonsValues {
                topic: &persons.topic,
                distinct_id_topic: &persons.distinct_id_topic,
                group: format!("{}{own}", persons.group),
                distinct_id_group: format!("{}_distinct_id{own}", persons.group),
                flush_ms: persons.flush_interval.as_millis(),
            }
        }),
    }
}

/// Types that can't be inside `Nullable`. JSON gives their default for a missing or invalid value.
const NEVER_NULLABLE: [&str; 8] =
    ["Nullable", "Array", "Map", "Tuple", "LowCardinality", "Variant", "Dynamic", "JSON"];

fn column(column: &EventColumn) -> ColumnTemplate<'_> {
    let kind = column.kind.as_str();
    let (value, field) = match &column.value {
        ColumnValue::Field(field) => ("field", Some(field.as_str())),
        ColumnValue::MessageTimestamp => ("message_timestamp", None),
        ColumnValue::Partition => ("partition", None),
    };
    let outer = kind.split('(').next().unwrap_or_default();
    let digits = timestamp_digits(kind);
    let nullable_in_json = digits.is_none() && !NEVER_NULLABLE.contains(&outer);
    let json_type = match (digits, nullable_in_json) {
        (Some(_), _) => "Nullable(String)".to_owned(),
        (None, true) => format!("Nullable({kind})"),
        (None, false) => kind.to_owned(),
    };
    ColumnTemplate { name: &column.name, r#type: kind, value, field, json_type, nullable_in_json, digits }
}

/// Fractional digits of `DateTime` and `DateTime64(3, 'UTC')`; `None` for other types.
fn timestamp_digits(kind: &str) -> Option<u8> {
    match kind.split_once('(') {
        Some(("DateTime64", rest)) => {
            rest.chars().next().and_then(|digit| u8::try_from(digit.to_digit(10)?).ok())
        }
        Some(("DateTime", _)) => Some(0),
        _ => (kind == "DateTime").then_some(0),
    }
}

#[cfg(test)]
mod tests;
