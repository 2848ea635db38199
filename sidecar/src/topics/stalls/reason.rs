//! Reasons of a stall, as reported by servers.

use std::collections::BTreeSet;
use std::fmt;

use super::super::groups::Lag;
use super::Evidence;
use crate::kafka::TopicPartition;
use crate::schema::KafkaTable;
use crate::topics::observe::kafka_tables::ServerConsumer;
use crate::topics::plan::values::duration;

/// Reason of a stall, as far as the group's servers report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No view reads from any of these tables, given with their nodes.
    NoView(Vec<String>),
    /// A view has no target table. The server streams to none of the Kafka table's views then.
    NoTarget { table: String, view: String, node: String },
    /// A server's error.
    Error {
        node: String,
        /// Age in seconds.
        age_s: i64,
        text: String,
    },
    /// No consumer has these partitions.
    Untaken,
    /// A server refuses to report.
    Unreadable(String),
    /// The servers report no error.
    Unknown,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoView(tables) => write!(f, "no materialized view reads from {}", tables.join(", ")),
            Self::NoTarget { table, view, node } => {
                write!(f, "the table behind {view} is missing on {node}, so that {table} does not stream")
            }
            Self::Error { node, age_s, text } => {
                write!(f, "{node} reported {} ago: {text}", duration(age_s.saturating_mul(1000)))
            }
            Self::Untaken => write!(f, "no consumer is assigned to these partitions"),
            Self::Unreadable(why) => write!(f, "the server's reason can't be read ({why})"),
            Self::Unknown => write!(f, "the servers report no error"),
        }
    }
}

impl Reason {
    /// The hint.
    pub(crate) fn next(&self) -> String {
        match self {
            Self::NoView(_) => "posthouse schema apply creates the schema's views; for another table create them, or drop it".to_owned(),
            Self::NoTarget { view, .. } => {
                format!("create or ATTACH the table that {view} writes to; posthouse schema plan lists missing objects")
            }
            Self::Error { node, .. } => {
                format!("fix the server's error ({node}'s log has the details); the group then continues by itself")
            }
            Self::Untaken => {
                "make sure that every node with the table runs and reaches Keeper or the group; DROP the table and \
                 posthouse schema apply creates its consumers again"
                    .to_owned()
            }
            Self::Unreadable(_) | Self::Unknown => {
                "see the logs of the nodes that have the table, and system.kafka_consumers and system.errors there"
                    .to_owned()
            }
        }
    }
}

impl Evidence<'_> {
    /// Reason why these partitions are stalled.
    pub(super) fn reason(&self, lag: &Lag, partitions: &BTreeSet<i32>, stalled_s: i64) -> Reason {
        if self.tables(lag).all(|table| table.views == 0) {
            let named = |table: &KafkaTable| format!("{} on {}", table.full_name(), table.node);
            return Reason::NoView(self.tables(lag).map(named).collect());
        }
        let has = |one: &TopicPartition| one.topic == lag.topic && partitions.contains(&one.partition);
        let mut readers: Vec<&ServerConsumer> =
            self.consumers(lag).filter(|consumer| consumer.assigned.iter().any(has)).collect();
        let taken = !readers.is_empty();
        if !taken {
            readers = self.consumers(lag).collect();
        }
        if let Some((consumer, view)) =
            readers.iter().find_map(|consumer| Some((consumer, consumer.missing.first()?)))
        {
            let (table, node) = (consumer.table.clone(), consumer.node.clone());
            return Reason::NoTarget { table, view: view.clone(), node };
        }
        if let Some(error) = self.error(&readers, stalled_s) {
            return error;
        }
        match self.reports.unreadable.values().next() {
            Some(why) => Reason::Unreadable(why.clone()),
            None if !taken && self.seen.silent.is_empty() => Reason::Untaken,
            None => Reason::Unknown,
        }
    }

    /// Returns the newest error since the stall began. Prefers errors of the consumers, then
    /// background errors of their nodes that name the table's database, then errors of any
    /// streaming there.
    fn error(&self, readers: &[&ServerConsumer], stalled_s: i64) -> Option<Reason> {
        let database = |consumer: &&ServerConsumer| Some(format!("{}.", consumer.table.split_once('.')?.0));
        let databases: BTreeSet<String> = readers.iter().filter_map(database).collect();
        let mut errors: Vec<(u8, i64, &str, &str)> = Vec::new();
        for consumer in readers {
            let own = consumer
                .exception
                .iter()
                .map(|(age_s, text)| (0, *age_s, consumer.node.as_str(), text.as_str()));
            errors.extend(own);
            for error in self.reports.errors.get(&consumer.node).into_iter().flatten() {
                let rank = match databases.iter().any(|database| error.text.contains(database)) {
                    true => 1,
                    false if error.streaming => 2,
                    false => continue,
                };
                errors.push((rank, error.age_s, &consumer.node, &error.text));
            }
        }
        let recent = errors.into_iter().filter(|(_, age_s, ..)| *age_s <= stalled_s);
        let (_, age_s, node, text) = recent.min()?;
        Some(Reason::Error { node: node.to_owned(), age_s, text: text.to_owned() })
    }
}
