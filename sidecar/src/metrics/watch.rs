//! Metrics of a watch of files.

use prometheus_client::metrics::counter::Counter;

use super::gauges::Gauges;
use super::registry::MetricRegistry;

#[derive(Debug, Clone)]
pub(crate) struct WatchMetrics {
    pub(crate) waiting: Gauges<0>,
    pub(crate) failing: Gauges<0>,
    pub(crate) unmarked: Gauges<0>,
    /// Seconds since 1970.
    pub(crate) unmarked_since: Gauges<0>,
    pub(crate) loaded: Counter,
    pub(crate) failures: Counter,
    pub(crate) rows: Counter,
    pub(crate) rejected_rows: Counter,
    pub(crate) errors: Counter,
    /// Seconds since 1970.
    pub(crate) last_success: Gauges<0>,
}

impl WatchMetrics {
    pub(crate) fn register(registry: &mut MetricRegistry) -> Self {
        Self {
            waiting: registry.gauge(
                "posthouse_watch_waiting_files",
                &[],
                "Files of the watched sources that are not loaded yet",
            ),
            failing: registry.gauge(
                "posthouse_watch_failing_files",
                &[],
                "Files of the watched sources that can't be loaded; the log has the reasons",
            ),
            unmarked: registry.gauge(
                "posthouse_watch_unmarked_folders",
                &[],
                "Folders with files that wait for a marker or a manifest, with --manifest",
            ),
            unmarked_since: registry.gauge(
                "posthouse_watch_unmarked_since_timestamp_seconds",
                &[],
                "Time of the oldest file that waits for a marker, in seconds since 1970; absent if none waits",
            ),
            loaded: registry.counter(
                "posthouse_watch_loaded_files_total",
                "Files that this posthouse backfill watch has loaded",
            ),
            failures: registry.counter(
                "posthouse_watch_failed_files_total",
                "Files that could not be loaded, each counted once for a reason",
            ),
            rows: registry.counter(
                "posthouse_watch_rows_total",
                "Rows that this posthouse backfill watch has stored",
            ),
            rejected_rows: registry.counter(
                "posthouse_watch_rejected_rows_total",
                "Rows of watched files that were rejected",
            ),
            errors: registry.counter(
                "posthouse_watch_errors_total",
                "Rounds of a watch that failed because a source or the cluster did not answer, and failed verifications",
            ),
            last_success: registry.gauge(
                "posthouse_watch_last_success_timestamp_seconds",
                &[],
                "Time of the last round of a watch without such an error, in seconds since 1970",
            ),
        }
    }
}
