//! Restart decision after a task's fault.

use std::fmt;
use std::time::Duration;

/// Earlier faults are forgotten after a run of this length.
const STABLE_RUN: Duration = Duration::from_secs(600);
/// Consecutive faults after which the process ends: a fresh process is the last remedy.
const MAX_FAULTS: u32 = 5;
/// Wait before the first restart. Doubles with each consecutive fault.
pub(super) const MIN_BACKOFF: Duration = Duration::from_secs(1);

/// Unexpected end of a task's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskFault {
    /// The run returned.
    Ended,
    /// The run panicked with this message.
    Panicked(String),
    /// The heartbeat was missing and the run was aborted.
    Stalled {
        /// Last activity.
        doing: String,
        /// Time from the last beat to the abort.
        silence: Duration,
    },
}

impl fmt::Display for TaskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => write!(f, "it ended without a stop request"),
            Self::Panicked(message) => write!(f, "it panicked: {message}"),
            Self::Stalled { doing, silence } => {
                write!(f, "it stalled: {doing}, no heartbeat for {} s", silence.as_secs())
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFault {
    /// Restarts the task after this time.
    Restart(Duration),
    /// Ends the process.
    GiveUp,
}

/// Consecutive faults of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FaultCount {
    count: u32,
    min_backoff: Duration,
}

impl FaultCount {
    /// Starts at zero. The first restart waits for `min_backoff`.
    pub(super) fn new(min_backoff: Duration) -> Self {
        Self { count: 0, min_backoff }
    }

    /// Counts a fault that ended a run of this length.
    pub(super) fn add(&mut self, run: Duration) -> AfterFault {
        self.count = if run >= STABLE_RUN { 1 } else { self.count + 1 };
        if self.count >= MAX_FAULTS {
            AfterFault::GiveUp
        } else {
            AfterFault::Restart(self.min_backoff * 2_u32.pow(self.count - 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_longer_and_gives_up_when_faults_follow_each_other() {
        let mut count = FaultCount::new(MIN_BACKOFF);
        let answers: Vec<_> = (0..5).map(|_| count.add(Duration::ZERO)).collect();
        let restarts = [1, 2, 4, 8].map(|seconds| AfterFault::Restart(Duration::from_secs(seconds)));
        assert_eq!(answers[..4], restarts);
        assert_eq!(answers[4], AfterFault::GiveUp);
    }

    #[test]
    fn forgets_earlier_faults_after_a_stable_run() {
        let mut count = FaultCount::new(MIN_BACKOFF);
        for _ in 0..4 {
            count.add(STABLE_RUN - Duration::from_secs(1));
        }
        assert_eq!(count.add(STABLE_RUN), AfterFault::Restart(MIN_BACKOFF));
    }
}
