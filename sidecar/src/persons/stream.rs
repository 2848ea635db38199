//! Change stream: read, publish and acknowledge WAL changes.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::Postgres;
use crate::kafka::{DELIVERY_TIMEOUT, DeliveryError, DeliveryHandle};
use crate::metrics::PersonsMetrics;
use crate::supervise::Heartbeat;

use super::checkpoint::{CheckpointStore, Commit};
use super::latency::CommitTime;
use super::postgres::lsn::Lsn;
use super::postgres::pgoutput::{Cell, Message, Relation, decode};
use super::postgres::replication::{ReplicationError, ReplicationEvent, ReplicationStream};
use super::postgres::table::{Table, pick};
use super::publish::Publisher;
use super::publish::change::RowChange;
use super::publish::message::MappingHistory;
use super::publish::version::check_place;
use super::requirements;

/// Maximum number of changes in a batch.
const BATCH_CHANGES: usize = 5_000;
/// Approximate maximum size of a batch's values, in bytes.
const BATCH_BYTES: usize = 8 << 20;
/// Assumed size of a value that has to be looked up. It is large, or it would not be TOASTed.
const LOOKED_UP_BYTES: usize = 32 << 10;
/// Time to wait for the next change of a batch. Batching saves lookups and adds little latency.
const BATCH_WAIT: Duration = Duration::from_millis(2);
/// Time limit for filling a batch.
const BATCH_LIMIT: Duration = Duration::from_millis(20);
/// How often PostgreSQL receives the acknowledged position. After a takeover, later changes are
/// replayed, which is harmless.
const ACKNOWLEDGE: Duration = Duration::from_secs(2);
/// Time limit of a step before the task is aborted. Each part of a step has a shorter deadline.
const STEP_TIMEOUT: Duration = Duration::from_secs(600);
/// Age at which a batch in flight is reported.
const SLOW_DELIVERY: Duration = Duration::from_secs(30);
/// Time limit for completing a batch and handing it to the brokers.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(300);
/// Maximum number of batches in flight to the brokers.
const UNDER_WAY: usize = 64;
/// Time without a message after which PostgreSQL counts as silent. It is asked for one before, and
/// answers at once unless it decodes a large transaction.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Maximum number of tables that a stream describes: partitions, and other tables of the
/// publication.
const MAX_TABLES: usize = 100_000;

/// Errors that decide how the next leader begins.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The connection failed, or PostgreSQL closed it.
    #[error("the stream of changes from PostgreSQL at {address} ended: {error}")]
    Connection { address: String, error: ReplicationError },
    /// The last acknowledged transaction is not in the WAL.
    #[error(
        "the WAL has another history than the checkpoint: it lacks transaction {transaction}, which was committed at {end}. \
         PostgreSQL was restored, or a standby that lagged was promoted"
    )]
    OtherHistory {
        /// The lower half of the transaction's number.
        transaction: u32,
        /// The end of its commit record.
        end: Lsn,
    },
}

/// Described tables by relation id, with the index of each column in the relation's rows. `None`
/// for tables that posthouse does not read.
type Tables = HashMap<u32, Option<(Table, Vec<Option<usize>>)>>;

pub(super) struct Stream<'a> {
    /// The connection; replication has begun.
    pub(crate) client: &'a mut ReplicationStream,
    pub(crate) publisher: Publisher<'a>,
    /// Store of the checkpoint.
    pub(crate) store: &'a CheckpointStore<'a>,
    /// The slot's position when the stream began.
    pub(crate) begins: Lsn,
    pub(crate) config: &'a Postgres,
    /// Notified when rows vanished and their keys are unknown.
    pub(crate) vanished: &'a Notify,
    pub(crate) metrics: &'a PersonsMetrics,
    /// Receives a heartbeat with each batch.
    pub(crate) heartbeat: &'a Heartbeat,
}

/// Batches in flight, in order. When a batch is delivered, so is everything before its position.
#[derive(Default)]
struct InFlightQueue(VecDeque<InFlight>);

struct InFlight {
    receipt: Arc<DeliveryHandle>,
    place: Lsn,
    /// The last transaction before that position.
    commit: Option<Commit>,
    since: Instant,
    /// The commit of its oldest change; absent without changes.
    oldest_commit: Option<CommitTime>,
}

/// State of the transaction and batch being read.
#[derive(Default)]
struct BatchInProgress {
    tables: Tables,
    /// Commit position and number of the transaction being read.
    transaction: Option<(Lsn, u32)>,
    /// When it was committed.
    commit_time: CommitTime,
    /// When the oldest change of the batch was committed.
    oldest_commit: Option<CommitTime>,
    batch: Vec<RowChange>,
    bytes: usize,
    /// Everything before this position has been read.
    read: Lsn,
    /// Whether the transaction being read has changes.
    has_changes: bool,
    /// The last transaction with changes that has been read.
    commit: Option<Commit>,
    /// End of the last transaction of this stream.
    last_end: u64,
    /// The last acknowledged transaction. It must appear before any later position.
    expected: Option<Commit>,
    truncated: bool,
    /// Changes without the row's key in ClickHouse.
    keyless: u64,
    /// Whether a table's description lacks columns. The changes were written before the table was
    /// fixed, or the table is still wrong.
    outdated: bool,
}

impl Stream<'_> {
    /// Streams until an error occurs.
    pub(super) async fn run(mut self) -> anyhow::Result<Infallible> {
        let state = self.store.now().await;
        let begins = Lsn::from_u64(state.acknowledged);
        // Transactions before the slot's position are not replayed.
        let expected = state.last_commit.filter(|commit| commit.end > self.begins.as_u64());
        let mut reading = BatchInProgress { read: begins, expected, ..BatchInProgress::default() };
        let mut under_way = InFlightQueue::default();
        let mut delivered = (reading.read, None);
        let mut due = Instant::now() + ACKNOWLEDGE;
        loop {
            self.heartbeat.beat("streaming changes", STEP_TIMEOUT);
            // The batch before has been handed to the producer, which counts its own bytes.
            self.client.release();
            match under_way.age() {
                age if age >= DELIVERY_TIMEOUT => return Err(DeliveryError::Silent.into()),
                age if age >= SLOW_DELIVERY => self.heartbeat.not_ready("kafka does not acknowledge changes"),
                _ if self.client.silence() >= SILENCE_LIMIT => self.heartbeat.not_ready(format!(
                    "PostgreSQL at {} has not answered on the stream of slot {} for {} s",
                    self.config.connection.address(),
                    self.config.slot,
                    self.client.silence().as_secs()
                )),
                _ => self.heartbeat.ready(),
            }
            let filled = self.fill(&mut reading, due).await;
            if let Err(error) = filled {
                if let Some(StreamError::OtherHistory { .. }) = error.downcast_ref() {
                    self.store.change(|state| state.diverged = true).await?;
                }
                return Err(error);
            }
            if !reading.batch.is_empty() {
                let waiting = "waiting for kafka to acknowledge changes";
                self.heartbeat.during(waiting, STEP_TIMEOUT, under_way.wait_for_capacity()).await?;
                if reading.outdated {
                    // Columns missing from the changes are read from the tables, so the tables must
                    // meet the requirements first.
                    requirements::require(self.publisher.lookup().session(), self.config).await?;
                }
                let receipt = Arc::new(DeliveryHandle::default());
                let publishing =
                    timeout(PUBLISH_TIMEOUT, self.publisher.publish(&mut reading.batch, &receipt));
                let published = self.heartbeat.during("publishing changes", STEP_TIMEOUT, publishing).await;
                let sent = published.map_err(|_| {
                    anyhow!(
                        "changes could not be handed to kafka within {} s: PostgreSQL does not show committed rows to queries \
                         (a synchronous standby away?), or brokers are slow",
                        PUBLISH_TIMEOUT.as_secs()
                    )
                })??;
                self.metrics.messages.inc_by(sent.messages);
                reading.keyless += sent.keyless;
                if reading.transaction.is_none() {
                    self.publisher.end_transaction();
                }
                reading.batch.clear();
                reading.bytes = 0;
                reading.outdated = reading.lacks_columns();
                under_way.push(receipt, &mut reading);
            } else if under_way.0.back().map_or(delivered.0, |batch| batch.place) < reading.read {
                // The WAL advances without changes of our tables.
                under_way.push(Arc::default(), &mut reading);
            }
            // Persisted before that transaction can be acknowledged.
            self.remember_vanished(&mut reading).await?;
            delivered = under_way.delivered(&self.metrics.publish_latency)?.unwrap_or(delivered);
            if Instant::now() >= due {
                due = Instant::now() + ACKNOWLEDGE;
                let remembering = self.acknowledge(delivered);
                self.heartbeat.during("writing the checkpoint", STEP_TIMEOUT, remembering).await?;
            }
        }
    }

    /// Records that rows vanished without their keys, and requests an audit to find them.
    async fn remember_vanished(&mut self, reading: &mut BatchInProgress) -> anyhow::Result<()> {
        let (truncated, keyless) =
            (std::mem::take(&mut reading.truncated), std::mem::take(&mut reading.keyless));
        if !truncated && keyless == 0 {
            return Ok(());
        }
        if truncated {
            tracing::warn!("a table was emptied (TRUNCATE): an audit deletes its rows on the nodes");
        }
        if keyless > 0 {
            tracing::error!(
                changes = keyless,
                hint = "posthouse persons check prints the missing replica identity",
                "changes came without the columns that identify the row: an audit repairs the nodes"
            );
            self.metrics.keyless_changes.inc_by(keyless);
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

    /// Reads events until a batch is full or no event arrives within `BATCH_WAIT`.
    async fn fill(&mut self, reading: &mut BatchInProgress, due: Instant) -> anyhow::Result<()> {
        let Ok(first) = timeout_at(due, self.receive()).await else { return Ok(()) };
        let limit = Instant::now() + BATCH_LIMIT;
        let mut event = first?;
        loop {
            self.take(event, reading)?;
            let full = reading.batch.len() >= BATCH_CHANGES || reading.bytes >= BATCH_BYTES;
            if full || reading.truncated || Instant::now() >= limit {
                return Ok(());
            }
            match timeout(BATCH_WAIT, self.receive()).await {
                Ok(next) => event = next?,
                Err(_) => return Ok(()),
            }
        }
    }

    async fn receive(&mut self) -> Result<ReplicationEvent, StreamError> {
        let address = || self.config.connection.address();
        self.client.receive().await.map_err(|error| StreamError::Connection { address: address(), error })
    }

    fn take(&self, event: ReplicationEvent, reading: &mut BatchInProgress) -> anyhow::Result<()> {
        match event {
            // An idle database advances only by keepalives.
            ReplicationEvent::KeepAlive { end } if reading.transaction.is_none() => {
                check_place(end).with_context(|| self.invalid())?;
                reading.passes(end)?;
                reading.read = reading.read.max(end);
                Ok(())
            }
            ReplicationEvent::KeepAlive { .. } => Ok(()),
            ReplicationEvent::Data(data) => {
                reading.bytes += data.len();
                let message = decode(data).with_context(|| self.invalid())?;
                reading.check(&message).with_context(|| self.invalid())?;
                reading.message(message, self.config)
            }
        }
    }

    fn invalid(&self) -> String {
        let (address, slot) = (self.config.connection.address(), &self.config.slot);
        format!("PostgreSQL at {address} sent an invalid message on the stream of slot {slot}")
    }

    /// Writes the checkpoint before acknowledging. A slot that is ahead of the checkpoint is
    /// therefore a different slot.
    async fn acknowledge(&self, (place, commit): (Lsn, Option<Commit>)) -> anyhow::Result<()> {
        if place.as_u64() > self.store.now().await.acknowledged {
            self.store
                .change(|state| {
                    state.acknowledged = place.as_u64();
                    state.last_commit = commit.or(state.last_commit);
                })
                .await?;
            self.client.acknowledge(place);
        }
        Ok(())
    }
}

impl BatchInProgress {
    fn commit(&mut self, end: Lsn) -> anyhow::Result<()> {
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

    /// Checks that the expected transaction is not missing. Everything before `place` has been
    /// read, so an expected transaction before it will never appear.
    fn passes(&self, place: Lsn) -> anyhow::Result<()> {
        match self.expected {
            Some(Commit { end, transaction }) if end <= place.as_u64() => {
                Err(StreamError::OtherHistory { transaction, end: Lsn::from_u64(end) }.into())
            }
            _ => Ok(()),
        }
    }

    /// Checks a message against those before it.
    fn check(&self, message: &Message) -> anyhow::Result<()> {
        match message {
            // Transactions are sent in the order of their commits.
            Message::Begin { commit, .. } => ensure!(
                *commit >= self.last_end,
                "a transaction that was committed at {} follows one that ended at {}",
                Lsn::from_u64(*commit),
                Lsn::from_u64(self.last_end)
            ),
            Message::Commit { end } => check_place(Lsn::from_u64(*end))?,
            Message::Relation(_) => {
                ensure!(self.tables.len() < MAX_TABLES, "it has described {MAX_TABLES} tables");
            }
            Message::Insert { relation, .. }
            | Message::Update { relation, .. }
            | Message::Delete { relation, .. } => ensure!(
                self.tables.contains_key(relation),
                "a row is of a table ({relation}) that it did not describe"
            ),
            Message::Truncate { .. } | Message::Other => {}
        }
        Ok(())
    }

    fn message(&mut self, message: Message, config: &Postgres) -> anyhow::Result<()> {
        match message {
            Message::Begin { commit, micros, transaction } => {
                self.transaction = Some((Lsn::from_u64(commit), transaction));
                self.commit_time = CommitTime(micros);
                self.has_changes = false;
            }
            Message::Commit { end } => {
                self.last_end = end;
                self.commit(Lsn::from_u64(end))?;
            }
            Message::Relation(relation) => self.describe(&relation, config),
            Message::Insert { relation, new } => {
                self.change(relation, MappingHistory::New, None, Some(&new));
            }
            Message::Update { relation, old, new } => {
                self.change(relation, MappingHistory::Changed, old.as_deref(), Some(&new));
            }
            Message::Delete { relation, old } => {
                self.change(relation, MappingHistory::Changed, Some(&old), None);
            }
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
        self.outdated |= ours.as_ref().is_some_and(|(_, places)| places.contains(&None));
        self.tables.insert(relation.id, ours);
    }

    fn lacks_columns(&self) -> bool {
        self.tables.values().flatten().any(|(_, places)| places.contains(&None))
    }

    fn change(
        &mut self,
        relation: u32,
        history: MappingHistory,
        before: Option<&[Cell]>,
        after: Option<&[Cell]>,
    ) {
        let described = self.tables.get(&relation).and_then(Option::as_ref);
        let (Some((table, places)), Some((commit, number))) = (described, self.transaction) else { return };
        self.has_changes = true;
        if !table.has_key_at(places) {
            self.keyless += 1;
            return;
        }
        let unchanged = after.unwrap_or_default().iter().filter(|cell| **cell == Cell::Unchanged).count();
        self.bytes += unchanged * LOOKED_UP_BYTES;
        self.oldest_commit.get_or_insert(self.commit_time);
        self.batch.push(RowChange {
            commit,
            transaction: Some(number),
            kind: table.kind,
            history,
            before: before.map(|row| pick(row, places)),
            after: after.map(|row| pick(row, places)),
        });
    }
}

impl InFlightQueue {
    fn push(&mut self, receipt: Arc<DeliveryHandle>, reading: &mut BatchInProgress) {
        let (place, commit) = (reading.read, reading.commit);
        let oldest_commit = reading.oldest_commit.take();
        self.0.push_back(InFlight { receipt, place, commit, since: Instant::now(), oldest_commit });
    }

    /// The age of the oldest batch in flight.
    fn age(&self) -> Duration {
        self.0.front().map_or(Duration::ZERO, |batch| batch.since.elapsed())
    }

    /// The position up to which everything is delivered, and the last transaction before it. `None`
    /// if no further batch has been delivered. Observes how old the changes of each batch were.
    fn delivered(&mut self, latency: &Histogram) -> Result<Option<(Lsn, Option<Commit>)>, DeliveryError> {
        let mut delivered = None;
        while let Some(state) = self.0.front().and_then(|batch| batch.receipt.state()) {
            state?;
            let Some(batch) = self.0.pop_front() else { break };
            if let (Some(oldest), Some(at)) = (batch.oldest_commit, batch.receipt.delivered_at()) {
                latency.observe(oldest.seconds_until(at));
            }
            delivered = Some((batch.place, batch.commit));
        }
        Ok(delivered)
    }

    async fn wait_for_capacity(&self) -> Result<(), DeliveryError> {
        match self.0.front() {
            Some(oldest) if self.0.len() >= UNDER_WAY => oldest.receipt.delivered().await,
            _ => Ok(()),
        }
    }
}
