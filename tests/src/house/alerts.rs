//! Alerts and the dashboard: the metrics that they read, and headings in the runbook.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::links::anchors;
use super::sources::root;

const RULES: &str = include_str!("../../../docs/operations/posthouse.rules.yml");
const DASHBOARD: &str = include_str!("../../../docs/operations/posthouse.dashboard.json");
const METRICS: &str = include_str!("../../../docs/reference/metrics.md");

/// The names of all metrics, from the generated page. A histogram has one for each of its series.
fn metrics() -> BTreeSet<String> {
    let rows = METRICS.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let names = rows.flat_map(|(name, rest)| {
        let ends: &[&str] = match rest.starts_with("histogram ") {
            true => &["_bucket", "_count", "_sum"],
            false => &[""],
        };
        ends.iter().map(move |end| format!("{name}{end}"))
    });
    names.collect()
}

/// The metrics in an expression of PromQL.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("posthouse_") || word.starts_with("process_"))
}

/// The texts of all values of `key`, at any depth.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| match field.as_str() {
            Some(text) if name == key => found.push(text),
            _ => texts(field, key, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

#[test]
fn every_alert_has_a_heading_and_reads_metrics_that_exist() {
    let headings =
        anchors(&fs::read_to_string(root().join("docs/operations/runbook.md")).expect("a runbook"));
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let anchor = alert.to_lowercase();
        assert!(headings.contains(&anchor), "the runbook has no heading {alert}");
        assert!(RULES.contains(&format!("runbook.md#{anchor} ")), "{alert} does not name its heading");
    }
    let metrics = metrics();
    for name in names(RULES) {
        assert!(metrics.contains(name), "no metric {name}");
    }
}

#[test]
fn the_dashboard_reads_metrics_that_exist_and_shows_every_metric() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let (mut expressions, mut queries) = (Vec::new(), Vec::new());
    texts(&dashboard, "expr", &mut expressions);
    texts(&dashboard["templating"], "query", &mut queries);
    let metrics = metrics();
    let shown: BTreeSet<&str> = expressions.iter().copied().flat_map(names).collect();
    for name in shown.iter().copied().chain(queries.into_iter().flat_map(names)) {
        assert!(metrics.contains(name), "no metric {name}");
    }
    // One series of a histogram is enough.
    let is_series =
        |name: &str| name.ends_with("_bucket") || name.ends_with("_count") || name.ends_with("_sum");
    for name in metrics.iter().filter(|name| !is_series(name)) {
        assert!(shown.contains(name.as_str()), "no panel shows {name}");
    }
}
