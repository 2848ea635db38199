//! Admission of integration tests: the order and concurrency of running tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Servers that a test needs. The class decides which tests may run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// No server.
    Free,
    /// A site on the shared stack, next to other tests.
    Shared,
    /// A site on the shared stack, next to shared tests, but only one test of this class at a time:
    /// functions belong to a node, and the topics lock belongs to the cluster.
    Single,
    /// A site on the shared stack while no other test uses it: lists of all topics and Keeper's
    /// offsets belong to the whole stack.
    Alone,
    /// A separate stack that no other test uses.
    Own,
}

/// Limits on concurrent tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Limit on tests of all classes.
    pub tests: usize,
    /// Limit on tests with a separate stack.
    pub own: usize,
}

/// The waiting tests and the running tests.
#[derive(Debug)]
pub struct Schedule {
    limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
}

/// Permission to run, released on drop.
#[derive(Debug)]
pub struct Turn<'s> {
    schedule: &'s Schedule,
    class: Class,
}

#[derive(Debug, Default)]
struct State {
    /// By position in the order of the tests.
    waiting: BTreeMap<usize, Class>,
    running: Running,
}

/// Number of running tests by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Running {
    free: usize,
    shared: usize,
    single: usize,
    alone: usize,
    own: usize,
}

impl Schedule {
    /// Creates a schedule that never exceeds `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until the test at position `place` in the order may run.
    pub fn turn(&self, place: usize, class: Class) -> Turn<'_> {
        let mut state = self.lock();
        state.waiting.insert(place, class);
        while self.limits.next(&state.waiting, state.running) != Some(place) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.remove(&place);
        *state.running.of(class) += 1;
        drop(state);
        self.changed.notify_all();
        Turn { schedule: self, class }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.schedule.lock().running.of(self.class) -= 1;
        self.schedule.changed.notify_all();
    }
}

impl Limits {
    /// Returns the first waiting test that may run next to the running ones.
    fn next(self, waiting: &BTreeMap<usize, Class>, running: Running) -> Option<usize> {
        let admitted = waiting.iter().find(|(_, class)| self.admits(running, **class));
        admitted.map(|(place, _)| *place)
    }

    fn admits(self, running: Running, class: Class) -> bool {
        let Running { free, shared, single, alone, own } = running;
        free + shared + single + alone + own < self.tests
            && match class {
                Class::Free => true,
                Class::Shared => alone == 0,
                Class::Single => single + alone == 0,
                Class::Alone => shared + single + alone == 0,
                Class::Own => own < self.own,
            }
    }
}

impl Running {
    fn of(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Free => &mut self.free,
            Class::Shared => &mut self.shared,
            Class::Single => &mut self.single,
            Class::Alone => &mut self.alone,
            Class::Own => &mut self.own,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Free => "free",
            Self::Shared => "shared",
            Self::Single => "single",
            Self::Alone => "alone",
            Self::Own => "own",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LIMITS: Limits = Limits { tests: 4, own: 1 };

    #[test]
    fn admits_the_first_test_that_fits() {
        let waiting = BTreeMap::from([
            (0, Class::Own),
            (1, Class::Own),
            (2, Class::Alone),
            (3, Class::Single),
            (4, Class::Shared),
        ]);
        let own = Running { own: 1, ..Running::default() };
        let shared = Running { own: 1, shared: 1, ..Running::default() };
        let single = Running { own: 1, single: 1, ..Running::default() };
        let alone = Running { alone: 1, own: 1, ..Running::default() };
        let full = Running { shared: 4, ..Running::default() };
        assert_eq!(LIMITS.next(&waiting, Running::default()), Some(0));
        assert_eq!(LIMITS.next(&waiting, own), Some(2));
        assert_eq!(LIMITS.next(&waiting, shared), Some(3));
        assert_eq!(LIMITS.next(&waiting, single), Some(4));
        assert_eq!(LIMITS.next(&waiting, alone), None);
        assert_eq!(LIMITS.next(&waiting, full), None);
    }

    #[test]
    fn runs_every_test_within_the_limits() {
        let schedule = Schedule::new(LIMITS);
        let classes = [Class::Free, Class::Shared, Class::Single, Class::Alone, Class::Own];
        thread::scope(|scope| {
            for place in 0..100 {
                let schedule = &schedule;
                scope.spawn(move || {
                    let _turn = schedule.turn(place, classes[place % classes.len()]);
                    let running = schedule.lock().running;
                    let Running { free, shared, single, alone, own } = running;
                    let all = free + shared + single + alone + own;
                    assert!(all <= LIMITS.tests && own <= LIMITS.own && single <= 1, "{running:?}");
                    assert!(alone == 0 || (alone == 1 && shared + single == 0), "{running:?}");
                    thread::yield_now();
                });
            }
        });
        assert_eq!(schedule.lock().running, Running::default());
        assert!(schedule.lock().waiting.is_empty());
    }
}
