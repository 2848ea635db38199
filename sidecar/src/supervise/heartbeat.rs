//! Heartbeat of a task: last beat, next deadline and readiness.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

/// Deadline for work without one.
const NO_DEADLINE: Duration = Duration::from_secs(100 * 365 * 86_400);
/// A step that takes longer makes the task not ready.
const SLOW_STEP: Duration = Duration::from_secs(30);
/// Interval between checks of a heartbeat.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time from a task's spawn to its first beat.
const FIRST_BEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// The heartbeat of one task. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeat(Arc<Mutex<Pulse>>);

/// Last state of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// Time of the last beat.
    pub(crate) beat: Instant,
    /// Deadline of the next beat.
    pub(crate) due: Instant,
    /// Activity until the next beat.
    pub(crate) doing: String,
    /// Why the task can't do its work, and since when; `None` while it can.
    pub(crate) problem: Option<(String, Instant)>,
    /// A fault that does not stop the task's own work, and since when.
    pub(crate) impairment: Option<(String, Instant)>,
}

impl Pulse {
    /// Whether the next beat is missing.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        now >= self.due
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        let now = Instant::now();
        let starting = "starting".to_owned();
        let problem = Some((starting.clone(), now));
        Self(Arc::new(Mutex::new(Pulse {
            beat: now,
            due: now + FIRST_BEAT_TIMEOUT,
            doing: starting,
            problem,
            impairment: None,
        })))
    }
}

impl Heartbeat {
    /// Beats, and promises the next beat within `timeout`.
    pub(crate) fn beat(&self, doing: impl Into<String>, timeout: Duration) {
        let (mut pulse, now) = (self.lock(), Instant::now());
        pulse.beat = now;
        pulse.due = now + timeout.min(NO_DEADLINE);
        pulse.doing = doing.into();
    }

    /// Beats, and runs a step of the work that should end within `limit`. A slow step is a problem
    /// until [`Heartbeat::ready`].
    pub(crate) async fn during<T>(
        &self,
        doing: impl Into<String>,
        limit: Duration,
        step: impl Future<Output = T>,
    ) -> T {
        let doing = doing.into();
        self.beat(doing.as_str(), limit);
        let mut step = pin!(step);
        match timeout(SLOW_STEP, &mut step).await {
            Ok(done) => done,
            Err(_) => {
                self.not_ready(format!("slow step: {doing}"));
                step.await
            }
        }
    }

    /// Beats, and promises no further beat because there is no work.
    pub(crate) fn rest(&self, doing: impl Into<String>) {
        self.beat(doing, NO_DEADLINE);
        self.ready();
    }

    /// Resets the heartbeat for a spawned task. A problem remains until the task reports otherwise.
    pub(crate) fn begin(&self) {
        self.beat("starting", FIRST_BEAT_TIMEOUT);
    }

    pub(crate) fn ready(&self) {
        self.lock().problem = None;
    }

    pub(crate) fn not_ready(&self, reason: impl Into<String>) {
        let mut pulse = self.lock();
        let since = pulse.problem.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        pulse.problem = Some((reason.into(), since));
    }

    /// Sets or clears a fault that does not stop the task's own work. [`Heartbeat::ready`] does not
    /// clear it.
    pub(crate) fn impaired(&self, reason: Option<String>) {
        let mut pulse = self.lock();
        let since = pulse.impairment.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        pulse.impairment = reason.map(|reason| (reason, since));
    }

    pub(crate) fn pulse(&self) -> Pulse {
        self.lock().clone()
    }

    /// Waits until a beat is missing. Returns the last pulse.
    pub(crate) async fn overdue(&self) -> Pulse {
        loop {
            let pulse = self.pulse();
            if pulse.is_overdue(Instant::now()) {
                return pulse;
            }
            // A later beat may set an earlier deadline.
            sleep_until(pulse.due.min(Instant::now() + CHECK_INTERVAL)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pulse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
