//! The look of a running posthouse at topics, groups and consumers: metrics, and a log of what is
//! found and gone.

use std::collections::BTreeSet;

use super::check::{self, Finding, Found, Severity};
use super::stalls::Sightings;
use crate::config::Config;
use crate::http::{Labels, Metric, Metrics};
use crate::kafka::Client;
use crate::node::Node;

/// What one look leaves for the next.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    sightings: Sightings,
    /// Findings that are logged: their text changes with every look, what they are about does not.
    logged: BTreeSet<(Severity, String)>,
}

impl Watcher {
    /// Compares `topics`, measures, and logs each finding once. If it fails, figures of consumers are absent and not old.
    ///
    /// # Errors
    /// If the brokers can't be read.
    pub(super) async fn look(
        &mut self,
        config: &Config,
        client: &Client,
        nodes: &[Node],
        topics: BTreeSet<String>,
        metrics: &Metrics,
    ) -> anyhow::Result<()> {
        let found = match check::look(config, client, nodes, topics, &mut self.sightings).await {
            Ok(found) => found,
            Err(error) => {
                for metric in [Metric::ConsumerLag, Metric::ConsumerOldestUnread, Metric::ConsumerStalled] {
                    metrics.replace(metric, []);
                }
                return Err(error.into());
            }
        };
        let findings = check::check(&found);
        for (severity, name) in [(Severity::Fault, "fault"), (Severity::Warn, "warn")] {
            let count = findings.iter().filter(|finding| finding.severity == severity).count();
            metrics.set_for(Metric::TopicsFindings, "severity", name, count as u64);
        }
        measure(&found, metrics);
        self.log(&findings);
        Ok(())
    }

    fn log(&mut self, findings: &[Finding]) {
        let now: BTreeSet<(Severity, String)> = findings.iter().map(key).collect();
        for Finding { severity, about, found, next } in
            findings.iter().filter(|finding| !self.logged.contains(&key(finding)))
        {
            match severity {
                Severity::Fault => tracing::error!("topics: {about}: {found} → {next}"),
                Severity::Warn => tracing::warn!("topics: {about}: {found} → {next}"),
            }
        }
        for (_, about) in self.logged.difference(&now) {
            tracing::info!("topics: {about}: found no more");
        }
        self.logged = now;
    }
}

fn key(finding: &Finding) -> (Severity, String) {
    (finding.severity, finding.about.clone())
}

/// How far every group is in our topics.
fn measure(found: &Found, metrics: &Metrics) {
    let labels = |group: &str, topic: &str| -> Labels {
        vec![("group", group.to_owned()), ("topic", topic.to_owned())]
    };
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    let stalls = found.stalls();
    let lag = found.own_lags().map(|lag| (labels(&lag.group, &lag.topic), number(lag.lag)));
    metrics.replace(Metric::ConsumerLag, lag);
    let oldest = found.own_lags().filter_map(|lag| {
        let age = match (lag.lag, lag.oldest_unread) {
            (0, _) => 0,
            (_, made) => found.now.saturating_sub(made?) / 1000,
        };
        Some((labels(&lag.group, &lag.topic), number(age)))
    });
    metrics.replace(Metric::ConsumerOldestUnread, oldest);
    let stalled = found.own_lags().map(|lag| {
        let own = stalls.iter().filter(|stall| stall.group == lag.group && stall.topic == lag.topic);
        let seconds = own.map(|stall| stall.stalled_s).max().unwrap_or_default();
        (labels(&lag.group, &lag.topic), number(seconds))
    });
    metrics.replace(Metric::ConsumerStalled, stalled);
}
