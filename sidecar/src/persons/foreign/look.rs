//! Search for conflicts in both topics and on every node.
//!
//! It reads the newest messages of the topics and the versions on the nodes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use minijinja::context;
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::kafka::{Client, KafkaError, Newest, TopicPartition};
use crate::node::NodeError;
use crate::sql;

use super::judge::Judge;
use super::{Conflicts, ForeignMessage, TableConflicts, TopicConflicts};
use crate::persons::postgres::table::TableKind;
use crate::persons::source::PersonSource;

/// Maximum number of newest offsets per partition that a search before or while publishing reads.
const MAX_OFFSETS: i64 = 500;
/// The same limit for the search that every node runs each minute.
const MAX_OFFSETS_PER_MINUTE: i64 = 50;
/// Tables that may have persons: posthouse's names, and PostHog's name for distinct ids.
const TABLES: [&str; 3] = ["person", "person_distinct_id", "person_distinct_id2"];
/// ClickHouse's error codes for a missing table and a missing database.
const UNKNOWN_TABLE: [u32; 2] = [60, 81];
/// ClickHouse's error code for a missing column.
const UNKNOWN_COLUMN: u32 = 47;

#[derive(Deserialize)]
struct VersionCounts {
    rows: u64,
    greatest: u64,
    conflicting: u64,
    least_conflicting: u64,
    greatest_conflicting: u64,
    latest: i64,
}

/// Finds conflicts in both topics and on all nodes. Also returns the ends of the topic partitions.
/// An unreachable node is named in the result and is no error.
pub(in super::super) async fn look(
    cluster: &Cluster,
    source: PersonSource<'_>,
) -> anyhow::Result<(Conflicts, BTreeMap<TopicPartition, i64>)> {
    let (topics, ends) = look_at_topics(source, cluster.kafka()?, &BTreeMap::new()).await?;
    let mut conflicts = Conflicts { topics, ..Conflicts::default() };
    let (operator, bound, after) = Judge::new(source.postgres).rows();
    for node in &cluster.nodes {
        for table in TABLES {
            let values = context! { database => &cluster.config.database, table, operator, bound, after };
            let statement = sql::render("audit/node_versions.sql", values)?;
            match node.rows::<VersionCounts>(&statement).await {
                Ok(rows) => {
                    let of_table = |versions| table_conflicts(&node.name, table, versions);
                    conflicts.tables.extend(rows.into_iter().map(of_table));
                }
                Err(NodeError::Unreachable { name, .. }) => {
                    conflicts.unreachable.push(name);
                    break;
                }
                Err(error) if error.code().is_some_and(|code| UNKNOWN_TABLE.contains(&code)) => {}
                Err(error) if error.code() == Some(UNKNOWN_COLUMN) => {
                    conflicts.unreadable.push(format!("table {table} on {}", node.name));
                }
                Err(error) => {
                    let text = format!("{error}: versions of persons can't be compared");
                    return Err(anyhow::Error::from(error).context(text));
                }
            }
        }
    }
    Ok((conflicts, ends))
}

/// Finds conflicts in both topics from these offsets on. Also returns the ends of the topic
/// partitions.
pub(in super::super) async fn look_at_topics(
    source: PersonSource<'_>,
    client: &Client,
    from: &BTreeMap<TopicPartition, i64>,
) -> Result<(Vec<TopicConflicts>, BTreeMap<TopicPartition, i64>), KafkaError> {
    read_topics(source, client, from, MAX_OFFSETS).await
}

async fn read_topics(
    source: PersonSource<'_>,
    client: &Client,
    from: &BTreeMap<TopicPartition, i64>,
    limit: i64,
) -> Result<(Vec<TopicConflicts>, BTreeMap<TopicPartition, i64>), KafkaError> {
    let PersonSource { persons, postgres } = source;
    let judge = Judge::new(postgres);
    let (mut topics, mut ends) = (Vec::new(), BTreeMap::new());
    for (kind, topic) in
        [(TableKind::Person, &persons.topic), (TableKind::DistinctId, &persons.distinct_id_topic)]
    {
        let pick = move |record: &_| judge.message(kind, record).zip(Some(record_time(record)));
        let Newest { read, picked, ends: ended } = client.newest(topic, from, limit, pick).await?;
        ends.extend(ended);
        topics.push(TopicConflicts {
            topic: topic.clone(),
            read,
            conflicting: picked.len() as u64,
            newest: newest(picked),
        });
    }
    Ok((topics, ends))
}

/// Finds conflicts in the config's topics; empty where the config has no source of persons.
pub(crate) async fn topics_of(cluster: &Cluster) -> Result<Vec<TopicConflicts>, KafkaError> {
    match PersonSource::of(&cluster.config) {
        Some(source) => {
            let from = BTreeMap::new();
            Ok(read_topics(source, cluster.kafka()?, &from, MAX_OFFSETS_PER_MINUTE).await?.0)
        }
        None => Ok(Vec::new()),
    }
}

fn record_time(record: &crate::kafka::TopicRecord) -> i64 {
    record.timestamp.unwrap_or(i64::MIN)
}

fn newest(picked: Vec<(ForeignMessage, i64)>) -> Option<ForeignMessage> {
    let newest = picked.into_iter().max_by_key(|(message, made)| (*made, message.partition, message.offset));
    newest.map(|(message, _)| message)
}

fn table_conflicts(node: &str, table: &str, found: VersionCounts) -> TableConflicts {
    let conflicts = found.conflicting > 0;
    let latest = || Timestamp::from_second(found.latest).map(|latest| latest.to_string()).ok();
    TableConflicts {
        node: node.to_owned(),
        table: table.to_owned(),
        rows: found.rows,
        greatest: found.greatest,
        conflicting: found.conflicting,
        versions: conflicts.then_some((found.least_conflicting, found.greatest_conflicting)),
        latest: conflicts.then(latest).flatten(),
    }
}
