//! `posthouse run`: the sidecar.

use std::sync::Arc;

use super::Outcome;
use super::signals::first_signal;
use crate::cluster::Cluster;
use crate::daemon;

pub(super) const RUN: &str = "\
The sidecar serves daemon.listen (http://127.0.0.1:9365 by default): /live (whether to restart it), /ready (503 and the
reason while a task can't do its work), /health (both, a line for each task) and /metrics, for Prometheus. An address
that other machines reach needs daemon.token_file or [daemon.tls] with client_ca_file.
Every topics.interval it reconciles topics as topics.reconcile says: \"off\", \"check\" (differences as metrics) or
\"apply\" (all changes, except those that delete messages: posthouse topics apply makes these).
With [persons.postgres] in the config it syncs persons and their distinct ids from PostgreSQL: an initial snapshot, then every
change. Every persons.audit.interval it compares every node with PostgreSQL (posthouse persons audit does so at once).
It does not publish where another producer fills these topics or tables: see posthouse persons check first.
On a node with functions (posthouse udf install) whose disk is here, it keeps the index of personOf: it builds the index from the
node's table, and follows changes from the topic (persons.index).
Several instances are fine, one per node: one at a time changes topics, and one holds the slot.
SIGTERM or Ctrl-C ends it within 10 s even if a task hangs, a second one at once; SIGHUP is ignored.

Example:
  posthouse --config /etc/posthouse/posthouse.toml run";

pub(super) async fn run(cluster: &Arc<Cluster>) -> anyhow::Result<Outcome> {
    daemon::run(cluster.clone(), first_signal()?).await?;
    Ok(Outcome::Clean)
}
