//! Person workload: concurrent transactions on a person database.
//!
//! Several connections change the same rows. Their transactions overlap, fail and are rolled back.

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
use super::database::{Deletion, PersonDatabase};
use crate::stack::wait_until;

/// Limit for a killed PostgreSQL to restart.
const BACK_LIMIT: Duration = Duration::from_secs(120);
/// PostgreSQL doesn't detect a deadlock across two connections of one thread. The timeout ends it.
const SESSION: &str = "SET lock_timeout = '2s'";

/// Parameters of a person workload.
#[derive(Debug, Clone, Copy)]
pub struct PersonWorkload {
    /// Number of teams.
    pub teams: i32,
    /// Limit on persons per team. With few persons, deleted ones are often recreated.
    pub persons: u32,
    /// Limit on distinct ids per team.
    pub distinct_ids: u32,
    /// Number of concurrent connections.
    pub connections: u32,
    /// Number of attempted changes, committed or not.
    pub changes: u64,
    /// Pause between two transactions of a connection.
    pub pace: Duration,
    /// Repeats the changes that each connection attempts. Their results depend on the order of the
    /// connections.
    pub seed: u64,
    /// How rows are deleted. The person database's own rule overrides it.
    pub deletion: Deletion,
}

/// Results of a workload: committed changes by kind, and failed transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Committed changes.
    pub committed: BTreeMap<Kind, u64>,
    /// Transactions rolled back on purpose.
    pub rolled_back: u64,
    /// Savepoints rolled back.
    pub savepoints: u64,
    /// Transactions refused by PostgreSQL: conflicts, deadlocks, persons deleted meanwhile.
    pub refused: u64,
    /// Connections lost.
    pub lost: u64,
}

impl PersonWorkload {
    /// Creates a workload with two teams and three connections.
    pub fn new(seed: u64, changes: u64) -> Self {
        let (pace, deletion) = (Duration::ZERO, Deletion::Hard);
        Self { teams: 2, persons: 60, distinct_ids: 200, connections: 3, changes, pace, seed, deletion }
    }

    /// Runs until all changes are attempted or `stop` is set. PostgreSQL may be killed and
    /// restarted meanwhile.
    ///
    /// # Errors
    /// Fails if PostgreSQL doesn't restart.
    pub fn run(&self, database: &PersonDatabase<'_>, stop: &AtomicBool) -> anyhow::Result<Tally> {
        let made = AtomicU64::new(0);
        let workload = Self { deletion: database.rules().deletion, ..*self };
        let one = |number: u64| {
            let random = StdRng::seed_from_u64(self.seed.wrapping_add(number));
            Life { workload: &workload, database, random, tally: Tally::default() }.run_thread(&made, stop)
        };
        thread::scope(|scope| {
            let workload: Vec<_> =
                (0..u64::from(self.connections)).map(|number| scope.spawn(move || one(number))).collect();
            let mut all = Tally::default();
            for life in workload {
                all.add(&life.join().map_err(|_| anyhow!("a connection's thread panicked"))??);
            }
            Ok(all)
        })
    }

    pub(super) fn team(&self, random: &mut StdRng) -> i32 {
        random.random_range(1..=self.teams)
    }
}

/// State of one connection.
struct Life<'a> {
    workload: &'a PersonWorkload,
    database: &'a PersonDatabase<'a>,
    random: StdRng,
    tally: Tally,
}

impl Life<'_> {
    fn run_thread(mut self, made: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<Tally> {
        let (mut client, mut other) = (self.connect()?, self.connect()?);
        while !stop.load(Ordering::Relaxed) {
            // A soft-deleted row keeps its uuid, so another row can't use it.
            let overlaps = self.random.random_range(0..25) == 0 && self.workload.deletion == Deletion::Hard;
            let changes = if overlaps { 1 } else { self.random.random_range(1..7) };
            if made.fetch_add(changes, Ordering::Relaxed) >= self.workload.changes {
                break;
            }
            thread::sleep(self.workload.pace);
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
                Err(error) => return Err(error).context("a statement of the workload failed unexpectedly"),
            }
        }
        Ok(self.tally)
    }

    fn connect(&self) -> anyhow::Result<Client> {
        wait_until("PostgreSQL to accept a connection", BACK_LIMIT, || {
            let connected = self.database.admin().and_then(|mut client| {
                client.batch_execute(SESSION)?;
                Ok(client)
            });
            match connected {
                Ok(client) => ControlFlow::Break(Ok(client)),
                Err(error) => ControlFlow::Continue(error),
            }
        })
    }

    /// Runs several changes in a transaction, and returns the committed ones.
    fn transaction(&mut self, client: &mut Client, changes: u64) -> Result<Vec<Kind>, Error> {
        let (workload, random) = (self.workload, &mut self.random);
        let mut tx = client.transaction()?;
        let mut made = Vec::new();
        for _ in 0..changes {
            let kind = Kind::pick(random);
            let kept = match random.random_range(0..12) {
                0 => {
                    let mut point = tx.savepoint("point")?;
                    let changed = kind.make(&mut point, workload, random)?;
                    point.commit()?;
                    changed
                }
                1 => {
                    let mut point = tx.savepoint("point")?;
                    kind.make(&mut point, workload, random)?;
                    point.rollback()?;
                    self.tally.savepoints += 1;
                    false
                }
                _ => kind.make(&mut tx, workload, random)?,
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

    /// Deletes a person in one transaction and recreates it in another that begins before the first
    /// ends. The new row is written before or after the deletion, and committed after it.
    fn overlap(&mut self, client: &mut Client, other: &mut Client) -> Result<Vec<Kind>, Error> {
        let (workload, random) = (self.workload, &mut self.random);
        let (mut going, mut coming) = (client.transaction()?, other.transaction()?);
        let Some(person) = change::person(&mut coming, workload, random)? else { return Ok(Vec::new()) };
        change::lock(&mut coming, &person.uuid)?;
        let early = random.random();
        let mut id =
            if early { Some(change::insert(&mut coming, person.team, &person.uuid, random)?) } else { None };
        if !change::delete(&mut going, &person, workload.deletion)? {
            return Ok(Vec::new());
        }
        if id.is_none() {
            id = Some(change::insert(&mut coming, person.team, &person.uuid, random)?);
        }
        going.commit()?;
        if let Some(id) = id {
            change::add_id(&mut coming, &Picked { id, ..person }, workload, random)?;
        }
        coming.commit()?;
        Ok(vec![Kind::Overlap])
    }
}

/// Whether the connection is closed or about to be. A server whose postmaster was killed still
/// reports it (class 57, operator intervention) before it closes the connection.
fn lost(error: &Error) -> bool {
    error.code().is_none_or(|code| code.code().starts_with("57P"))
}

/// Whether the error is expected with concurrent transactions: conflicts, persons deleted
/// meanwhile, deadlocks, lock timeouts.
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
