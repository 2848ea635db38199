//! Metrics of person sync.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::gauges::Gauges;
use super::registry::MetricRegistry;

/// Batches and brokers take 10 to 50 ms. After a pause of posthouse, minutes to hours of changes
/// arrive at once.
const LATENCY_BOUNDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0];
/// From small tables to the time limit of an audit's stage, which is 4 hours.
const AUDIT_BOUNDS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0];

#[derive(Debug, Clone)]
pub(crate) struct PersonsMetrics {
    pub(crate) leader: Gauges<0>,
    pub(crate) messages: Counter,
    /// From the commit in PostgreSQL to the brokers' acknowledgement, in seconds.
    pub(crate) publish_latency: Histogram,
    /// By table.
    pub(crate) copied: Gauges<1>,
    pub(crate) slot_lag: Gauges<0>,
    pub(crate) errors: Counter,
    /// By kind, over all nodes.
    pub(crate) differences: Gauges<1>,
    /// Seconds since 1970.
    pub(crate) last_audit: Gauges<0>,
    /// In seconds.
    pub(crate) audit_duration: Histogram,
    pub(crate) audit_errors: Counter,
    /// Messages and rows that keep posthouse from publishing.
    pub(crate) conflicts: Gauges<0>,
    /// Conflicting messages that arrive while posthouse publishes persons.
    pub(crate) foreign_messages: Counter,
    pub(crate) source_faults: Gauges<0>,
    /// Changes without the row's key.
    pub(crate) keyless_changes: Counter,
}

impl PersonsMetrics {
    pub(crate) fn register(registry: &mut MetricRegistry) -> Self {
        Self {
            leader: registry.gauge(
                "posthouse_persons_leader",
                &[],
                "1 if this posthouse holds the replication slot; the sum over all instances must be 1",
            ),
            messages: registry.counter(
                "posthouse_persons_messages_total",
                "Changes of persons and distinct ids sent to the brokers",
            ),
            publish_latency: registry.histogram(
                "posthouse_persons_publish_latency_seconds",
                &LATENCY_BOUNDS,
                "Seconds from PostgreSQL's commit of a batch's oldest change to the brokers' acknowledgement of the batch",
            ),
            copied: registry.gauge(
                "posthouse_persons_copied_rows",
                &["table"],
                "Rows that the initial snapshot of a table has read so far",
            ),
            slot_lag: registry.gauge(
                "posthouse_persons_slot_lag_bytes",
                &[],
                "WAL that PostgreSQL keeps for the replication slot",
            ),
            errors: registry
                .counter("posthouse_persons_errors_total", "Person sync restarts after an error"),
            differences: registry.gauge(
                "posthouse_persons_differences",
                &["kind"],
                "Rows of person and person_distinct_id that differ from PostgreSQL, on all nodes together",
            ),
            last_audit: registry.gauge(
                "posthouse_persons_last_audit_timestamp_seconds",
                &[],
                "Time of the last comparison of nodes with PostgreSQL, in seconds since 1970; 0 before the first one",
            ),
            audit_duration: registry.histogram(
                "posthouse_persons_audit_duration_seconds",
                &AUDIT_BOUNDS,
                "Seconds that an audit or a repair took, without failed ones",
            ),
            audit_errors: registry.counter(
                "posthouse_persons_audit_errors_total",
                "Failed audits; the log has the reason",
            ),
            conflicts: registry.gauge(
                "posthouse_persons_conflicts",
                &[],
                "Messages and rows of another producer that block person sync (posthouse persons check)",
            ),
            foreign_messages: registry.counter(
                "posthouse_persons_foreign_messages_total",
                "Messages of another producer in the topics of persons while posthouse publishes",
            ),
            source_faults: registry.gauge(
                "posthouse_persons_source_faults",
                &[],
                "Requirements that PostgreSQL, its tables or its publication do not meet (posthouse persons check)",
            ),
            keyless_changes: registry.counter(
                "posthouse_persons_keyless_changes_total",
                "Changes without the columns that identify the row in ClickHouse; an audit repairs these rows",
            ),
        }
    }

    /// Removes what only a leader measures, because alerts with `max` and `sum` would count the old
    /// values beside those of the next leader.
    pub(crate) fn clear_leader_gauges(&self) {
        for gauges in [&self.slot_lag, &self.last_audit, &self.conflicts, &self.source_faults] {
            gauges.clear();
        }
        for gauges in [&self.copied, &self.differences] {
            gauges.clear();
        }
    }
}
