//! The life of the copy: waits for the slot, holds it, copies what is not copied yet, streams, and begins again after what fails.
//!
//! PostgreSQL gives a slot to one session at a time, which makes its holder the leader: no other election is needed. When the
//! leader's connection ends, the next one gets it within a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationConfig};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::config::{Config, HostPort, Persons, Postgres, VersionRule};
use crate::http::{Metric, Metrics};
use crate::kafka::{Client, KafkaError, Place};
use crate::supervise::{Heartbeat, stopped};

use super::audits::Audits;
use super::change::Versions;
use super::copy::{Copy, CopyError};
use super::foreign::{self, ClearanceError, Watch};
use super::newest::{self, NewestError};
use super::postgres::{OPTIONS, PostgresError, Session, quoted};
use super::publish::Publisher;
use super::slot::{self, SlotError};
use super::slot_creation;
use super::state::{Published, State, StateError, Store};
use super::stream::{Stream, StreamError};
use super::table::Kind;

/// How often a standby looks whether the slot is free.
const FREE_AGAIN: Duration = Duration::from_secs(1);
/// Waits after what failed: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How often the same fault is told.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// How often it is told how much WAL waits.
const LAG: Duration = Duration::from_secs(10);
/// How long a step towards the stream may take: a peer that answers probes may still never finish a request.
const STEP_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a heartbeat may be missing: longer than a step.
const BEAT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long PostgreSQL may take to hand over the slot.
const HOLD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often in a row the slot must seem to be nobody's before it is taken for lost.
const LOST_LOOKS: u32 = 2;
/// Messages between the connection and us. Each may be as large as a row.
const BUFFERED: usize = 256;

/// Why leading failed; it begins again.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// PostgreSQL did not answer as it should.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Slot, publication or tables are not as they must be.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The brokers did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// There is nothing to write to.
    #[error("kafka has no topic {0}: add it to topics.toml, and run posthouse topics apply")]
    NoTopic(String),
    /// What was copied is not known.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another producer's persons are where posthouse would publish, or may be.
    #[error(transparent)]
    Clearance(#[from] ClearanceError),
    /// Versions would be too small.
    #[error(transparent)]
    Newest(#[from] NewestError),
    /// The copy stopped.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The stream ended.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A step does not end.
    #[error(
        "{doing} took longer than {} s: PostgreSQL, a broker or a node answers, and does not finish",
        STEP_TIMEOUT.as_secs()
    )]
    Step {
        /// Which.
        doing: &'static str,
    },
    /// It was silent instead.
    #[error(
        "PostgreSQL at {address} did not begin to stream slot {slot} within {} s: it hangs, or has no walsender left \
         (max_wal_senders)",
        HOLD_TIMEOUT.as_secs()
    )]
    BeginTimeout {
        /// Where.
        address: String,
        /// The slot.
        slot: String,
    },
    /// PostgreSQL has ended the stream, and the network has not said so.
    #[error("replication slot {0} is not held any more: the connection that streams it is dead")]
    SlotLost(String),
    /// An audit hangs.
    #[error("an audit hangs: {0}")]
    AuditStalled(String),
    /// The connection for the stream did not come about.
    #[error("PostgreSQL at {address} did not begin to stream slot {slot}: {source}")]
    Begin {
        /// Where.
        address: String,
        /// The slot.
        slot: String,
        /// What it said.
        #[source]
        source: PgWireError,
    },
}

/// Another posthouse holds the slot.
struct Standby;

/// Copies persons until `stop` says so. `audit` beats for the audits of the leader.
pub async fn lead(
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
    audit: Heartbeat,
    mut stop: watch::Receiver<bool>,
) {
    let Some((persons, postgres)) = source(&config) else { return };
    for counter in [
        Metric::PersonsMessages,
        Metric::PersonsErrors,
        Metric::PersonsAuditErrors,
        Metric::PersonsForeignMessages,
    ] {
        metrics.add(counter, 0);
    }
    let leader = Leader {
        config: &config,
        persons,
        postgres,
        metrics: &metrics,
        heartbeat: &heartbeat,
        audit: &audit,
    };
    let (mut wait, mut said) = (RETRY.0, (String::new(), Instant::now()));
    let mut watched = BTreeMap::new();
    while !*stop.borrow() {
        metrics.set(Metric::PersonsLeader, 0);
        let began = Instant::now();
        let turn = tokio::select! {
            turn = leader.turn(&mut watched) => turn,
            // Wherever it is: what it has not finished comes again.
            () = stopped(&mut stop) => break,
        };
        audit.rest("not the leader");
        let pause = match turn {
            Ok(Standby) => {
                heartbeat.ready();
                wait = RETRY.0;
                FREE_AGAIN
            }
            Err(error) => {
                metrics.add(Metric::PersonsErrors, 1);
                let error = format!("{:#}", anyhow::Error::from(error));
                heartbeat.not_ready(error.as_str());
                // The same fault every ten seconds would hide everything else.
                if error == said.0 && said.1.elapsed() < SAY_AGAIN {
                    tracing::debug!("persons: {error}");
                } else {
                    tracing::error!("persons: {error}; trying again");
                    said = (error, Instant::now());
                }
                if began.elapsed() > RETRY.1 {
                    wait = RETRY.0;
                }
                let longer = (wait * 2).min(RETRY.1);
                std::mem::replace(&mut wait, longer)
            }
        };
        heartbeat.beat("waiting before the next try", pause + BEAT_TIMEOUT);
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(&mut stop) => break,
        }
    }
    metrics.set(Metric::PersonsLeader, 0);
}

/// The sections that say where persons come from.
pub(super) fn source(config: &Config) -> Option<(&Persons, &Postgres)> {
    let persons = config.persons.as_ref()?;
    Some((persons, persons.postgres.as_ref()?))
}

struct Leader<'a> {
    config: &'a Config,
    persons: &'a Persons,
    postgres: &'a Postgres,
    metrics: &'a Metrics,
    heartbeat: &'a Heartbeat,
    audit: &'a Heartbeat,
}

impl Leader<'_> {
    /// `watched` is up to where partitions of the topics were looked at for other producers.
    async fn turn(&self, watched: &mut BTreeMap<Place, i64>) -> Result<Standby, LeadError> {
        let session = self.step("connecting to PostgreSQL", Session::connect(self.postgres)).await?;
        let looking = slot::observe(&session, self.postgres);
        let found = self.step("looking at the replication slot", looking).await?;
        if found.is_some_and(|slot| slot.is_active) {
            return Ok(Standby);
        }
        let client = Client::new(&self.config.kafka)?;
        self.step("looking for topics", self.topics(&client)).await?;
        // Before anything is made in PostgreSQL: a slot would keep WAL for as long as nothing is published.
        let clearing = self.clear(&client);
        watched.extend(self.step("looking for another producer", clearing).await?);
        self.step("checking tables and publication", slot::prepare(&session, self.postgres)).await?;
        if !self.slot(&session).await? {
            return Ok(Standby);
        }
        let held = self.step("taking the replication slot", self.hold()).await?;
        let Some((mut stream, system)) = held else { return Ok(Standby) };
        tracing::info!("persons: holding slot {}", self.postgres.slot);
        self.metrics.set(Metric::PersonsLeader, 1);
        let producer = client.producer()?;
        let opening = Store::open(&client, &producer, self.postgres);
        let store = self.step("opening the topic of progress", opening).await?;
        self.step("reading progress", self.resume(&session, &store, &system)).await?;
        let vanished = Notify::new();
        let work = async {
            let copy = Copy {
                producer: &producer,
                persons: self.persons,
                postgres: self.postgres,
                store: &store,
                heartbeat: self.heartbeat,
            };
            copy.run(&|kind, rows| self.copied(kind, rows)).await?;
            let versions = match self.postgres.version {
                VersionRule::Wal => Versions::Wal { base: self.postgres.version_base, transaction: None },
                VersionRule::Column => Versions::Column,
            };
            let connecting = Publisher::connect(&producer, self.persons, self.postgres, versions);
            let publisher = self.step("connecting to PostgreSQL", connecting).await?;
            tracing::info!("persons: streaming changes");
            let stream = Stream {
                client: &mut stream.0,
                publisher,
                store: &store,
                config: self.postgres,
                vanished: &vanished,
                metrics: self.metrics,
                heartbeat: self.heartbeat,
            };
            let audits = Audits {
                config: self.config,
                store: &store,
                vanished: &vanished,
                metrics: self.metrics,
                heartbeat: self.audit,
            };
            tokio::select! {
                streamed = stream.run() => match streamed? {},
                never = audits.run(self.postgres) => match never {},
            }
        };
        let watch =
            Watch { persons: self.persons, postgres: self.postgres, client: &client, metrics: self.metrics };
        tokio::select! {
            ended = work => ended,
            error = self.watch_slot(&session) => Err(error),
            never = watch.run(watched) => match never {},
            pulse = self.audit.overdue() => Err(LeadError::AuditStalled(pulse.doing)),
        }
    }

    /// A step before the stream.
    async fn step<T, E: Into<LeadError>>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LeadError> {
        match self.heartbeat.during(doing, BEAT_TIMEOUT, timeout(STEP_TIMEOUT, work)).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(LeadError::Step { doing }),
        }
    }

    async fn topics(&self, client: &Client) -> Result<(), LeadError> {
        let there = client.cluster().await?.topics;
        let wanted = [&self.persons.topic, &self.persons.distinct_id_topic];
        let missing = wanted.into_iter().find(|topic| !there.contains_key(*topic));
        missing.map_or(Ok(()), |topic| Err(LeadError::NoTopic(topic.clone())))
    }

    /// Refuses to begin beside another producer. Returns up to where partitions of the topics were looked at.
    async fn clear(&self, client: &Client) -> Result<BTreeMap<Place, i64>, LeadError> {
        let cleared = foreign::clear(self.config, self.persons, self.postgres, client).await;
        let conflicts = match &cleared {
            Err(ClearanceError::Conflict(error)) => error.conflicts.count(),
            _ => 0,
        };
        self.metrics.set(Metric::PersonsConflicts, conflicts);
        Ok(cleared?)
    }

    /// Makes the slot where there is none, and tells whether it is free.
    async fn slot(&self, session: &Session) -> Result<bool, LeadError> {
        match self.step("looking at the replication slot", slot::observe(session, self.postgres)).await? {
            Some(found) if found.is_active => Ok(false),
            Some(found) if found.is_lost => {
                tracing::error!(
                    "persons: PostgreSQL has given up the WAL that slot {} needs (max_slot_wal_keep_size): it is made anew, and \
                     everything is copied again",
                    self.postgres.slot
                );
                slot::drop(session, self.postgres).await?;
                slot_creation::create(session, self.postgres, self.heartbeat).await?;
                Ok(true)
            }
            Some(_) => Ok(true),
            None => {
                tracing::info!("persons: making slot {}", self.postgres.slot);
                slot_creation::create(session, self.postgres, self.heartbeat).await?;
                Ok(true)
            }
        }
    }

    /// Takes the slot: nothing if another one was faster. Also tells PostgreSQL's own number.
    async fn hold(&self) -> Result<Option<(HeldSlot, String)>, LeadError> {
        let postgres = self.postgres;
        let password = postgres.password.as_ref().map_or("", |password| password.reveal());
        let HostPort { host, port } = &postgres.address;
        let config = ReplicationConfig::new(
            host.as_str(),
            postgres.user.as_str(),
            password,
            postgres.database.as_str(),
            quoted(&postgres.slot),
            postgres.publication.as_str(),
        )
        .with_port(*port)
        .with_options(OPTIONS)
        .with_application_name("posthouse")
        .with_buffer_size(BUFFERED)
        .with_status_interval(Duration::from_secs(1));
        let begin = |source| LeadError::Begin {
            address: postgres.address.to_string(),
            slot: postgres.slot.clone(),
            source,
        };
        // It only spawns a task: from here on that task ends with what is returned, or with this function.
        let mut held = HeldSlot(ReplicationClient::connect_gated(config).await.map_err(begin)?);
        let client = &mut held.0;
        let started = timeout(HOLD_TIMEOUT, async {
            let system = client.identify_system().await?.system_id;
            client.start().await?;
            client.wait_started().await.map(|()| system)
        });
        match started.await {
            Ok(Ok(system)) => Ok(Some((held, system))),
            // SQLSTATE object_in_use
            Ok(Err(PgWireError::Server(said))) if said.contains("is active for PID") => Ok(None),
            Ok(Err(error)) => Err(begin(error)),
            Err(_) => Err(LeadError::BeginTimeout {
                address: postgres.address.to_string(),
                slot: postgres.slot.clone(),
            }),
        }
    }

    /// Goes on from what is remembered, if it is of this slot; else begins anew.
    async fn resume(&self, session: &Session, store: &Store<'_>, system: &str) -> Result<(), LeadError> {
        let slot = slot::observe(session, self.postgres).await?;
        let confirmed = slot.map_or(Lsn::from_u64(0), |slot| slot.confirmed);
        let published = Published::new(self.persons, self.postgres);
        let (begins, beginning) = resume(store.read().await?, system, confirmed, published);
        if beginning != Beginning::GoesOn && self.postgres.version == VersionRule::Wal {
            newest::check(self.config, session, self.postgres.version_base).await?;
        }
        match beginning {
            Beginning::GoesOn => {}
            Beginning::First => tracing::info!("persons: copying everything, the slot begins at {confirmed}"),
            Beginning::Gap => tracing::error!(
                "persons: slot {} stands at {confirmed}, which is not where posthouse left it: it was made anew or moved by somebody \
                 else. Everything is copied again, and rows that were deleted meanwhile are then looked for on the nodes",
                self.postgres.slot
            ),
        }
        Ok(store.change(|state| *state = begins).await?)
    }

    fn copied(&self, kind: Kind, rows: u64) {
        let table = match kind {
            Kind::Person => "person",
            Kind::DistinctId => "distinct_id",
        };
        self.metrics.set_for(Metric::PersonsCopied, "table", table, rows);
    }

    /// Measures how much WAL waits, and looks whether the slot is held, for ever; ends with what went wrong.
    async fn watch_slot(&self, session: &Session) -> LeadError {
        let mut ticks = interval(LAG);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut over, mut lost) = (false, 0);
        loop {
            ticks.tick().await;
            let slot = match slot::observe(session, self.postgres).await {
                Ok(slot) => slot,
                Err(error) => return error.into(),
            };
            lost = if slot.as_ref().is_some_and(|slot| slot.is_active) { 0 } else { lost + 1 };
            if lost >= LOST_LOOKS {
                return LeadError::SlotLost(self.postgres.slot.clone());
            }
            let lag = slot.map_or(0, |slot| slot.lag);
            self.metrics.set(Metric::PersonsSlotLag, lag);
            let limit = self.postgres.lag_limit;
            if lag > limit && !over {
                tracing::error!(
                    "persons: {} MiB of WAL wait for slot {}, more than persons.postgres.lag_limit_mib ({}): PostgreSQL's disk fills; \
                     see why it is behind (brokers away? a copy under way?), or drop the slot, after which all is copied anew",
                    lag >> 20,
                    self.postgres.slot,
                    limit >> 20
                );
            }
            over = lag > limit;
        }
    }
}

/// The connection that holds the slot. The library leaves its task alone when it is dropped, and a silent server would keep that
/// for ever.
struct HeldSlot(ReplicationClient);

impl Drop for HeldSlot {
    fn drop(&mut self) {
        // Ends the session at once: the server gives the slot to the next one when it sees that, within a second.
        self.0.abort();
    }
}

/// How a turn begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// Where the last one ended.
    GoesOn,
    /// There was nothing before.
    First,
    /// What lies between is gone.
    Gap,
}

/// The state to go on with, given what is remembered and where the slot stands.
fn resume(
    remembered: Option<State>,
    system: &str,
    confirmed: Lsn,
    published: Published,
) -> (State, Beginning) {
    let remembered = remembered.filter(|state| published.is_of(state));
    let place = confirmed.as_u64();
    // What the nodes have from before may be gone from PostgreSQL: nobody tells.
    let fresh = State {
        system: system.to_owned(),
        begins: place,
        acknowledged: place,
        vanished: 1,
        published: Some(published.clone()),
        ..State::default()
    };
    match remembered {
        Some(state) if state.system == system && place <= state.acknowledged => {
            (State { published: Some(published), ..state }, Beginning::GoesOn)
        }
        Some(_) => (fresh, Beginning::Gap),
        None => (fresh, Beginning::First),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(version: &str) -> Published {
        Published { version: version.to_owned(), topics: ["p".to_owned(), "d".to_owned()] }
    }

    /// A state that was left at 80 by a slot that began at 8.
    fn state() -> State {
        State {
            system: "7".to_owned(),
            begins: 8,
            acknowledged: 80,
            published: Some(published("wal")),
            ..State::default()
        }
    }

    #[test]
    fn a_slot_that_stands_further_on_than_was_remembered_is_another_one() {
        let begins = |system, place| resume(Some(state()), system, Lsn::from_u64(place), published("wal"));
        assert_eq!(begins("7", 80), (state(), Beginning::GoesOn));
        assert_eq!(begins("7", 72), (state(), Beginning::GoesOn));
        for (system, place) in [("7", 88), ("8", 80)] {
            let (fresh, beginning) = begins(system, place);
            assert_eq!((beginning, fresh.begins, fresh.acknowledged), (Beginning::Gap, place, place));
            assert_eq!((fresh.persons, fresh.distinct_ids), (None, None));
        }
        assert_eq!(resume(None, "7", Lsn::from_u64(8), published("wal")).1, Beginning::First);
    }

    #[test]
    fn other_versions_or_topics_begin_anew_and_what_an_older_release_remembered_goes_on() {
        let begins = |state: State, published| resume(Some(state), "7", Lsn::from_u64(80), published);
        let other = Published { topics: ["p".to_owned(), "e".to_owned()], ..published("wal") };
        for published in [published("column"), other] {
            let (fresh, beginning) = begins(state(), published.clone());
            assert_eq!((beginning, fresh.begins), (Beginning::First, 80));
            assert_eq!(fresh.published, Some(published));
        }
        let older = State { published: None, ..state() };
        assert_eq!(begins(older.clone(), published("wal")), (state(), Beginning::GoesOn));
        // Its versions may have been those of the WAL, which hide those of the column.
        assert!(published("wal").is_accepted(Some(&older)) && !published("column").is_accepted(Some(&older)));
        assert!(!published("wal").is_accepted(None) && published("wal").is_accepted(Some(&state())));
    }
}
