//! Metrics of the person index that `personOf` reads.

use std::time::Duration;

use posthouse_udf::snapshot::PersonIndex;
use prometheus_client::metrics::counter::Counter;

use super::gauges::Gauges;
use super::registry::MetricRegistry;

#[derive(Debug, Clone)]
pub(crate) struct PersonIndexMetrics {
    /// All gauges are by node.
    entries: Gauges<1>,
    bytes: Gauges<1>,
    files: Gauges<1>,
    shared_keys: Gauges<1>,
    /// Seconds since 1970.
    fresh: Gauges<1>,
    build_seconds: Gauges<1>,
    changes: Counter,
    pub(crate) errors: Counter,
}

impl PersonIndexMetrics {
    pub(crate) fn register(registry: &mut MetricRegistry) -> Self {
        Self {
            entries: registry.gauge(
                "posthouse_person_index_entries",
                &["node"],
                "Entries of the node's person index; an id that has changed can be in several files",
            ),
            bytes: registry.gauge(
                "posthouse_person_index_bytes",
                &["node"],
                "Bytes of the files of the node's person index",
            ),
            files: registry.gauge(
                "posthouse_person_index_files",
                &["node"],
                "Files of the node's person index; each lookup reads all of them",
            ),
            shared_keys: registry.gauge(
                "posthouse_person_index_shared_keys",
                &["node"],
                "Keys of more than one distinct id, for which personOfKey has no person (posthouse persons snapshot status)",
            ),
            fresh: registry.gauge(
                "posthouse_person_index_fresh_timestamp_seconds",
                &["node"],
                "Up to when personOf knows all changes of the topic, in seconds since 1970",
            ),
            build_seconds: registry.gauge(
                "posthouse_person_index_build_seconds",
                &["node"],
                "Seconds that the last build of the node's person index from its table took",
            ),
            changes: registry
                .counter("posthouse_person_index_changes_total", "Changes that were published in person indexes"),
            errors: registry.counter(
                "posthouse_person_index_errors_total",
                "Faults while person indexes were kept; the log has the reasons",
            ),
        }
    }

    /// Records a build.
    pub(crate) fn built(&self, node: &str, duration: Duration) {
        self.build_seconds.set([node], duration.as_secs());
    }

    /// Records a publication of so many changes.
    pub(crate) fn published(&self, node: &str, index: &PersonIndex, changes: usize) {
        let manifest = index.manifest();
        self.entries.set([node], index.entries());
        self.bytes.set([node], index.bytes());
        self.files.set([node], manifest.files.len() as u64);
        self.shared_keys.set([node], manifest.shared_keys.len() as u64);
        self.fresh.set([node], manifest.fresh_ms / 1000);
        self.changes.inc_by(changes as u64);
    }

    /// Removes the values of a node whose index is not kept here.
    pub(crate) fn forget(&self, node: &str) {
        for gauges in
            [&self.entries, &self.bytes, &self.files, &self.shared_keys, &self.fresh, &self.build_seconds]
        {
            gauges.remove([node]);
        }
    }
}
