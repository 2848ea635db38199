//! Schedule of the leader's audits and repairs.
//!
//! They run once per period, and at once when rows vanished and their keys are unknown.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::cluster::Cluster;
use crate::config::{AuditMode, Postgres};
use crate::metrics::PersonsMetrics;
use crate::supervise::{Heartbeat, trim};

use crate::persons::audit::last::LastAudit;
use crate::persons::audit::{Audit, AuditError, AuditReport, Deletions};
use crate::persons::checkpoint::{Checkpoint, CheckpointStore};

/// Initial backoff after a repair that failed or left differences.
const REPAIR_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum backoff, and the interval of retries while a repair needs confirmation.
const CONFIRMATION_INTERVAL: Duration = Duration::from_secs(600);

/// Whether a repair is the last attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    No,
    Yes,
}

pub(crate) struct Audits<'a> {
    pub(crate) cluster: &'a Cluster,
    /// The checkpoint, which records repairs.
    pub(crate) store: &'a CheckpointStore<'a>,
    /// Notified when rows vanished.
    pub(crate) vanished: &'a Notify,
    pub(crate) metrics: &'a PersonsMetrics,
    /// Receives a heartbeat with each audit.
    pub(crate) heartbeat: &'a Heartbeat,
}

impl Audits<'_> {
    /// Audits forever. Errors are logged and retried.
    pub(crate) async fn run(&self, postgres: &Postgres) -> Infallible {
        let mut next = Instant::now() + postgres.audit_interval;
        let mut backoff = REPAIR_INTERVAL;
        loop {
            self.heartbeat.rest("waiting for the next audit");
            let state = self.store.now().await;
            let vanished = state.vanished > state.repaired;
            if !vanished {
                backoff = REPAIR_INTERVAL;
                tokio::select! {
                    () = sleep_until(next), if postgres.audit != AuditMode::Off => {}
                    () = self.vanished.notified() => continue,
                }
            }
            let last = if backoff >= CONFIRMATION_INTERVAL { Last::Yes } else { Last::No };
            let began = Instant::now();
            let done = match vanished || postgres.audit == AuditMode::Repair {
                true => self.repair(&state, last).await,
                false => self.check().await,
            };
            trim();
            next = Instant::now() + postgres.audit_interval;
            let mut again = backoff;
            backoff = (backoff * 2).min(CONFIRMATION_INTERVAL);
            match done {
                Ok(()) => {
                    self.metrics.audit_duration.observe(began.elapsed().as_secs_f64());
                    self.heartbeat.impaired(None);
                }
                Err(error) => match error.downcast_ref() {
                    Some(AuditError::Deletions { .. }) => {
                        self.metrics.audit_errors.inc();
                        tracing::error!(error = %error, "repair needs confirmation");
                        self.heartbeat.impaired(Some(error.to_string()));
                        again = CONFIRMATION_INTERVAL;
                    }
                    // After a snapshot the nodes have many messages to consume.
                    Some(AuditError::Behind { .. } | AuditError::Unread { .. }) if vanished => {
                        tracing::info!(retry_in = ?again, error = %error, "repair waits for nodes");
                    }
                    _ => {
                        self.metrics.audit_errors.inc();
                        tracing::error!(error = %format_args!("{error:#}"), "audit failed");
                    }
                },
            }
            if vanished && self.store.now().await.repaired < state.vanished {
                self.heartbeat.rest("waiting for the next repair");
                sleep_until(Instant::now() + again).await;
            }
        }
    }

    fn audit(&self) -> anyhow::Result<Audit<'_>> {
        Audit::with_heartbeat(self.cluster, self.heartbeat.clone())
    }

    async fn check(&self) -> anyhow::Result<()> {
        let report = self.audit()?.check().await?;
        self.keep(&report).await?;
        match report.differences() {
            0 => tracing::info!("every node matches PostgreSQL"),
            count => tracing::error!(
                rows = count,
                hint = "posthouse persons audit shows them, --repair fixes them",
                "rows differ from PostgreSQL"
            ),
        }
        Ok(())
    }

    /// `state` is the checkpoint before the repair began.
    async fn repair(&self, state: &Checkpoint, last: Last) -> anyhow::Result<()> {
        let deletions = match state.truncated {
            true => Deletions::Confirmed,
            false => Deletions::Guarded { expected: state.keyless },
        };
        let audit = self.audit()?;
        audit.settle().await?;
        let (before, after) = audit.repair(deletions).await?;
        self.keep(&after).await?;
        tracing::info!(
            rows = before.differences(),
            left = after.differences(),
            "differing rows were republished"
        );
        match (after.differences(), last) {
            (0, _) => {}
            (_, Last::No) => return Ok(()),
            (left, Last::Yes) => tracing::error!(
                rows = left,
                hint = "posthouse persons audit shows them",
                "rows differ after every repair"
            ),
        }
        let (vanished, keyless) = (state.vanished, state.keyless);
        self.store
            .change(|state| {
                // Rows that vanished since then are not repaired yet.
                state.truncated &= state.vanished > vanished;
                state.keyless = state.keyless.saturating_sub(keyless);
                state.repaired = vanished;
            })
            .await
    }

    /// Exposes the result, and keeps it for the next leader.
    async fn keep(&self, report: &AuditReport) -> anyhow::Result<()> {
        let audit = LastAudit::now(report);
        audit.expose(self.metrics);
        self.store.change(|state| state.audit = Some(audit)).await
    }
}
