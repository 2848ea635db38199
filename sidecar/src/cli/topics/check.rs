//! `posthouse topics check`: findings on topics, groups and Kafka tables.

use serde::Serialize;

use super::super::Outcome;
use super::super::output::{Output, painted};
use crate::cluster::Cluster;
use crate::topics::check::{self, Finding, Severity};
use crate::visible::visible_line;

/// JSON output of `topics check`.
#[derive(Serialize)]
struct CheckedTopics {
    findings: Vec<Finding>,
    groups: usize,
    tables: usize,
    topics: usize,
}

pub(super) async fn run(cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
    let topics = check::kept(&cluster.config)?;
    let found = check::watch(cluster, topics).await?;
    let checked = CheckedTopics {
        findings: check::check(&found),
        groups: found.seen.groups.len(),
        tables: found.seen.tables.len(),
        topics: found.configs.len(),
    };
    output.print_painted(&checked, text)?;
    Ok(Outcome::differs_if(!checked.findings.is_empty()))
}

fn text(checked: &CheckedTopics) -> String {
    let count = |severity| checked.findings.iter().filter(|finding| finding.severity == severity).count();
    let lines: String = checked.findings.iter().map(line).collect();
    let CheckedTopics { groups, tables, topics, .. } = checked;
    lines
        + &format!(
            "{} and {} in {topics} topics, {groups} groups and {tables} Kafka tables",
            counted(count(Severity::Fault), "fault"),
            counted(count(Severity::Warn), "warning")
        )
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn line(finding: &Finding) -> String {
    let (word, colour) = match finding.severity {
        Severity::Fault => ("fault", "31"),
        Severity::Warn => ("warn ", "33"),
    };
    let rest = format!("{}: {} → {}", finding.about, finding.found, finding.next);
    format!("{}  {}\n", painted(word, colour), visible_line(&rest))
}
