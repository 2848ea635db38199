//! Periodic check of topics, groups and consumers, with metrics and log.

use std::collections::BTreeSet;

use super::check::{self, CheckInput, Finding, Severity};
use super::stalls::Sightings;
use crate::cluster::Cluster;
use crate::metrics::{ConsumerMetrics, TopicsMetrics};

/// State from one check to the next.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    sightings: Sightings,
    /// Logged findings by subject, because their text changes with every check.
    logged: BTreeSet<(Severity, String)>,
}

impl Watcher {
    /// Checks `topics`, sets metrics, and logs each finding once. After an error the consumer
    /// metrics are absent, because old values would mislead.
    ///
    /// # Errors
    /// Fails if the brokers can't be read.
    pub(super) async fn look(
        &mut self,
        cluster: &Cluster,
        topics: BTreeSet<String>,
        metrics: &TopicsMetrics,
    ) -> anyhow::Result<()> {
        let found = match check::look(cluster, topics, &mut self.sightings).await {
            Ok(found) => found,
            Err(error) => {
                metrics.consumers.clear();
                return Err(error.into());
            }
        };
        let findings = check::check(&found);
        for (severity, name) in [(Severity::Fault, "fault"), (Severity::Warn, "warn")] {
            let count = findings.iter().filter(|finding| finding.severity == severity).count();
            metrics.findings.set([name], count as u64);
        }
        measure(&found, &metrics.consumers);
        self.log(&findings);
        Ok(())
    }

    fn log(&mut self, findings: &[Finding]) {
        let now: BTreeSet<(Severity, String)> = findings.iter().map(key).collect();
        for Finding { severity, about, found, next } in
            findings.iter().filter(|finding| !self.logged.contains(&key(finding)))
        {
            match severity {
                Severity::Fault => {
                    tracing::error!(subject = %about, finding = %found, hint = %next, "new finding");
                }
                Severity::Warn => {
                    tracing::warn!(subject = %about, finding = %found, hint = %next, "new finding");
                }
            }
        }
        for (_, about) in self.logged.difference(&now) {
            tracing::info!(subject = %about, "finding is resolved");
        }
        self.logged = now;
    }
}

fn key(finding: &Finding) -> (Severity, String) {
    (finding.severity, finding.about.clone())
}

/// Sets the consumer metrics for topics that posthouse manages or a table reads.
fn measure(found: &CheckInput, metrics: &ConsumerMetrics) {
    let labels = |group: &str, topic: &str| [group.to_owned(), topic.to_owned()];
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    let stalls = found.stalls();
    let lag = found.own_lags().map(|lag| (labels(&lag.group, &lag.topic), number(lag.lag)));
    metrics.lag.replace(lag);
    let oldest = found.own_lags().filter_map(|lag| {
        let age = match (lag.lag, lag.oldest_unread) {
            (0, _) => 0,
            (_, made) => found.now.saturating_sub(made?) / 1000,
        };
        Some((labels(&lag.group, &lag.topic), number(age)))
    });
    metrics.oldest_unread.replace(oldest);
    let stalled = found.own_lags().map(|lag| {
        let own = stalls.iter().filter(|stall| stall.group == lag.group && stall.topic == lag.topic);
        let seconds = own.map(|stall| stall.stalled_s).max().unwrap_or_default();
        (labels(&lag.group, &lag.topic), number(seconds))
    });
    metrics.stalled.replace(stalled);
}
