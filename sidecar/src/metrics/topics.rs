//! Metrics of topics and of their consumers.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::gauges::Gauges;
use super::registry::MetricRegistry;

/// A check takes under a second on an idle cluster. A stage ends after 240 s.
const CHECK_BOUNDS: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 240.0];

#[derive(Debug, Clone)]
pub(crate) struct TopicsMetrics {
    pub(crate) differences: Gauges<0>,
    pub(crate) refused: Gauges<0>,
    /// By severity.
    pub(crate) findings: Gauges<1>,
    pub(crate) changes: Counter,
    pub(crate) failures: Counter,
    pub(crate) errors: Counter,
    /// Seconds since 1970.
    pub(crate) last_success: Gauges<0>,
    /// In seconds.
    pub(crate) check_duration: Histogram,
    pub(crate) consumers: ConsumerMetrics,
}

/// Metrics by group and topic.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerMetrics {
    pub(crate) lag: Gauges<2>,
    /// In seconds.
    pub(crate) oldest_unread: Gauges<2>,
    /// In seconds.
    pub(crate) stalled: Gauges<2>,
}

impl TopicsMetrics {
    pub(crate) fn register(registry: &mut MetricRegistry) -> Self {
        Self {
            differences: registry.gauge(
                "posthouse_topics_differences",
                &[],
                "Differences between topics.toml and the brokers that an apply would change",
            ),
            refused: registry.gauge(
                "posthouse_topics_refused",
                &[],
                "Differences between topics.toml and the brokers that posthouse refuses to change",
            ),
            findings: registry.gauge(
                "posthouse_topics_findings",
                &["severity"],
                "Findings about topics, consumer groups and Kafka tables (posthouse topics check)",
            ),
            changes: registry.counter("posthouse_topics_changes_total", "Applied changes of topics"),
            failures: registry.counter("posthouse_topics_failures_total", "Failed changes of topics"),
            errors: registry.counter(
                "posthouse_topics_errors_total",
                "Topic checks that failed as a whole; the log has the reason",
            ),
            last_success: registry.gauge(
                "posthouse_topics_last_success_timestamp_seconds",
                &[],
                "Time of the last successful topic check, in seconds since 1970",
            ),
            check_duration: registry.histogram(
                "posthouse_topics_check_duration_seconds",
                &CHECK_BOUNDS,
                "Seconds that a topic check took, failed ones included",
            ),
            consumers: ConsumerMetrics::register(registry),
        }
    }
}

impl ConsumerMetrics {
    fn register(registry: &mut MetricRegistry) -> Self {
        Self {
            lag: registry.gauge(
                "posthouse_consumer_lag_messages",
                &["group", "topic"],
                "Messages of a topic that a consumer group has not read",
            ),
            oldest_unread: registry.gauge(
                "posthouse_consumer_oldest_unread_seconds",
                &["group", "topic"],
                "Age of the oldest message that a consumer group has not read; 0 if it has read all, absent if unknown",
            ),
            stalled: registry.gauge(
                "posthouse_consumer_stalled_seconds",
                &["group", "topic"],
                "Seconds without progress of a consumer group whose messages wait for more than a minute; 0 if it progresses",
            ),
        }
    }

    /// Removes all values, because old ones would mislead.
    pub(crate) fn clear(&self) {
        for gauges in [&self.lag, &self.oldest_unread, &self.stalled] {
            gauges.clear();
        }
    }
}
