//! Consumers of Kafka tables as their servers see them, with what went wrong there.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde::Deserialize;

use crate::kafka::Place;
use crate::node::{Node, NodeError};
use crate::sql;

/// So much of a server's error is shown: the whole of most, and no trace of any.
const MAX_ERROR_CHARS: usize = 300;

/// Consumers and errors of all nodes. A node that refuses a question is in [`Self::unreadable`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerReports {
    /// Every consumer of every Kafka table.
    pub consumers: Vec<ServerConsumer>,
    /// Errors of work that has no query, by node, the newest first.
    pub errors: BTreeMap<String, Vec<BackgroundError>>,
    /// Nodes that refused a question, with the error.
    pub unreadable: BTreeMap<String, String>,
}

/// A consumer of a Kafka table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerConsumer {
    /// The node.
    pub node: String,
    /// The table, with its database.
    pub table: String,
    /// Partitions that it has taken.
    pub assigned: BTreeSet<Place>,
    /// Seconds since it committed; absent if it never did.
    pub committed_s: Option<i64>,
    /// Views whose target is missing, so that the server does not stream to them.
    pub missing: Vec<String>,
    /// Its newest exception, with its age in seconds.
    pub exception: Option<(i64, String)>,
}

/// The newest error of a kind that a server met in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackgroundError {
    /// Seconds since it happened.
    pub age_s: i64,
    /// ClickHouse's name for it and its words, on one line.
    pub text: String,
    /// Whether it comes from the pool that streams from Kafka.
    pub streaming: bool,
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

/// Asks the nodes that answer. A node that reports its consumers but not its errors keeps the
/// former.
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
        assigned: places.map(|(topic, partition)| Place { topic, partition }).collect(),
        committed_s: row.committed_s,
        missing: row.missing,
        exception: row.exception_s.map(|age| (age, one_line(&row.exception))),
    }
}

fn background_error(row: ErrorRow) -> BackgroundError {
    let text = format!("{}: {}", row.name, one_line(&row.text));
    BackgroundError { age_s: row.age_s, text, streaming: row.streaming != 0 }
}

/// A server's error without its trace, on one line.
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
