//! The stream of changes: read, publish, and acknowledge what has been delivered.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationEvent};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::Postgres;
use crate::http::{Metric, Metrics};
use crate::kafka::{DELIVERY_TIMEOUT, DeliveryError, Receipt};
use crate::supervise::Heartbeat;

use super::checkpoint::{Commit, StateError, Store};
use super::postgres::pgoutput::{Cell, DecodeError, Message, Relation, decode};
use super::postgres::table::{Table, pick};
use super::publish::change::Change;
use super::publish::{PublishError, Publisher};
use super::requirements::{self, SourceError};

/// Changes that are published together, at most.
const BATCH_CHANGES: usize = 5_000;
/// Bytes of values in them, roughly.
const BATCH_BYTES: usize = 8 << 20;
/// What a value counts that has to be looked up: it is large, or it would not be stored apart.
const LOOKED_UP_BYTES: usize = 32 << 10;
/// How long others of a batch are waited for: it saves lookups, and adds little to what a reader waits.
const BATCH_WAIT: Duration = Duration::from_millis(2);
/// The same for the batch as a whole.
const BATCH_LIMIT: Duration = Duration::from_millis(20);
/// How often PostgreSQL hears how far we are. After a takeover changes since then come again, which is harmless.
const ACKNOWLEDGE: Duration = Duration::from_secs(2);
/// How long a step may take before the task is aborted: each part of it has a shorter deadline of its own.
const STEP_TIMEOUT: Duration = Duration::from_secs(600);
/// From here on a batch that is on its way is reported.
const SLOW_DELIVERY: Duration = Duration::from_secs(30);
/// How long a batch may take to be completed and handed to the brokers.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(300);
/// Batches that are on their way to the brokers.
const UNDER_WAY: usize = 64;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection, or PostgreSQL's side of it.
    #[error("the stream of changes from PostgreSQL ended: {0}")]
    Connection(#[from] PgWireError),
    /// A batch takes too long.
    #[error(
        "changes could not be handed to kafka within {} s: PostgreSQL does not show what it has committed (a synchronous standby \
         away?), or brokers are slow",
        PUBLISH_TIMEOUT.as_secs()
    )]
    Slow,
    /// A message can't be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A row of a table that was not described.
    #[error("PostgreSQL sent a row of a table ({0}) that it did not describe: please report this")]
    Undescribed(u32),
    /// A table is not as it must be, so that what changes lack can't be read from it either.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What was acknowledged is not in the WAL.
    #[error(
        "the WAL has another history than what was published: transaction {transaction}, which was committed at {end}, is not in it. \
         PostgreSQL was restored, or a standby that lagged has taken over"
    )]
    OtherHistory {
        /// The lower half of the transaction's number.
        transaction: u32,
        /// The end of its commit record.
        end: Lsn,
    },
    /// Changes were not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// How far they were was not remembered.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<DeliveryError> for StreamError {
    fn from(error: DeliveryError) -> Self {
        Self::Publish(error.into())
    }
}

/// What made a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Insert,
    Other,
}

/// A described table, and where the columns that are read stand in its rows. Nothing for tables of others.
type Tables = HashMap<u32, Option<(Table, Vec<Option<usize>>)>>;

/// What a stream works with.
pub(super) struct Stream<'a> {
    /// The connection; replication has begun.
    pub client: &'a mut ReplicationClient,
    /// Where changes go.
    pub publisher: Publisher<'a>,
    /// Where progress is remembered.
    pub store: &'a Store<'a>,
    /// The slot's place when the stream began.
    pub begins: Lsn,
    /// The tables.
    pub config: &'a Postgres,
    /// Told when rows vanished whose keys nobody tells.
    pub vanished: &'a Notify,
    /// What is told of it.
    pub metrics: &'a Metrics,
    /// Beats with each batch.
    pub heartbeat: &'a Heartbeat,
}

/// Batches on their way: when one is delivered, everything before its place is.
#[derive(Default)]
struct UnderWay(VecDeque<InFlight>);

/// A batch on its way.
struct InFlight {
    receipt: Arc<Receipt>,
    place: Lsn,
    /// The last transaction before that place.
    commit: Option<Commit>,
    since: Instant,
}

/// What is being read.
#[derive(Default)]
struct Reading {
    tables: Tables,
    /// Commit and number of the transaction that is being read.
    transaction: Option<(Lsn, u32)>,
    batch: Vec<Change>,
    bytes: usize,
    /// Everything before this has been read.
    read: Lsn,
    /// Whether the transaction that is being read has changes.
    has_changes: bool,
    /// The last transaction with changes that has been read.
    commit: Option<Commit>,
    /// A transaction that must come before anything behind it.
    expected: Option<Commit>,
    truncated: bool,
    /// Changes without what ClickHouse knows the row by.
    keyless: u64,
    /// Whether a table was described otherwise than it must be: these changes are from before somebody mended it, or nobody has.
    outdated: bool,
}

impl Stream<'_> {
    /// Streams until something goes wrong.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub(super) async fn run(mut self) -> Result<Infallible, StreamError> {
        let state = self.store.now().await;
        let begins = Lsn::from_u64(state.acknowledged);
        // What lies before the slot's place does not come again.
        let expected = state.last_commit.filter(|commit| commit.end > self.begins.as_u64());
        let mut reading = Reading { read: begins, expected, ..Reading::default() };
        let mut under_way = UnderWay::default();
        let mut delivered = (reading.read, None);
        let mut due = Instant::now() + ACKNOWLEDGE;
        loop {
            self.heartbeat.beat("streaming changes", STEP_TIMEOUT);
            match under_way.age() {
                age if age >= DELIVERY_TIMEOUT => return Err(DeliveryError::Silent.into()),
                age if age >= SLOW_DELIVERY => self.heartbeat.not_ready("kafka does not take changes"),
                _ => self.heartbeat.ready(),
            }
            let filled = self.fill(&mut reading, due).await;
            if let Err(StreamError::OtherHistory { .. }) = filled {
                self.store.change(|state| state.diverged = true).await?;
            }
            filled?;
            if !reading.batch.is_empty() {
                let waiting = "waiting for kafka to take changes";
                self.heartbeat.during(waiting, STEP_TIMEOUT, under_way.make_room()).await?;
                if reading.outdated {
                    // What can't be told from the changes is read from the tables, once they are as they must be.
                    requirements::require(self.publisher.lookup().session(), self.config).await?;
                }
                let receipt = Arc::new(Receipt::default());
                let publishing =
                    timeout(PUBLISH_TIMEOUT, self.publisher.publish(&mut reading.batch, &receipt));
                let published = self.heartbeat.during("publishing changes", STEP_TIMEOUT, publishing).await;
                let sent = published.map_err(|_| StreamError::Slow)??;
                self.metrics.add(Metric::PersonsMessages, sent.messages);
                reading.keyless += sent.keyless;
                if reading.transaction.is_none() {
                    self.publisher.end_transaction();
                }
                reading.batch.clear();
                reading.bytes = 0;
                reading.outdated = reading.lacks_columns();
                under_way.push(receipt, &reading);
            } else if under_way.0.back().map_or(delivered.0, |batch| batch.place) < reading.read {
                // Nothing of ours, but the WAL goes on.
                under_way.push(Arc::default(), &reading);
            }
            // Remembered before that transaction can be acknowledged.
            self.remember_vanished(&mut reading).await?;
            delivered = under_way.delivered()?.unwrap_or(delivered);
            if Instant::now() >= due {
                due = Instant::now() + ACKNOWLEDGE;
                let remembering = self.acknowledge(delivered);
                self.heartbeat.during("remembering progress in kafka", STEP_TIMEOUT, remembering).await?;
            }
        }
    }

    /// Has an audit find rows that vanished without their keys.
    async fn remember_vanished(&mut self, reading: &mut Reading) -> Result<(), StateError> {
        let (truncated, keyless) =
            (std::mem::take(&mut reading.truncated), std::mem::take(&mut reading.keyless));
        if !truncated && keyless == 0 {
            return Ok(());
        }
        if truncated {
            tracing::warn!(
                "persons: a table was emptied (TRUNCATE): its rows are looked for on the nodes and deleted there"
            );
        }
        if keyless > 0 {
            tracing::error!(
                "persons: {keyless} changes came without the columns by which ClickHouse knows the row (see posthouse persons check): \
                 nodes are compared with PostgreSQL and repaired"
            );
            self.metrics.add(Metric::PersonsKeyless, keyless);
        }
        self.publisher.forget_all();
        self.store
            .change(|state| {
                state.vanished += 1;
                state.truncated |= truncated;
                state.keyless += keyless;
            })
            .await?;
        self.vanished.notify_one();
        Ok(())
    }

    /// Reads events until a batch is full or nothing comes for a moment.
    async fn fill(&mut self, reading: &mut Reading, due: Instant) -> Result<(), StreamError> {
        let Ok(first) = timeout_at(due, self.client.recv()).await else { return Ok(()) };
        let limit = Instant::now() + BATCH_LIMIT;
        let mut event = first?;
        loop {
            let Some(next) = event else {
                return Err(PgWireError::Protocol("the server ended it".to_owned()).into());
            };
            self.take(next, reading)?;
            let full = reading.batch.len() >= BATCH_CHANGES || reading.bytes >= BATCH_BYTES;
            if full || reading.truncated || Instant::now() >= limit {
                return Ok(());
            }
            match timeout(BATCH_WAIT, self.client.recv()).await {
                Ok(next) => event = next?,
                Err(_) => return Ok(()),
            }
        }
    }

    fn take(&self, event: ReplicationEvent, reading: &mut Reading) -> Result<(), StreamError> {
        match event {
            ReplicationEvent::Begin { final_lsn, xid, .. } => {
                reading.transaction = Some((final_lsn, xid));
                reading.has_changes = false;
            }
            ReplicationEvent::Commit { end_lsn, .. } => reading.commit(end_lsn)?,
            // Between transactions everything before it has been sent. An idle database moves on by this.
            ReplicationEvent::KeepAlive { wal_end, .. } if reading.transaction.is_none() => {
                reading.passes(wal_end)?;
                reading.read = reading.read.max(wal_end);
            }
            ReplicationEvent::XLogData { data, .. } => {
                reading.bytes += data.len();
                reading.message(decode(data)?, self.config)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Remembers first and acknowledges then: a slot that stands beyond what is remembered is another one.
    async fn acknowledge(&self, (place, commit): (Lsn, Option<Commit>)) -> Result<(), StreamError> {
        if place.as_u64() > self.store.now().await.acknowledged {
            self.store
                .change(|state| {
                    state.acknowledged = place.as_u64();
                    state.last_commit = commit.or(state.last_commit);
                })
                .await?;
            self.client.update_applied_lsn(place);
        }
        Ok(())
    }
}

impl Reading {
    fn commit(&mut self, end: Lsn) -> Result<(), StreamError> {
        if let (Some((_, transaction)), true) = (self.transaction.take(), self.has_changes) {
            let commit = Commit { end: end.as_u64(), transaction };
            if self.expected == Some(commit) {
                self.expected = None;
            }
            self.commit = Some(commit);
        }
        self.read = self.read.max(end);
        self.passes(end)
    }

    /// Everything before `place` has come: the expected transaction too, or it never will.
    fn passes(&self, place: Lsn) -> Result<(), StreamError> {
        match self.expected {
            Some(Commit { end, transaction }) if end <= place.as_u64() => {
                Err(StreamError::OtherHistory { transaction, end: Lsn::from_u64(end) })
            }
            _ => Ok(()),
        }
    }

    fn message(&mut self, message: Message, config: &Postgres) -> Result<(), StreamError> {
        match message {
            Message::Relation(relation) => self.describe(&relation, config),
            Message::Insert { relation, new } => self.change(relation, Verb::Insert, None, Some(&new))?,
            Message::Update { relation, old, new } => {
                self.change(relation, Verb::Other, old.as_deref(), Some(&new))?;
            }
            Message::Delete { relation, old } => self.change(relation, Verb::Other, Some(&old), None)?,
            Message::Truncate { relations } => {
                let ours = |id: &u32| self.tables.get(id).is_some_and(Option::is_some);
                self.truncated |= relations.iter().any(ours);
            }
            Message::Other => {}
        }
        Ok(())
    }

    fn describe(&mut self, relation: &Relation, config: &Postgres) {
        let named = |table: &Table| table.name.schema == relation.schema && table.name.name == relation.name;
        let ours = Table::both(config).into_iter().find(named);
        let ours = ours.map(|table| {
            let places = table.places_then(relation);
            (table, places)
        });
        self.tables.insert(relation.id, ours);
        self.outdated |= self.lacks_columns();
    }

    fn lacks_columns(&self) -> bool {
        self.tables.values().flatten().any(|(_, places)| places.contains(&None))
    }

    fn change(
        &mut self,
        relation: u32,
        verb: Verb,
        before: Option<&[Cell]>,
        after: Option<&[Cell]>,
    ) -> Result<(), StreamError> {
        let described = self.tables.get(&relation).ok_or(StreamError::Undescribed(relation))?;
        let (Some((table, places)), Some((commit, number))) = (described, self.transaction) else {
            return Ok(());
        };
        self.has_changes = true;
        if !table.has_key_at(places) {
            self.keyless += 1;
            return Ok(());
        }
        let unchanged = after.unwrap_or_default().iter().filter(|cell| **cell == Cell::Unchanged).count();
        self.bytes += unchanged * LOOKED_UP_BYTES;
        self.batch.push(Change {
            commit,
            transaction: Some(number),
            kind: table.kind,
            is_insert: verb == Verb::Insert,
            before: before.map(|row| pick(row, places)),
            after: after.map(|row| pick(row, places)),
        });
        Ok(())
    }
}

impl UnderWay {
    fn push(&mut self, receipt: Arc<Receipt>, reading: &Reading) {
        let (place, commit) = (reading.read, reading.commit);
        self.0.push_back(InFlight { receipt, place, commit, since: Instant::now() });
    }

    /// How long the oldest batch is on its way.
    fn age(&self) -> Duration {
        self.0.front().map_or(Duration::ZERO, |batch| batch.since.elapsed())
    }

    /// Up to where everything is delivered, with the last transaction before that; nothing if no batch more is.
    fn delivered(&mut self) -> Result<Option<(Lsn, Option<Commit>)>, DeliveryError> {
        let mut delivered = None;
        while let Some(state) = self.0.front().and_then(|batch| batch.receipt.state()) {
            state?;
            delivered = self.0.pop_front().map(|batch| (batch.place, batch.commit));
        }
        Ok(delivered)
    }

    async fn make_room(&self) -> Result<(), DeliveryError> {
        match self.0.front() {
            Some(oldest) if self.0.len() >= UNDER_WAY => oldest.receipt.delivered().await,
            _ => Ok(()),
        }
    }
}
