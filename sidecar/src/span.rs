//! Spans of log events, also for work on other threads.
//!
//! Their level is `ERROR`, so that a filter that passes an event also passes its span.

use std::fmt::Display;

use tracing::{Span, error_span};

/// Span of person sync and of audits.
pub(crate) fn persons(slot: &str) -> Span {
    error_span!("persons", slot)
}

/// Span of the daemon's topic checks.
pub(crate) fn topics(cluster: &str) -> Span {
    error_span!("topics", cluster)
}

/// Span of the daemon's work on the person index of a node.
pub(crate) fn person_index(node: &str) -> Span {
    error_span!("person_index", node)
}

/// Span of a load.
pub(crate) fn load(job: &str) -> Span {
    error_span!("backfill", job)
}

/// Span of one unit of a load. It replaces the load's span, so that the innermost span has both
/// fields and none is printed twice.
pub(crate) fn unit(job: &str, unit: &impl Display) -> Span {
    error_span!(parent: None, "backfill", job, unit = %unit)
}

/// Returns `work` within the current span. A blocking thread begins without a span.
pub(crate) fn in_current<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = Span::current();
    move || span.in_scope(work)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing::{Instrument, dispatcher};
    use tracing_subscriber::EnvFilter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Runs `work` with logs of level `filter` as JSON, and returns them.
    async fn logged(filter: &str, work: impl Future<Output = ()>) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let logs = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(move || writer.clone());
        let guard = tracing::subscriber::set_default(logs.finish());
        work.await;
        drop(guard);
        let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[tokio::test]
    async fn follows_to_blocking_threads_when_only_warnings_pass() {
        let work = async {
            let warn = in_current(|| tracing::warn!("on a thread"));
            let logs = dispatcher::get_default(Clone::clone);
            let thread = std::thread::spawn(move || dispatcher::with_default(&logs, warn));
            thread.join().expect("no panic");
            tracing::info!("not logged");
        };
        // A span is created after its logs, or it is of no use.
        let lines = logged("warn", async { work.instrument(persons("s")).await }).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["span"], serde_json::json!({ "name": "persons", "slot": "s" }));
    }

    #[tokio::test]
    async fn unit_replaces_the_span_of_its_load() {
        let work = async { unit("j", &7).in_scope(|| tracing::warn!("retrying")) };
        let lines = logged("warn", async { work.instrument(load("j")).await }).await;
        let expected = serde_json::json!({ "name": "backfill", "job": "j", "unit": "7" });
        assert_eq!(lines[0]["spans"], serde_json::json!([expected]));
    }
}
