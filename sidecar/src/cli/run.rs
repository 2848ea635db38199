//! `posthouse run`: the sidecar.

use posthouse::config::Config;
use posthouse::daemon;

use super::Outcome;
use super::signals::first_signal;

pub(super) const RUN: &str = "\
It answers at daemon.listen (http://127.0.0.1:9365 by default): /live (whether to restart it), /ready (503 and the reason
while a task can't do its work), /health (both, a line for each task) and /metrics, for Prometheus.
daemon.topics says what it does about topics every daemon.topics_period_s: \"off\", \"check\" (differences as metrics)
or \"apply\" (bring them in line, but leave everything that deletes messages to posthouse topics apply).
With [persons.postgres] in the config it copies persons and their distinct ids from PostgreSQL: both tables once, then every
change, and it compares every node with PostgreSQL every audit_period_s (posthouse persons audit does so at once).
It publishes nothing where another producer fills these topics or tables: see posthouse persons check first.
Several at once are fine, one per node: only one changes topics at a time, and only one holds the slot.
SIGTERM or Ctrl-C ends it within 10 s whatever hangs, a second one at once; SIGHUP is ignored. Exit code 0: it ended in order.
1: a change of topics was cut off, or a task failed again and again; the log says which.

Example:
  posthouse --config /etc/posthouse/posthouse.toml run";

pub(super) async fn run(config: &Config) -> anyhow::Result<Outcome> {
    daemon::run(config.clone(), first_signal()?).await?;
    Ok(Outcome::Clean)
}
