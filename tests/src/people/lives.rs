//! Lives of a town's people: several connections change them at once, in transactions that overlap, fail and are rolled back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use postgres::{Client, Error};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::change::{self, Kind, Picked};
use super::town::{Deletion, Town};
use crate::stack::wait_until;

/// For a killed PostgreSQL to be back.
const BACK_LIMIT: Duration = Duration::from_secs(120);
/// A wait that goes round over two connections of one thread is not seen by PostgreSQL: this ends it.
const SESSION: &str = "SET lock_timeout = '2s'";

/// How people live.
#[derive(Debug, Clone, Copy)]
pub struct Lives {
    /// Their teams.
    pub teams: i32,
    /// Persons that a team may have. Few: then they come back often.
    pub persons: u32,
    /// Distinct ids that a team may have.
    pub distinct_ids: u32,
    /// Connections that change them at once.
    pub connections: u32,
    /// Changes that are made, whether they are committed or not.
    pub changes: u64,
    /// Between two transactions of a connection.
    pub pace: Duration,
    /// Repeats what each connection tries; what comes of it depends on who is first.
    pub seed: u64,
    /// What becomes of deleted rows; that of the town counts.
    pub deletion: Deletion,
}

/// What came of it: changes that were committed, by kind, and transactions that were not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Committed changes.
    pub committed: BTreeMap<Kind, u64>,
    /// Transactions that were rolled back on purpose.
    pub rolled_back: u64,
    /// Savepoints that were rolled back to.
    pub savepoints: u64,
    /// Transactions that PostgreSQL refused: conflicts, deadlocks, persons that had gone.
    pub refused: u64,
    /// Connections that were lost.
    pub lost: u64,
}

impl Lives {
    /// Two teams and three connections.
    pub fn new(seed: u64, changes: u64) -> Self {
        let (pace, deletion) = (Duration::ZERO, Deletion::Hard);
        Self { teams: 2, persons: 60, distinct_ids: 200, connections: 3, changes, pace, seed, deletion }
    }

    /// Lives until all changes are made, or `stop` is set. PostgreSQL may be killed and started meanwhile.
    ///
    /// # Errors
    /// When PostgreSQL does not come back.
    pub fn run(&self, town: &Town<'_>, stop: &AtomicBool) -> anyhow::Result<Tally> {
        let made = AtomicU64::new(0);
        let lives = Self { deletion: town.rules().deletion, ..*self };
        let one = |number: u64| {
            let random = StdRng::seed_from_u64(self.seed.wrapping_add(number));
            Life { lives: &lives, town, random, tally: Tally::default() }.live(&made, stop)
        };
        thread::scope(|scope| {
            let lives: Vec<_> =
                (0..u64::from(self.connections)).map(|number| scope.spawn(move || one(number))).collect();
            let mut all = Tally::default();
            for life in lives {
                all.add(&life.join().map_err(|_| anyhow!("a connection's thread panicked"))??);
            }
            Ok(all)
        })
    }

    pub(super) fn team(&self, random: &mut StdRng) -> i32 {
        random.random_range(1..=self.teams)
    }
}

/// One connection's.
struct Life<'a> {
    lives: &'a Lives,
    town: &'a Town<'a>,
    random: StdRng,
    tally: Tally,
}

impl Life<'_> {
    fn live(mut self, made: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<Tally> {
        let (mut client, mut other) = (self.connect()?, self.connect()?);
        while !stop.load(Ordering::Relaxed) {
            // A row that stays has its uuid for itself.
            let overlaps = self.random.random_range(0..25) == 0 && self.lives.deletion == Deletion::Hard;
            let changes = if overlaps { 1 } else { self.random.random_range(1..7) };
            if made.fetch_add(changes, Ordering::Relaxed) >= self.lives.changes {
                break;
            }
            thread::sleep(self.lives.pace);
            let done = if overlaps {
                self.overlap(&mut client, &mut other)
            } else {
                self.transaction(&mut client, changes)
            };
            match done {
                Ok(kinds) => {
                    for kind in kinds {
                        *self.tally.committed.entry(kind).or_default() += 1;
                    }
                }
                Err(error) if refused(&error) => self.tally.refused += 1,
                Err(error) if lost(&error) || client.is_closed() || other.is_closed() => {
                    self.tally.lost += 1;
                    (client, other) = (self.connect()?, self.connect()?);
                }
                Err(error) => return Err(error).context("no statement of a life should be refused so"),
            }
        }
        Ok(self.tally)
    }

    fn connect(&self) -> anyhow::Result<Client> {
        wait_until("PostgreSQL to be back", BACK_LIMIT, || {
            let connected = self.town.admin().and_then(|mut client| {
                client.batch_execute(SESSION)?;
                Ok(client)
            });
            match connected {
                Ok(client) => ControlFlow::Break(Ok(client)),
                Err(error) => ControlFlow::Continue(error),
            }
        })
    }

    /// Several changes; returns those that were committed.
    fn transaction(&mut self, client: &mut Client, changes: u64) -> Result<Vec<Kind>, Error> {
        let (lives, random) = (self.lives, &mut self.random);
        let mut tx = client.transaction()?;
        let mut made = Vec::new();
        for _ in 0..changes {
            let kind = Kind::pick(random);
            let kept = match random.random_range(0..12) {
                0 => {
                    let mut point = tx.savepoint("point")?;
                    let changed = kind.make(&mut point, lives, random)?;
                    point.commit()?;
                    changed
                }
                1 => {
                    let mut point = tx.savepoint("point")?;
                    kind.make(&mut point, lives, random)?;
                    point.rollback()?;
                    self.tally.savepoints += 1;
                    false
                }
                _ => kind.make(&mut tx, lives, random)?,
            };
            made.extend(kept.then_some(kind));
        }
        if random.random_range(0..10) == 0 {
            tx.rollback()?;
            self.tally.rolled_back += 1;
            return Ok(Vec::new());
        }
        tx.commit()?;
        Ok(made)
    }

    /// A person goes in one transaction and comes back in another, which begins before the first has ended: the new row is
    /// written before the old one's deletion or after it, and committed after it.
    fn overlap(&mut self, client: &mut Client, other: &mut Client) -> Result<Vec<Kind>, Error> {
        let (lives, random) = (self.lives, &mut self.random);
        let (mut going, mut coming) = (client.transaction()?, other.transaction()?);
        let Some(person) = change::person(&mut coming, lives, random)? else { return Ok(Vec::new()) };
        change::lock(&mut coming, &person.uuid)?;
        let early = random.random();
        let mut id =
            if early { Some(change::insert(&mut coming, person.team, &person.uuid, random)?) } else { None };
        if !change::delete(&mut going, &person, lives.deletion)? {
            return Ok(Vec::new());
        }
        if id.is_none() {
            id = Some(change::insert(&mut coming, person.team, &person.uuid, random)?);
        }
        going.commit()?;
        if let Some(id) = id {
            change::add_id(&mut coming, &Picked { id, ..person }, lives, random)?;
        }
        coming.commit()?;
        Ok(vec![Kind::Overlap])
    }
}

/// Whether the connection is gone, or goes now: a server whose postmaster was killed still says so (class 57, operator
/// intervention) before its connection is closed.
fn lost(error: &Error) -> bool {
    error.code().is_none_or(|code| code.code().starts_with("57P"))
}

/// What is to be expected of others at work: conflicts and persons that had gone, deadlocks, waits that took too long.
fn refused(error: &Error) -> bool {
    let class = error.code().and_then(|code| code.code().get(..2));
    class.is_some_and(|class| ["23", "40", "55"].contains(&class))
}

impl Tally {
    fn add(&mut self, other: &Self) {
        for (kind, count) in &other.committed {
            *self.committed.entry(*kind).or_default() += count;
        }
        self.rolled_back += other.rolled_back;
        self.savepoints += other.savepoints;
        self.refused += other.refused;
        self.lost += other.lost;
    }
}
