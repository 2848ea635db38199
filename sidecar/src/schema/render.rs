//! Rendering of a node's statements from the config.
//!
//! One set of SQL files serves every topology.

mod columns;

use serde::Serialize;

use self::columns::ColumnsValues;
use super::objects::SchemaObject;
use crate::config::{Config, OffsetStorage};
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
    kafka: KafkaValues<'a>,
    events: EventsValues<'a>,
    /// `None` if the config has no `[persons]`.
    persons: Option<PersonsValues<'a>>,
}

#[derive(Serialize)]
struct NodeValues<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct KafkaValues<'a> {
    brokers: String,
    named_collection: Option<&'a str>,
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
    views_skip_unused_shards: bool,
    #[serde(flatten)]
    columns: ColumnsValues<'a>,
}

#[derive(Serialize)]
struct PersonsValues<'a> {
    topic: &'a str,
    distinct_id_topic: &'a str,
    group: String,
    distinct_id_group: String,
    flush_ms: u128,
    distinct_id_table: &'a str,
    /// The other name of that table, if a view has it.
    distinct_id_view: Option<&'static str>,
    /// The call that gives the person of an event; `None` if views join.
    lookup: Option<&'static str>,
    /// The view that keeps overrides, if there is one.
    overrides_views: Vec<&'static str>,
}

/// The view of [`Section::Overrides`](super::objects::Section::Overrides).
const OVERRIDES_VIEW: &str = "person_distinct_id_overrides_mv";

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
        kafka: KafkaValues {
            brokers: brokers.join(","),
            named_collection: config.kafka.named_collection.as_deref(),
        },
        events: EventsValues {
            topic: &events.topic,
            group: &events.group,
            keeper_path: (events.offsets == OffsetStorage::Keeper).then_some(&events.keeper_path),
            consumers: events.consumers,
            batch_rows: events.batch_rows,
            poll_timeout_ms: events.poll_timeout.as_millis(),
            deduplication_window: events.deduplication_window,
            views_skip_unused_shards: events.views_skip_unused_shards,
            columns: ColumnsValues::new(&events.columns),
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
                distinct_id_table: persons.distinct_id_table,
                distinct_id_view: config.distinct_id_view(),
                lookup: config.looks_up_persons().then(|| match config.has_person_key() {
                    true => "personOfKey(person_key)",
                    false => "personOf(team_id, distinct_id)",
                }),
                overrides_views: config.keeps_overrides().then_some(OVERRIDES_VIEW).into_iter().collect(),
            }
        }),
    }
}

#[cfg(test)]
mod tests;
