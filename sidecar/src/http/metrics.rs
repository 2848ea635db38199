//! Metrics and their Prometheus text format.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A metric; the order of the variants is the order of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    TopicsDifferences,
    TopicsRefused,
    /// By severity.
    TopicsFindings,
    TopicsChanges,
    TopicsFailures,
    TopicsErrors,
    /// Seconds since 1970.
    TopicsLook,
    /// By group and topic.
    ConsumerLag,
    /// By group and topic, in seconds.
    ConsumerOldestUnread,
    /// In seconds.
    ConsumerStalled,
    PersonsLeader,
    PersonsMessages,
    /// By table.
    PersonsCopied,
    PersonsSlotLag,
    PersonsErrors,
    /// By kind, over all nodes.
    PersonsDifferences,
    /// Seconds since 1970.
    PersonsAudit,
    PersonsAuditErrors,
    /// Messages and rows that keep posthouse from publishing.
    PersonsConflicts,
    /// Conflicting messages that arrive while posthouse publishes persons.
    PersonsForeignMessages,
    PersonsSourceFaults,
    /// Changes without the row's key.
    PersonsKeyless,
    /// By task.
    TaskReady,
    /// Seconds since the last heartbeat, by task.
    TaskHeartbeat,
    /// By task.
    TaskRestarts,
}

/// Counters only grow; gauges rise and fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MetricKind {
    Counter,
    Gauge,
}

impl Metric {
    fn describe(self) -> (&'static str, MetricKind, &'static str) {
        match self {
            Self::TopicsDifferences => (
                "posthouse_topics_differences",
                MetricKind::Gauge,
                "Differences between topics.toml and the brokers that an apply would change.",
            ),
            Self::TopicsRefused => (
                "posthouse_topics_refused",
                MetricKind::Gauge,
                "Differences between topics.toml and the brokers that posthouse refuses to change.",
            ),
            Self::TopicsFindings => (
                "posthouse_topics_findings",
                MetricKind::Gauge,
                "Findings about topics, consumer groups and Kafka tables (posthouse topics check).",
            ),
            Self::TopicsChanges => {
                ("posthouse_topics_changes_total", MetricKind::Counter, "Applied changes of topics.")
            }
            Self::TopicsFailures => {
                ("posthouse_topics_failures_total", MetricKind::Counter, "Failed changes of topics.")
            }
            Self::TopicsErrors => (
                "posthouse_topics_errors_total",
                MetricKind::Counter,
                "Topic checks that failed as a whole; the log has the reason.",
            ),
            Self::TopicsLook => (
                "posthouse_topics_last_success_timestamp_seconds",
                MetricKind::Gauge,
                "Time of the last successful topic check, in seconds since 1970.",
            ),
            Self::ConsumerLag => (
                "posthouse_consumer_lag_messages",
                MetricKind::Gauge,
                "Messages of a topic that a consumer group has not read.",
            ),
            Self::ConsumerOldestUnread => (
                "posthouse_consumer_oldest_unread_seconds",
                MetricKind::Gauge,
                "Age of the oldest message that a consumer group has not read; 0 if it has read all, absent if unknown.",
            ),
            Self::ConsumerStalled => (
                "posthouse_consumer_stalled_seconds",
                MetricKind::Gauge,
                "Seconds without progress of a consumer group whose messages wait for more than a minute; 0 if it progresses.",
            ),
            Self::PersonsLeader => (
                "posthouse_persons_leader",
                MetricKind::Gauge,
                "1 if this posthouse holds the replication slot; the sum over all instances must be 1.",
            ),
            Self::PersonsMessages => (
                "posthouse_persons_messages_total",
                MetricKind::Counter,
                "Changes of persons and distinct ids sent to the brokers.",
            ),
            Self::PersonsCopied => (
                "posthouse_persons_copied_rows",
                MetricKind::Gauge,
                "Rows that the initial snapshot of a table has read so far.",
            ),
            Self::PersonsSlotLag => (
                "posthouse_persons_slot_lag_bytes",
                MetricKind::Gauge,
                "WAL that PostgreSQL keeps for the replication slot.",
            ),
            Self::PersonsErrors => (
                "posthouse_persons_errors_total",
                MetricKind::Counter,
                "Person sync restarts after an error.",
            ),
            Self::PersonsDifferences => (
                "posthouse_persons_differences",
                MetricKind::Gauge,
                "Rows of person and person_distinct_id that differ from PostgreSQL, on all nodes together.",
            ),
            Self::PersonsAudit => (
                "posthouse_persons_last_audit_timestamp_seconds",
                MetricKind::Gauge,
                "Time of the last comparison of nodes with PostgreSQL, in seconds since 1970.",
            ),
            Self::PersonsAuditErrors => (
                "posthouse_persons_audit_errors_total",
                MetricKind::Counter,
                "Failed audits; the log has the reason.",
            ),
            Self::PersonsConflicts => (
                "posthouse_persons_conflicts",
                MetricKind::Gauge,
                "Messages and rows of another producer that block person sync (posthouse persons check).",
            ),
            Self::PersonsForeignMessages => (
                "posthouse_persons_foreign_messages_total",
                MetricKind::Counter,
                "Messages of another producer in the topics of persons while posthouse publishes.",
            ),
            Self::PersonsSourceFaults => (
                "posthouse_persons_source_faults",
                MetricKind::Gauge,
                "Requirements that PostgreSQL, its tables or its publication do not meet (posthouse persons check).",
            ),
            Self::PersonsKeyless => (
                "posthouse_persons_keyless_changes_total",
                MetricKind::Counter,
                "Changes without the columns that identify the row in ClickHouse; an audit repairs these rows.",
            ),
            Self::TaskReady => (
                "posthouse_task_ready",
                MetricKind::Gauge,
                "1 if a task of this posthouse does its work; otherwise /ready has the reason.",
            ),
            Self::TaskHeartbeat => (
                "posthouse_task_heartbeat_age_seconds",
                MetricKind::Gauge,
                "Seconds since the last heartbeat of a task.",
            ),
            Self::TaskRestarts => (
                "posthouse_task_restarts_total",
                MetricKind::Counter,
                "Restarts of a task that ended, panicked or stalled; the log has the reason.",
            ),
        }
    }
}

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

type MetricKey = (Metric, Labels);

#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<MetricKey, u64>>);

impl Metrics {
    /// Sets a metric without a label.
    pub fn set(&self, metric: Metric, value: u64) {
        self.values().insert((metric, Labels::new()), value);
    }

    /// Sets a metric for one value of its label.
    pub fn set_for(&self, metric: Metric, label: &'static str, of: &'static str, value: u64) {
        self.values().insert((metric, vec![(label, of.to_owned())]), value);
    }

    /// Replaces all values of a metric, so that obsolete labels disappear.
    pub fn replace(&self, metric: Metric, values: impl IntoIterator<Item = (Labels, u64)>) {
        let mut all = self.values();
        all.retain(|(known, _), _| *known != metric);
        all.extend(values.into_iter().map(|(labels, value)| ((metric, labels), value)));
    }

    /// Adds to a metric without a label; adding 0 publishes it as 0.
    pub fn add(&self, metric: Metric, count: u64) {
        *self.values().entry((metric, Labels::new())).or_default() += count;
    }

    /// Adds to a metric for one value of its label; adding 0 publishes it as 0.
    pub fn add_for(&self, metric: Metric, label: &'static str, of: &'static str, count: u64) {
        *self.values().entry((metric, vec![(label, of.to_owned())])).or_default() += count;
    }

    fn values(&self) -> std::sync::MutexGuard<'_, BTreeMap<MetricKey, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values().clone();
        let mut shown = None;
        for ((metric, labels), value) in values {
            let (name, kind, help) = metric.describe();
            if shown != Some(metric) {
                let kind = if kind == MetricKind::Counter { "counter" } else { "gauge" };
                writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
                shown = Some(metric);
            }
            let labels: Vec<String> =
                labels.iter().map(|(label, of)| format!("{label}=\"{}\"", escaped(of))).collect();
            match labels.is_empty() {
                true => writeln!(f, "{name} {value}")?,
                false => writeln!(f, "{name}{{{}}} {value}", labels.join(","))?,
            }
        }
        Ok(())
    }
}

/// Escapes a label's value for the text format, because group names may hold any characters.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.add(Metric::TopicsErrors, 0);
        metrics.add(Metric::TopicsChanges, 2);
        metrics.add(Metric::TopicsChanges, 1);
        metrics.set_for(Metric::TopicsFindings, "severity", "warn", 1);
        metrics.set_for(Metric::TopicsFindings, "severity", "fault", 4);
        let text = metrics.to_string();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE posthouse_topics_findings gauge",
                "posthouse_topics_findings{severity=\"fault\"} 4",
                "posthouse_topics_findings{severity=\"warn\"} 1",
                "# TYPE posthouse_topics_changes_total counter",
                "posthouse_topics_changes_total 3",
                "# TYPE posthouse_topics_errors_total counter",
                "posthouse_topics_errors_total 0",
            ]
        );
    }

    #[test]
    fn escapes_labels_and_forgets_those_that_are_gone() {
        let metrics = Metrics::default();
        let labels = |group: &str| vec![("group", group.to_owned()), ("topic", "t".to_owned())];
        metrics.replace(Metric::ConsumerLag, [(labels("old"), 1)]);
        metrics.replace(Metric::ConsumerLag, [(labels("a\"b\\c\nd"), 2)]);
        let text = metrics.to_string();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, [r#"posthouse_consumer_lag_messages{group="a\"b\\c\nd",topic="t"} 2"#]);
    }

    const HEAD: &str = "\
# Metrics

Every metric of `/metrics`. This page is generated: run
`POSTHOUSE_WRITE_DOCS=1 cargo test --workspace --lib the_page_of_metrics` after a change.

| metric | type | meaning |
|---|---|---|
";

    #[test]
    fn the_page_of_metrics_is_current() {
        assert_eq!(METRICS.len(), Metric::TaskRestarts as usize + 1, "a metric is missing here");
        let mut page = HEAD.to_owned();
        for metric in METRICS {
            let (name, kind, help) = metric.describe();
            let kind = if kind == MetricKind::Counter { "counter" } else { "gauge" };
            page.push_str(&format!("| `{name}` | {kind} | {help} |\n"));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md");
        if std::env::var_os("POSTHOUSE_WRITE_DOCS").is_some() {
            std::fs::write(path, &page).expect("the page can be written");
        }
        let written = std::fs::read_to_string(path).expect("docs/reference/metrics.md");
        assert!(
            written == page,
            "docs/reference/metrics.md is not current; its first lines say how to make it"
        );
    }

    /// In the order in which they are shown.
    const METRICS: [Metric; 25] = [
        Metric::TopicsDifferences,
        Metric::TopicsRefused,
        Metric::TopicsFindings,
        Metric::TopicsChanges,
        Metric::TopicsFailures,
        Metric::TopicsErrors,
        Metric::TopicsLook,
        Metric::ConsumerLag,
        Metric::ConsumerOldestUnread,
        Metric::ConsumerStalled,
        Metric::PersonsLeader,
        Metric::PersonsMessages,
        Metric::PersonsCopied,
        Metric::PersonsSlotLag,
        Metric::PersonsErrors,
        Metric::PersonsDifferences,
        Metric::PersonsAudit,
        Metric::PersonsAuditErrors,
        Metric::PersonsConflicts,
        Metric::PersonsForeignMessages,
        Metric::PersonsSourceFaults,
        Metric::PersonsKeyless,
        Metric::TaskReady,
        Metric::TaskHeartbeat,
        Metric::TaskRestarts,
    ];
}
