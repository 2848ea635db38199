//! `posthouse run`: the sidecar itself.

use posthouse::config::Config;
use posthouse::daemon;
use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;

pub(super) const RUN: &str = "\
It answers at daemon.listen (http://127.0.0.1:9365 by default): /health and /metrics, for Prometheus.
daemon.topics says what it does about topics every daemon.topics_period_s: \"off\", \"check\" (differences as metrics)
or \"apply\" (bring them in line, but leave everything that deletes messages to posthouse topics apply).
With [persons.postgres] in the config it copies persons and their distinct ids from PostgreSQL: both tables once, then every
change, and it compares every node with PostgreSQL every audit_period_s (posthouse persons audit does so at once).
Several at once are fine, one per node: only one changes topics at a time, and only one holds the slot. SIGTERM or Ctrl-C ends it after what is under way.

Example:
  posthouse --config /etc/posthouse/posthouse.toml run";

pub(super) async fn run(config: &Config) -> anyhow::Result<Outcome> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    daemon::run(config.clone(), stop).await?;
    Ok(Outcome::Clean)
}
