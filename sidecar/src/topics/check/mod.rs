//! Checks of topics, groups and Kafka tables against each other.

mod configs;
mod desired;
mod look;
mod producers;
mod readers;
mod retention;
mod stalls;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub(crate) use self::look::{kept, kept_of, look, watch};
use super::groups::{GroupSnapshot, Lag};
use super::observe::kafka_tables::ServerReports;
use super::stalls::{Evidence, Stall, Still};
use crate::kafka::TopicConfig;
use crate::persons::TopicConflicts;
use crate::schema::KafkaTable;

/// Severity of a finding; the worse sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Messages are lost or not read.
    Fault,
    /// It works now, and may soon fail.
    Warn,
}

/// A problem with a hint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Topic, group, table, node or Keeper path.
    pub(crate) about: String,
    /// The problem.
    pub(crate) found: String,
    /// The hint.
    pub(crate) next: String,
}

/// Input of all checks.
#[derive(Debug, Clone)]
pub(crate) struct CheckInput {
    pub(crate) seen: GroupSnapshot,
    /// Lags of every group, with timestamps of unread messages.
    pub(crate) lags: Vec<Lag>,
    /// All configs of the checked topics that exist.
    pub(crate) configs: BTreeMap<String, BTreeMap<String, TopicConfig>>,
    /// Topics of the topics file that posthouse manages, and the events topic.
    pub(crate) topics: BTreeSet<String>,
    /// Every node of the config.
    pub(crate) nodes: BTreeSet<String>,
    pub(crate) events_topic: String,
    pub(crate) events_group: String,
    /// Brokers of the config, the ones that were asked.
    pub(crate) brokers: BTreeSet<String>,
    /// Messages in the topics of persons that conflict with posthouse's own.
    pub(crate) conflicts: Vec<TopicConflicts>,
    /// Current time in milliseconds since 1970.
    pub(crate) now: i64,
    /// Kafka tables of the schema, with their database, and the nodes that should have each.
    pub(crate) desired: BTreeMap<String, BTreeSet<String>>,
    /// Detached ones of `desired`, as pairs of node and table.
    pub(crate) detached: BTreeSet<(String, String)>,
    /// Replicas of Kafka tables in Keeper, by path; without unreadable paths.
    pub(crate) replicas: BTreeMap<String, BTreeSet<String>>,
    /// Errors of nodes that refuse a query for details, such as a missing right.
    pub(crate) refused: BTreeSet<String>,
    /// Server reports about their consumers.
    pub(crate) reports: ServerReports,
    /// How long partitions with unread messages kept their offset.
    pub(crate) still: Still,
}

impl CheckInput {
    /// Lags in topics that posthouse manages or a table reads.
    pub(crate) fn own_lags(&self) -> impl Iterator<Item = &Lag> {
        let ours = self.ours();
        self.lags.iter().filter(move |lag| ours.contains(lag.topic.as_str()))
    }

    /// Stalled ones of these groups.
    pub(crate) fn stalls(&self) -> Vec<Stall> {
        self.own_lags().filter_map(|lag| self.evidence().stall(lag)).collect()
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence { seen: &self.seen, reports: &self.reports, still: &self.still, now: self.now }
    }

    /// Whether another observation may find more stalled groups.
    fn is_undecided(&self) -> bool {
        self.own_lags().any(|lag| self.evidence().is_undecided(lag))
    }

    /// Topics of the file, and topics that a table reads.
    fn ours(&self) -> BTreeSet<&str> {
        let read = self.seen.tables.iter().flat_map(|table| &table.topics);
        self.topics.iter().chain(read).map(String::as_str).collect()
    }

    /// Every group of a table, with its tables.
    fn groups(&self) -> BTreeMap<&str, Vec<&KafkaTable>> {
        let mut groups: BTreeMap<&str, Vec<&KafkaTable>> = BTreeMap::new();
        for table in self.seen.tables.iter().filter(|table| !table.group.is_empty()) {
            groups.entry(&table.group).or_default().push(table);
        }
        groups
    }

    /// A config of a topic as a number.
    fn number(&self, topic: &str, key: &str) -> Option<i64> {
        self.text(topic, key)?.parse().ok()
    }

    fn text(&self, topic: &str, key: &str) -> Option<&str> {
        self.configs.get(topic)?.get(key)?.value.as_deref()
    }
}

/// All findings, the worst first.
pub(crate) fn check(found: &CheckInput) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(desired::check(found));
    findings.extend(tables::check(found));
    findings.extend(readers::check(found));
    findings.extend(stalls::check(found));
    findings.extend(retention::check(found));
    findings.extend(configs::check(found));
    findings.extend(producers::check(found));
    findings.sort();
    findings
}

fn fault(about: String, found: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { severity: Severity::Fault, about, found: found.into(), next: next.into() }
}

fn warn(about: String, found: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warn, about, found: found.into(), next: next.into() }
}

/// `a, b and c`, without duplicates.
fn listed<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: BTreeSet<&str> = texts.into_iter().collect();
    let texts: Vec<&str> = texts.into_iter().collect();
    match texts.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
