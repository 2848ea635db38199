//! Topics, groups and Kafka tables compared with each other: what does not fit, and what is about to be lost.

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

pub use self::look::{kept, kept_of, look, watch};
use super::groups::{Lag, Seen};
use super::observe::kafka_tables::ServerReports;
use super::stalls::{Evidence, Stall, Still};
use crate::kafka::Config;
use crate::persons::TopicConflicts;
use crate::schema::KafkaTable;

/// How bad something is; the worse comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something is lost, or is not read.
    Fault,
    /// It works, and may not for long.
    Warn,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The topic, group, table or node.
    pub about: String,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub next: String,
}

/// Everything that is compared.
#[derive(Debug, Clone)]
pub struct Found {
    /// Who reads what, and how far.
    pub seen: Seen,
    /// How far every group is, with the times of what it has not read.
    pub lags: Vec<Lag>,
    /// All configs of the topics in question that exist.
    pub configs: BTreeMap<String, BTreeMap<String, Config>>,
    /// Topics of the topics file that posthouse keeps, with the events' own.
    pub topics: BTreeSet<String>,
    /// Every node of the config.
    pub nodes: BTreeSet<String>,
    /// The topic of events.
    pub events_topic: String,
    /// The group of events.
    pub events_group: String,
    /// The brokers of the config, which are those that were asked.
    pub brokers: BTreeSet<String>,
    /// Messages in the topics of persons that conflict with what posthouse publishes.
    pub conflicts: Vec<TopicConflicts>,
    /// Now, in milliseconds since 1970.
    pub now: i64,
    /// Kafka tables, with their database, that the schema wants on every node.
    pub desired: BTreeSet<String>,
    /// Those of them that are detached: node and table.
    pub detached: BTreeSet<(String, String)>,
    /// Replicas of Kafka tables in Keeper, by path; without paths that can't be read.
    pub replicas: BTreeMap<String, BTreeSet<String>>,
    /// What servers say of their consumers.
    pub reports: ServerReports,
    /// For how long partitions with unread messages were seen where they are.
    pub still: Still,
}

impl Found {
    /// How far groups are in topics that posthouse keeps or a table reads.
    pub fn own_lags(&self) -> impl Iterator<Item = &Lag> {
        let ours = self.ours();
        self.lags.iter().filter(move |lag| ours.contains(lag.topic.as_str()))
    }

    /// Of these the ones that stand still while messages wait.
    pub fn stalls(&self) -> Vec<Stall> {
        self.own_lags().filter_map(|lag| self.evidence().stall(lag)).collect()
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence { seen: &self.seen, reports: &self.reports, still: &self.still, now: self.now }
    }

    /// Whether another look may tell of more groups that stand still.
    fn is_undecided(&self) -> bool {
        self.own_lags().any(|lag| self.evidence().is_undecided(lag))
    }

    /// Topics of the file, and those that a table reads.
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

/// Everything that does not fit, the worst first.
pub fn check(found: &Found) -> Vec<Finding> {
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

/// `a, b and c`, each once.
fn listed<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: BTreeSet<&str> = texts.into_iter().collect();
    let texts: Vec<&str> = texts.into_iter().collect();
    match texts.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
