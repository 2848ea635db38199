//! Other producers of persons, and conflicts with their messages and rows.

mod clearance;
mod judge;
mod look;
mod watch;

use std::fmt;

use serde::Serialize;

use crate::config::VersionRule;

pub(super) use self::clearance::clear;
pub(crate) use self::judge::ForeignMessage;
pub(crate) use self::look::topics_of;
pub(super) use self::look::{look, look_at_topics};
pub(super) use self::watch::Watch;

/// Maximum number of conflicts that an error names.
const MAX_NAMED: usize = 4;

/// Messages and rows that conflict with posthouse's versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Conflicts {
    /// One for each topic.
    pub(crate) topics: Vec<TopicConflicts>,
    /// One for each table of persons on each node that has it.
    pub(crate) tables: Vec<TableConflicts>,
    /// Nodes that did not answer.
    pub(crate) unreachable: Vec<String>,
    /// Tables without the columns of persons, which belong to another program.
    pub(crate) unreadable: Vec<String>,
}

/// Messages of a topic that conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TopicConflicts {
    pub(crate) topic: String,
    /// Messages read: the newest of each partition.
    pub(crate) read: u64,
    /// How many of these conflict.
    pub(crate) conflicting: u64,
    /// The newest conflicting message.
    pub(crate) newest: Option<ForeignMessage>,
}

/// Rows of a table that conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TableConflicts {
    pub(crate) node: String,
    pub(crate) table: String,
    /// All of its rows, counting every version.
    pub(crate) rows: u64,
    /// The greatest version of any row.
    pub(crate) greatest: u64,
    /// Rows that conflict.
    pub(crate) conflicting: u64,
    /// Their least and greatest version.
    pub(crate) versions: Option<(u64, u64)>,
    /// Timestamp of the newest conflicting row.
    pub(crate) latest: Option<String>,
}

/// The message for tables that have other columns.
pub(super) fn unreadable(tables: &[String]) -> String {
    format!(
        "{} has no version or no _timestamp, so it is another program's table of that name: give posthouse a database of its own, or \
         move that table away",
        tables.join(", ")
    )
}

/// Publishing is refused because of another producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConflictError {
    pub(crate) conflicts: Conflicts,
    /// The version rule of the config.
    pub(crate) rule: VersionRule,
}

impl Conflicts {
    /// How many messages and rows conflict.
    pub(crate) fn count(&self) -> u64 {
        let messages = self.topics.iter().map(|topic| topic.conflicting);
        messages.chain(self.tables.iter().map(|table| table.conflicting)).sum()
    }

    /// One line for each topic and table with conflicts or other columns.
    pub(crate) fn lines(&self) -> Vec<String> {
        let topics = self.topics.iter().filter(|topic| topic.conflicting > 0).map(ToString::to_string);
        let tables = self.tables.iter().filter(|table| table.conflicting > 0).map(ToString::to_string);
        let unreadable = self.unreadable.iter().map(|table| format!("{table}: another program's columns"));
        topics.chain(tables).chain(unreadable).collect()
    }

    /// The first of these lines, for a single log line.
    fn summary(&self) -> String {
        let lines = self.lines();
        let more = match lines.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        lines.into_iter().take(MAX_NAMED).collect::<Vec<_>>().join("; ") + &more
    }
}

impl fmt::Display for TopicConflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, read, conflicting, newest } = self;
        write!(f, "topic {topic}: {conflicting} of the newest {read} messages")?;
        newest.as_ref().map_or(Ok(()), |newest| write!(f, ", the last one in {newest}"))
    }
}

impl fmt::Display for ForeignMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} at offset {} with ", self.partition, self.offset)?;
        match self.version {
            Some(version) => write!(f, "version {version}")?,
            None => f.write_str("no version")?,
        }
        self.timestamp.as_ref().map_or(Ok(()), |timestamp| write!(f, " from {timestamp}"))
    }
}

impl fmt::Display for TableConflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, table, rows, conflicting, versions, latest, .. } = self;
        write!(f, "table {table} on {node}: {conflicting} of {rows} rows")?;
        if let Some((least, greatest)) = versions {
            write!(f, " with versions from {least} to {greatest}")?;
        }
        latest.as_ref().map_or(Ok(()), |latest| write!(f, ", the last one from {latest}"))
    }
}

impl std::error::Error for ConflictError {}

impl fmt::Display for ConflictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.conflicts.summary();
        match self.rule {
            VersionRule::Wal => write!(
                f,
                "another producer fills the topics and tables of persons ({found}), and versions of the WAL would hide its rows for \
                 good: posthouse does not publish. Set persons.postgres.version = \"column\" to publish the application's \
                 versions beside it; or name topics and a database of posthouse's own (persons.topic, persons.distinct_id_topic, \
                 database); or stop that producer for good and set persons.postgres.other_producer_stopped_at to that time. \
                 posthouse persons check shows all conflicts"
            ),
            VersionRule::Column => write!(
                f,
                "versions of the WAL are in the topics and tables of persons ({found}), and would hide the versions of the column: \
                 posthouse does not publish. Empty both topics and tables first (docs/guides/sync-persons.md, \"Leave posthouse\"), or set \
                 persons.postgres.version = \"wal\". posthouse persons check shows all conflicts"
            ),
        }
    }
}
