//! Heartbeat of a task: the last sign of life, and whether it does its work.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

/// A deadline for work that has none.
const NO_DEADLINE: Duration = Duration::from_secs(100 * 365 * 86_400);
/// From here on a step is reported as what keeps the task from its work.
const SLOW_STEP: Duration = Duration::from_secs(30);
/// How often a heartbeat is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a task may take from its spawn to its first beat.
const FIRST_BEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// The heartbeat of one task. Clones beat for the same task.
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<Mutex<Pulse>>);

/// What a heartbeat last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// When it beat.
    pub beat: Instant,
    /// When it must have beaten again.
    pub due: Instant,
    /// What the task does in between.
    pub doing: String,
    /// Why the task can't do its work, and since when; `None` while it can.
    pub problem: Option<(String, Instant)>,
    /// A fault beside the task's own work, which goes on; and since when.
    pub impairment: Option<(String, Instant)>,
}

impl Pulse {
    /// Whether the next beat is missing.
    pub fn is_overdue(&self, now: Instant) -> bool {
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
    pub fn beat(&self, doing: impl Into<String>, timeout: Duration) {
        let (mut pulse, now) = (self.lock(), Instant::now());
        pulse.beat = now;
        pulse.due = now + timeout.min(NO_DEADLINE);
        pulse.doing = doing.into();
    }

    /// Beats, and does a step of the work, which should end within `limit`. A step that takes long is a problem meanwhile, and
    /// until [`Heartbeat::ready`].
    pub async fn during<T>(
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
                self.not_ready(format!("it takes long: {doing}"));
                step.await
            }
        }
    }

    /// Beats, and promises nothing: there is no work.
    pub fn rest(&self, doing: impl Into<String>) {
        self.beat(doing, NO_DEADLINE);
        self.ready();
    }

    /// Begins again: as of a task that was just spawned. A problem stays until the task says otherwise.
    pub fn begin(&self) {
        self.beat("starting", FIRST_BEAT_TIMEOUT);
    }

    /// The task does its work.
    pub fn ready(&self) {
        self.lock().problem = None;
    }

    /// The task can't do its work.
    pub fn not_ready(&self, reason: impl Into<String>) {
        let mut pulse = self.lock();
        let since = pulse.problem.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        pulse.problem = Some((reason.into(), since));
    }

    /// A fault beside the task's own work, or that there is none. [`Heartbeat::ready`] does not end it.
    pub fn impaired(&self, reason: Option<String>) {
        let mut pulse = self.lock();
        let since = pulse.impairment.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        pulse.impairment = reason.map(|reason| (reason, since));
    }

    /// What it last said.
    pub fn pulse(&self) -> Pulse {
        self.lock().clone()
    }

    /// Waits until a beat is missing; returns the last one.
    pub async fn overdue(&self) -> Pulse {
        loop {
            let pulse = self.pulse();
            if pulse.is_overdue(Instant::now()) {
                return pulse;
            }
            // The next beat may promise another one sooner.
            sleep_until(pulse.due.min(Instant::now() + CHECK_INTERVAL)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pulse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
