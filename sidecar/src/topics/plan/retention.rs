//! Steps of a retention drop.
//!
//! A drop is limited, because deleted messages can't be restored.

use std::time::Duration;

/// The config that drops in steps.
pub(crate) const RETENTION: &str = "retention.ms";
/// A retention of more than a hundred years means forever. Steps of a day from there would never
/// end.
const CENTURY: i64 = 36_525 * 86_400_000;

/// Whether a retention in milliseconds is a limit at all.
pub(crate) fn is_limit(retention: i64) -> bool {
    (0..=CENTURY).contains(&retention)
}

/// A step towards the desired retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetentionStep {
    /// Retention after this step, in milliseconds.
    pub(crate) next: i64,
    /// Number of steps after this one.
    pub(crate) left: u64,
}

/// Returns the next step from `from` to `to`, both in milliseconds. `None` from no limit to a
/// limit, because the number of deleted messages is unknown.
pub(crate) fn step(from: i64, to: i64, most: Duration) -> Option<RetentionStep> {
    let most = i64::try_from(most.as_millis()).unwrap_or(i64::MAX).max(1);
    if !is_limit(to) || (is_limit(from) && to >= from) {
        return Some(RetentionStep { next: to, left: 0 });
    }
    if !is_limit(from) {
        return None;
    }
    let next = from.saturating_sub(most).max(to);
    let left = (next - to).unsigned_abs().div_ceil(most.unsigned_abs());
    Some(RetentionStep { next, left })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const MOST: Duration = Duration::from_millis(DAY as u64);

    #[test]
    fn a_drop_goes_step_by_step_and_ends_where_it_should() {
        let (mut now, to, mut steps) = (7 * DAY, 2 * DAY + DAY / 2, Vec::new());
        while now != to {
            let step = step(now, to, MOST).expect("a step");
            assert!(now - step.next <= DAY && step.next >= to);
            now = step.next;
            steps.push(step.left);
        }
        assert_eq!(steps, [4, 3, 2, 1, 0]);
    }

    #[test]
    fn growth_needs_no_steps_and_a_first_limit_is_refused() {
        assert_eq!(step(DAY, 30 * DAY, MOST), Some(RetentionStep { next: 30 * DAY, left: 0 }));
        assert_eq!(step(DAY, -1, MOST), Some(RetentionStep { next: -1, left: 0 }));
        assert_eq!(step(-1, -1, MOST), Some(RetentionStep { next: -1, left: 0 }));
        assert_eq!(step(-1, 365 * DAY, MOST), None);
        assert_eq!(step(i64::MAX, 0, MOST), None);
        assert_eq!(step(DAY, i64::MAX, MOST), Some(RetentionStep { next: i64::MAX, left: 0 }));
        assert_eq!(step(CENTURY, 0, MOST).map(|step| step.next), Some(CENTURY - DAY));
    }
}
