//! Renders the statements of one node from the config; one SQL source serves every topology.

use serde::Serialize;

use super::objects::Object;
use crate::config::{Config, Offsets};
use crate::node::Node;
use crate::sql::{self, RenderError};

/// One object's `CREATE` statement, as posthouse wants it on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it makes.
    pub object: &'static Object,
    /// The statement, with the comments of its file.
    pub sql: String,
}

/// What the templates may ask for.
#[derive(Serialize)]
struct Values<'a> {
    database: &'a str,
    cluster: &'a str,
    replicated: bool,
    node: NodeValues<'a>,
    kafka: KafkaValues,
    events: EventsValues<'a>,
    /// Absent where no object asks for it.
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
    /// Absent where the group keeps the offsets.
    keeper_path: Option<&'a str>,
    consumers: u32,
    batch_rows: u32,
    poll_timeout_ms: u128,
    deduplication_window: u32,
    materialized: Vec<ColumnValues<'a>>,
}

#[derive(Serialize)]
struct ColumnValues<'a> {
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

/// All statements of one node, in the order in which they are made.
///
/// # Errors
/// [`RenderError`], which is a fault of posthouse.
pub fn render(config: &Config, node: &Node) -> Result<Vec<Statement>, RenderError> {
    let values = values(config, node);
    let mut statements = Object::wanted(config)
        .map(|object| Ok(Statement { object, sql: sql::render(object.file, &values)?.trim_end().to_owned() }))
        .collect::<Result<Vec<_>, _>>()?;
    statements.sort_by_key(|statement| statement.object.role);
    Ok(statements)
}

fn values<'a>(config: &'a Config, node: &'a Node) -> Values<'a> {
    let events = &config.events;
    let brokers: Vec<String> = config.kafka.brokers.iter().map(ToString::to_string).collect();
    Values {
        database: &config.database,
        cluster: &config.cluster,
        replicated: config.replicated,
        node: NodeValues { name: &node.name },
        kafka: KafkaValues { brokers: brokers.join(",") },
        events: EventsValues {
            topic: &events.topic,
            group: &events.group,
            keeper_path: (events.offsets == Offsets::Keeper).then_some(&events.keeper_path),
            consumers: events.consumers,
            batch_rows: events.batch_rows,
            poll_timeout_ms: events.poll_timeout.as_millis(),
            deduplication_window: events.deduplication_window,
            materialized: events
                .materialized
                .iter()
                .map(|column| ColumnValues { name: &column.name, property: &column.property })
                .collect(),
        },
        persons: config.persons.as_ref().map(|persons| {
            // Who shares a group shares its messages: only replicas may.
            let own = if config.replicated { String::new() } else { format!("_{}", node.name) };
            PersonsValues {
                topic: &persons.topic,
                distinct_id_topic: &persons.distinct_id_topic,
                group: format!("{}{own}", persons.group),
                distinct_id_group: format!("{}_distinct_id{own}", persons.group),
                flush_ms: persons.flush.as_millis(),
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CLUSTER: &str = "kafka.brokers = [\"b:1\"]\n[[shards]]\nweight = 1\n\
        [[shards.replicas]]\nname = \"a\"\nurl = \"http://a:8123\"\naddress = \"a:9000\"\n\
        [[shards.replicas]]\nname = \"b\"\nurl = \"http://b:8123\"\naddress = \"b:9000\"\n";

    /// The statements of every node.
    fn rendered(config: &str) -> Vec<Vec<Statement>> {
        let config = Config::parse(config, Path::new("")).expect("a config");
        let nodes = Node::all(&config);
        nodes.iter().map(|node| render(&config, node).expect("renders")).collect()
    }

    fn sql<'s>(statements: &'s [Statement], name: &str) -> &'s str {
        statements.iter().find(|statement| statement.object.name == name).map_or("", |found| &found.sql)
    }

    #[test]
    fn without_persons_nothing_reads_their_topics() {
        let nodes = rendered(&format!("replicated = true\n{CLUSTER}"));
        assert!(nodes.iter().flatten().all(|statement| !statement.object.name.contains("person")));
    }

    #[test]
    fn replicas_share_the_groups_and_the_path_of_persons() {
        let nodes = rendered(&format!("replicated = true\n{CLUSTER}[persons]\n"));
        for node in &nodes {
            assert!(sql(node, "kafka_person").contains("kafka_group_name = 'clickhouse_persons'"));
            let path = "('/clickhouse/tables/noshard/posthog.person', '{shard}-{replica}', version)";
            assert!(sql(node, "person").contains(path), "{}", sql(node, "person"));
        }
    }

    #[test]
    fn tables_that_are_not_replicated_have_a_group_for_each_node_and_topic() {
        let text = CLUSTER.replacen(
            "[[shards.replicas]]\nname = \"b\"",
            "[[shards]]\nweight = 1\n[[shards.replicas]]\nname = \"b\"",
            1,
        );
        let nodes = rendered(&format!("{text}[persons]\ngroup = \"g\"\n"));
        for (node, name) in nodes.iter().zip(["a", "b"]) {
            assert!(sql(node, "kafka_person").contains(&format!("kafka_group_name = 'g_{name}'")));
            let group = format!("kafka_group_name = 'g_distinct_id_{name}'");
            assert!(sql(node, "kafka_person_distinct_id").contains(&group));
        }
    }
}
