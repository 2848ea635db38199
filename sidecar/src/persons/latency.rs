//! Publish latency: from PostgreSQL's commit to the brokers' acknowledgement.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// PostgreSQL counts time from 2000-01-01.
const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);

/// Time of a commit by PostgreSQL's clock, in microseconds since 2000-01-01.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CommitTime(pub(crate) i64);

impl CommitTime {
    /// Seconds until the brokers acknowledged at `acknowledged` by this host's clock. 0 if
    /// PostgreSQL's clock is ahead.
    pub(super) fn seconds_until(self, acknowledged: SystemTime) -> f64 {
        let acknowledged = acknowledged.duration_since(UNIX_EPOCH).unwrap_or_default();
        let committed = Duration::from_micros(self.0.max(0).unsigned_abs()) + POSTGRES_EPOCH;
        acknowledged.saturating_sub(committed).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_commit_and_never_below_zero() {
        // 2026-01-01 in both counts.
        let (commit, unix) = (CommitTime(820_454_400_000_000), Duration::from_secs(1_767_139_200));
        let acknowledged = UNIX_EPOCH + unix;
        assert!((commit.seconds_until(acknowledged + Duration::from_millis(250)) - 0.25).abs() < 1e-9);
        for outside in [acknowledged - Duration::from_secs(7), UNIX_EPOCH - Duration::from_secs(7)] {
            assert!(commit.seconds_until(outside) <= 0.0);
        }
        assert!(CommitTime(i64::MIN).seconds_until(acknowledged) > 0.0);
        assert!(CommitTime(i64::MAX).seconds_until(acknowledged) <= 0.0);
    }
}
