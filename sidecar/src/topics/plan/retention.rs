//! How far a retention may drop at once: what a broker has deleted nobody brings back.

use std::time::Duration;

/// The config that steps are for.
pub(crate) const RETENTION: &str = "retention.ms";
/// Whoever keeps messages for longer than a hundred years means forever: steps of a day from there would never end.
const CENTURY: i64 = 36_525 * 86_400_000;

/// Whether a retention in milliseconds is a limit at all.
pub(crate) fn is_limit(retention: i64) -> bool {
    (0..=CENTURY).contains(&retention)
}

/// A step of a retention towards what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The retention after this step, in milliseconds.
    pub(crate) next: i64,
    /// Steps that follow it.
    pub(crate) left: u64,
}

/// The next step from `from` to `to`, both in milliseconds; `None` if it must not be taken at all, since there is no telling
/// how much it deletes: from no limit to one.
pub(crate) fn step(from: i64, to: i64, most: Duration) -> Option<Step> {
    let most = i64::try_from(most.as_millis()).unwrap_or(i64::MAX).max(1);
    if !is_limit(to) || (is_limit(from) && to >= from) {
        return Some(Step { next: to, left: 0 });
    }
    if !is_limit(from) {
        return None;
    }
    let next = from.saturating_sub(most).max(to);
    let left = (next - to).unsigned_abs().div_ceil(most.unsigned_abs());
    Some(Step { next, left })
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
        assert_eq!(step(DAY, 30 * DAY, MOST), Some(Step { next: 30 * DAY, left: 0 }));
        assert_eq!(step(DAY, -1, MOST), Some(Step { next: -1, left: 0 }));
        assert_eq!(step(-1, -1, MOST), Some(Step { next: -1, left: 0 }));
        assert_eq!(step(-1, 365 * DAY, MOST), None);
        assert_eq!(step(i64::MAX, 0, MOST), None);
        assert_eq!(step(DAY, i64::MAX, MOST), Some(Step { next: i64::MAX, left: 0 }));
        assert_eq!(step(CENTURY, 0, MOST).map(|step| step.next), Some(CENTURY - DAY));
    }
}
