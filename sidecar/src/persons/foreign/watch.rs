//! Watch for other producers' messages while posthouse publishes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::VersionRule;
use crate::kafka::{Client, TopicPartition};
use crate::metrics::PersonsMetrics;

use super::{Conflicts, TopicConflicts, look_at_topics};
use crate::persons::source::PersonSource;

/// Interval between two reads. Together with the limit per read it determines the amount of re-read
/// messages.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);
/// Interval between two log lines, so that a continuing producer does not fill the log.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Watch over both topics.
pub(in super::super) struct Watch<'a> {
    /// Determines which messages conflict.
    pub(crate) source: PersonSource<'a>,
    pub(crate) client: &'a Client,
    /// Counts conflicting messages.
    pub(crate) metrics: &'a PersonsMetrics,
}

impl Watch<'_> {
    /// Reads the newest messages forever, from these offsets on. Logs and counts conflicts.
    pub(in super::super) async fn run(&self, from: &mut BTreeMap<TopicPartition, i64>) -> Infallible {
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut logged: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let (topics, ends) = match look_at_topics(self.source, self.client, from).await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::warn!(error = %error, "messages of other producers can't be read");
                    continue;
                }
            };
            from.extend(ends);
            let count = topics.iter().map(|topic| topic.conflicting).sum();
            self.metrics.foreign_messages.inc_by(count);
            let is_due = logged.is_none_or(|logged| logged.elapsed() >= ERROR_LOG_INTERVAL);
            if count > 0 && is_due {
                logged = Some(Instant::now());
                self.log(topics);
            }
        }
    }

    fn log(&self, topics: Vec<TopicConflicts>) {
        let found = Conflicts { topics, ..Conflicts::default() }.summary();
        match self.source.postgres.version {
            VersionRule::Wal => tracing::error!(
                conflicts = %found,
                hint = "stop it, or give posthouse topics of its own: its rows are hidden for good (posthouse persons check)",
                "another producer sends into the topics that posthouse fills"
            ),
            VersionRule::Column => tracing::error!(
                conflicts = %found,
                hint = "stop their producer, and empty topics and tables: they hide the column's rows (posthouse persons check)",
                "messages with versions of the WAL are in the topics that posthouse fills"
            ),
        }
    }
}
