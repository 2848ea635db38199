//! Metrics of a running posthouse, by subsystem.
//!
//! A task has the handles of its metrics and sets them. The HTTP interface encodes the registry.

mod gauges;
mod registry;
mod topics;
mod persons;
mod person_index;
mod tasks;
mod process;
mod watch;

pub(crate) use self::person_index::PersonIndexMetrics;
pub(crate) use self::persons::PersonsMetrics;
pub(crate) use self::process::ProcessCollector;
pub(crate) use self::registry::MetricRegistry;
pub(crate) use self::tasks::TaskCollector;
pub(crate) use self::topics::{ConsumerMetrics, TopicsMetrics};
pub(crate) use self::watch::WatchMetrics;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::Board;

    fn samples(registry: &MetricRegistry) -> Vec<String> {
        let text = registry.text().expect("the text can be written");
        text.lines().filter(|line| !line.starts_with("# HELP")).map(str::to_owned).collect()
    }

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let mut registry = MetricRegistry::default();
        let errors = registry.counter("posthouse_x_errors_total", "Errors");
        let findings = registry.gauge("posthouse_x_findings", &["severity"], "Findings");
        let lag = registry.gauge("posthouse_x_lag_bytes", &[], "Lag");
        let seconds = registry.histogram("posthouse_x_seconds", &[0.5, 60.0], "Seconds");
        registry.gauge("posthouse_x_absent", &[], "A gauge without values");
        errors.inc_by(3);
        findings.set(["warn"], 1);
        findings.set(["fault"], 4);
        lag.set([], 7);
        seconds.observe(2.0);
        assert_eq!(
            samples(&registry),
            [
                "# TYPE posthouse_x_errors counter",
                "posthouse_x_errors_total 3",
                "# TYPE posthouse_x_findings gauge",
                "posthouse_x_findings{severity=\"fault\"} 4",
                "posthouse_x_findings{severity=\"warn\"} 1",
                "# TYPE posthouse_x_lag_bytes gauge",
                "posthouse_x_lag_bytes 7",
                "# TYPE posthouse_x_seconds histogram",
                "posthouse_x_seconds_sum 2.0",
                "posthouse_x_seconds_count 1",
                "posthouse_x_seconds_bucket{le=\"0.5\"} 0",
                "posthouse_x_seconds_bucket{le=\"60.0\"} 1",
                "posthouse_x_seconds_bucket{le=\"+Inf\"} 1",
                "# EOF",
            ]
        );
        let text = registry.text().expect("the text can be written");
        assert!(text.starts_with("# HELP posthouse_x_errors Errors.\n"), "{text}");
    }

    #[test]
    fn escapes_labels_and_forgets_those_that_are_gone() {
        let mut registry = MetricRegistry::default();
        let lag = registry.gauge("posthouse_x_lag", &["group", "topic"], "Lag");
        let labels = |group: &str| [group.to_owned(), "t".to_owned()];
        lag.replace([(labels("old"), 1)]);
        lag.replace([(labels("a\"b\\c\nd"), 2)]);
        let sample = r#"posthouse_x_lag{group="a\"b\\c\nd",topic="t"} 2"#;
        assert_eq!(samples(&registry), ["# TYPE posthouse_x_lag gauge", sample, "# EOF"]);
        lag.clear();
        assert_eq!(samples(&registry), ["# EOF"]);
    }

    #[test]
    fn a_former_leader_exposes_no_gauge_of_a_leader() {
        let mut registry = MetricRegistry::default();
        let persons = PersonsMetrics::register(&mut registry);
        persons.leader.set([], 0);
        let before = samples(&registry);
        for gauge in [&persons.slot_lag, &persons.last_audit, &persons.conflicts, &persons.source_faults] {
            gauge.set([], 7);
        }
        persons.differences.set(["stale"], 7);
        persons.copied.set(["person"], 7);
        assert_eq!(samples(&registry).len(), before.len() + 12);
        persons.clear_leader_gauges();
        assert_eq!(samples(&registry), before);
    }

    /// All metrics in the order of the page.
    fn every_metric() -> MetricRegistry {
        let mut registry = MetricRegistry::default();
        TopicsMetrics::register(&mut registry);
        PersonsMetrics::register(&mut registry);
        PersonIndexMetrics::register(&mut registry);
        WatchMetrics::register(&mut registry);
        TaskCollector::register(&mut registry, &Board::default());
        registry.build_info();
        ProcessCollector::register(&mut registry);
        registry
    }

    const HEAD: &str = "\
# Metrics

Every metric of `/metrics`. This page is generated: run
`POSTHOUSE_WRITE_DOCS=1 cargo test --workspace --lib the_page_of_metrics` after a change.

| metric | type | labels | meaning |
|---|---|---|---|
";

    #[test]
    fn the_page_of_metrics_is_current() {
        let mut page = HEAD.to_owned();
        for self::registry::MetricEntry { name, kind, labels, help } in every_metric().entries() {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let (kind, labels) = (kind.as_str(), labels.join(", "));
            page.push_str(&format!("| `{name}` | {kind} | {labels} | {help}. |\n"));
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
}
