//! Alerts: the metrics that they read, and their headings in the runbook.

use std::fs;

use super::links::anchors;
use super::sources::root;

const RULES: &str = include_str!("../../../docs/operations/posthouse.rules.yml");

#[test]
fn every_alert_has_a_heading_and_reads_metrics_that_exist() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    let headings = anchors(&read("docs/operations/runbook.md"));
    let metrics = read("sidecar/src/http/metrics.rs");
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let anchor = alert.to_lowercase();
        assert!(headings.contains(&anchor), "the runbook has no heading {alert}");
        assert!(RULES.contains(&format!("runbook.md#{anchor} ")), "{alert} does not name its heading");
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let names = RULES.split(|c: char| !is_word(c)).filter(|word| word.starts_with("posthouse_"));
    for name in names {
        assert!(metrics.contains(&format!("\"{name}\"")), "no metric {name}");
    }
}
