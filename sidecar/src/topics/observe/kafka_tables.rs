//! Consumers of Kafka tables as reported by their servers, with background errors.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde::Deserialize;

use crate::kafka::TopicPartition;
use crate::node::{Node, NodeError};
use crate::sql;

/// Characters of a server's error that are shown. Enough for most messages, without the stack
/// trace.
const MAX_ERROR_CHARS: usize = 300;

/// Consumers and errors of all nodes. A node that refuses a query is in [`Self::unreadable`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerReports {
    /// Every consumer of every Kafka table.
    pub(crate) consumers: Vec<ServerConsumer>,
    /// Errors of background work by node, the newest first.
    pub(crate) errors: BTreeMap<String, Vec<BackgroundError>>,
    /// Nodes that refused a query, with the error.
    pub(crate) unreadable: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerConsumer {
    pub(crate) node: String,
    /// With its database.
    pub(crate) table: String,
    /// Assigned partitions.
    pub(crate) assigned: BTreeSet<TopicPartition>,
    /// Seconds since the last commit; absent if it never committed.
    pub(crate) committed_s: Option<i64>,
    /// Views with a missing target. The server does not stream to them.
    pub(crate) missing: Vec<String>,
    /// Newest exception, with its age in seconds.
    pub(crate) exception: Option<(i64, String)>,
}

/// Newest background error of one kind on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackgroundError {
    /// Age in seconds.
    pub(crate) age_s: i64,
    /// ClickHouse's error name and message, on one line.
    pub(crate) text: String,
    /// Whether it comes from the pool that streams from Kafka.
    pub(crate) streaming: bool,
}

#[derive(Deserialize)]
struct ConsumerRow {
    database: String,
    name: String,
    topics: Vec<String>,
    partitions: Vec<i32>,
    committed_s: Option<i64>,
    missing: Vec<String>,
    exception: String,
    exception_s: Option<i64>,
}

#[derive(Deserialize)]
struct ErrorRow {
    name: String,
    text: String,
    streaming: u8,
    age_s: i64,
}

/// Asks all nodes that `answers` accepts. If only the errors of a node can't be read, its consumers
/// are kept.
pub(crate) async fn server_reports(nodes: &[Node], answers: impl Fn(&Node) -> bool) -> ServerReports {
    let asked: Vec<&Node> = nodes.iter().filter(|node| answers(node)).collect();
    let (consumers, errors) =
        (asked.iter().map(|node| consumers(node)), asked.iter().map(|node| errors(node)));
    let (consumers, errors) = (join_all(consumers).await, join_all(errors).await);
    let mut reports = ServerReports::default();
    for (node, (consumers, errors)) in asked.iter().zip(consumers.into_iter().zip(errors)) {
        let refusal = [consumers.as_ref().err(), errors.as_ref().err()].into_iter().flatten().next();
        if let Some(error) = refusal {
            reports.unreadable.insert(node.name.clone(), error.to_string());
        }
        reports.consumers.extend(consumers.unwrap_or_default());
        reports.errors.insert(node.name.clone(), errors.unwrap_or_default());
    }
    reports
}

async fn consumers(node: &Node) -> Result<Vec<ServerConsumer>, NodeError> {
    let rows: Vec<ConsumerRow> = node.rows(sql::text("inspect/consumers.sql").unwrap_or_default()).await?;
    Ok(rows.into_iter().map(|row| server_consumer(&node.name, row)).collect())
}

async fn errors(node: &Node) -> Result<Vec<BackgroundError>, NodeError> {
    let rows: Vec<ErrorRow> =
        node.rows(sql::text("inspect/background_errors.sql").unwrap_or_default()).await?;
    Ok(rows.into_iter().map(background_error).collect())
}

fn server_consumer(node: &str, row: ConsumerRow) -> ServerConsumer {
    let places = row.topics.into_iter().zip(row.partitions);
    ServerConsumer {
        node: node.to_owned(),
        table: format!("{}.{}", row.database, row.name),
        assigned: places.map(|(topic, partition)| TopicPartition { topic, partition }).collect(),
        committed_s: row.committed_s,
        missing: row.missing,
        exception: row.exception_s.map(|age| (age, one_line(&row.exception))),
    }
}

fn background_error(row: ErrorRow) -> BackgroundError {
    let text = format!("{}: {}", row.name, one_line(&row.text));
    BackgroundError { age_s: row.age_s, text, streaming: row.streaming != 0 }
}

/// A server's error on one line, without its stack trace.
fn one_line(text: &str) -> String {
    let text = text.split("Stack trace:").next().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortens_an_error_to_a_line_without_its_trace() {
        let said = "Received from a:1. DB::Exception: Table d.t does not exist. Stack trace:\n\n0. ? @ 0x1\n";
        assert_eq!(one_line(said), "Received from a:1. DB::Exception: Table d.t does not exist.");
        assert_eq!(one_line("a:\nb\n: while  pushing"), "a: b : while pushing");
        let long = one_line(&"é".repeat(1_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (MAX_ERROR_CHARS + 1, true));
    }
}
