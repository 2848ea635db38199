//! Wait for loads of the files that may still send a block.

use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{OnUndoStep, Undo, UndoParams, UndoStep};
use crate::backfill::ledger::LedgerError;
use crate::cluster::Cluster;
use crate::sql;

/// Time beyond the servers' own limit for a request that sends nothing.
const RECEIVE_MARGIN: Duration = Duration::from_secs(5);
/// Interval of the looks at inserts.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Longest time for inserts in flight to end.
const INSERT_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
struct ReceiveTimeout {
    seconds: u64,
}

/// Longest time for which a load may send a block after it has asked the ledger.
///
/// A server lists an insert in `system.processes` when it has its first 256 KiB. Until then, a
/// loader that is paused can hold the request open for `http_receive_timeout`.
pub(crate) async fn longest_send(cluster: &Cluster, answer_holds: Duration) -> anyhow::Result<Duration> {
    let mut longest = answer_holds;
    for node in &cluster.nodes {
        let query = node.query(sql::text("backfill/undo_timeout.sql").unwrap_or_default());
        let rows: Vec<ReceiveTimeout> = query.rows().await?;
        let receives = rows.iter().map(|row| Duration::from_secs(row.seconds) + RECEIVE_MARGIN).max();
        longest = longest.max(receives.unwrap_or_default());
    }
    Ok(longest)
}

/// Times since the last steps of loads and of the undo, by the ledger.
#[derive(Debug, Clone, Default, Deserialize)]
struct LoadAges {
    /// Since a load has recorded a step, in milliseconds.
    step_ms: i64,
    /// Since the undo has marked the files.
    mark_ms: i64,
    /// Since a load of them was cancelled.
    cancel_ms: i64,
    /// The job of the last step.
    last_job: String,
}

impl LoadAges {
    /// The reason to refuse an undo because of a running load. `open` is whether a unit is begun
    /// and not done.
    fn running(&self, job: &str, open: bool, answer_holds: Duration) -> Option<String> {
        let limit = i64::try_from(answer_holds.as_millis()).unwrap_or(i64::MAX);
        let is_running = open && self.step_ms < limit && self.cancel_ms > limit;
        is_running.then(|| {
            format!(
                "a load of job {} stored rows {:.1} s ago and is not complete: posthouse backfill cancel {} stops it, then \
                 undo job {job}",
                self.last_job,
                self.step_ms as f64 / 1_000.0,
                self.last_job
            )
        })
    }

    /// Time until no load may send a block without asking the ledger, which then has the undo.
    fn wait(&self, open: bool, answer_holds: Duration) -> Duration {
        // Loads that have asked since the last unit was done have nothing to send.
        let age = if open { self.mark_ms } else { self.step_ms };
        answer_holds.saturating_sub(Duration::from_millis(u64::try_from(age).unwrap_or_default()))
    }
}

impl Undo<'_> {
    /// The reason to refuse an undo because of a running load.
    pub(super) async fn running_load(
        &self,
        open: bool,
        answer_holds: Duration,
    ) -> Result<Option<String>, LedgerError> {
        Ok(self.ages().await?.running(self.job, open, answer_holds))
    }

    /// Waits until no load of the marked files sends a block any more.
    pub(super) async fn wait_until_quiet(
        &self,
        open: bool,
        answer_holds: Duration,
        on_step: OnUndoStep<'_>,
    ) -> anyhow::Result<()> {
        let wait = self.ages().await?.wait(open, answer_holds);
        if !wait.is_zero() {
            let reason = format!("for {:.0} s, in which a load may still send blocks", wait.as_secs_f32());
            on_step(UndoStep::Waiting { reason });
            sleep(wait).await;
        }
        let begun = Instant::now();
        loop {
            let mut inserts = 0;
            for node in &self.cluster.nodes {
                inserts += self.count(node, "backfill/undo_inserts.sql").await?;
            }
            if inserts == 0 {
                return Ok(());
            }
            if begun.elapsed() > INSERT_TIMEOUT {
                bail!(
                    "{inserts} inserts of job {} have not ended for 10 minutes: look at them in system.processes, end them \
                     with KILL QUERY, and run the same command again",
                    self.job
                );
            }
            on_step(UndoStep::Waiting { reason: format!("for {inserts} inserts of its blocks") });
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn ages(&self) -> Result<LoadAges, LedgerError> {
        let params = UndoParams::default();
        let rows: Vec<LoadAges> = self.rows(self.route.any(), "backfill/undo_quiet.sql", params).await?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDS: Duration = Duration::from_secs(60);

    fn ages(step_ms: i64, mark_ms: i64, cancel_ms: i64) -> LoadAges {
        LoadAges { step_ms, mark_ms, cancel_ms, last_job: "k".to_owned() }
    }

    #[test]
    fn a_load_runs_if_it_wrote_lately_and_is_not_complete() {
        let running = ages(1_500, 0, 90_000).running("j", true, HOLDS).expect("a reason");
        assert!(running.contains("job k stored rows 1.5 s ago"), "{running}");
        assert!(running.contains("posthouse backfill cancel k"), "{running}");
        assert_eq!(ages(1_500, 0, 90_000).running("j", false, HOLDS), None);
        assert_eq!(ages(61_000, 0, 90_000).running("j", true, HOLDS), None);
        assert_eq!(ages(1_500, 0, 2_000).running("j", true, HOLDS), None);
    }

    #[test]
    fn a_load_that_asked_before_the_undo_is_waited_for() {
        assert_eq!(ages(5_000, 1_000, 0).wait(true, HOLDS), Duration::from_secs(59));
        assert_eq!(ages(5_000, 1_000, 0).wait(false, HOLDS), Duration::from_secs(55));
        assert_eq!(ages(90_000, 1_000, 0).wait(false, HOLDS), Duration::ZERO);
        // A clock that was set back.
        assert_eq!(ages(-5, -5, 0).wait(true, HOLDS), HOLDS);
    }
}
