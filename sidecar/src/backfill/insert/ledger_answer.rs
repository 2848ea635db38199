//! The ledger's answer on a unit, and how long it holds.

use std::time::{Duration, SystemTime};

/// What a run knows of a unit's blocks. It is outdated after a while, because another run may have
/// overtaken this one.
#[derive(Debug, Clone)]
pub(crate) struct LedgerAnswer {
    /// Whether another run, or an earlier pass of this one, may have sent blocks of the unit.
    pub(crate) is_begun: bool,
    /// Time of the answer.
    pub(crate) asked_at: SystemTime,
    /// Validity of this answer, and of a lookup of a block.
    pub(crate) holds: Duration,
}

impl LedgerAnswer {
    /// Whether a block of the unit may be stored already and must be looked up before it is sent.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_begun || self.is_outdated(self.asked_at)
    }

    /// Whether what was known at this time may no longer hold.
    pub(super) fn is_outdated(&self, known_at: SystemTime) -> bool {
        // Uses the wall clock, because it advances while a process or a machine sleeps. A clock
        // that was set back hides the age, so the answer counts as old; that costs a lookup.
        known_at.elapsed().map_or(true, |age| age > self.holds)
    }
}
