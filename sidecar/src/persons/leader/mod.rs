//! The life of the copy: waits for the slot, holds it, copies what is not copied yet, streams, and begins again after what fails.
//!
//! PostgreSQL gives a slot to one session at a time, which makes its holder the leader: no other election is needed. When the
//! leader's connection ends, the next one gets it within a second.

mod error;
mod hold;
mod resume;
mod source_watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::config::{Config, Persons, Postgres, VersionRule};
use crate::http::{Metric, Metrics};
use crate::kafka::{Client, Place};
use crate::supervise::{Heartbeat, stopped, trim};

use self::source_watch::SourceWatch;
use super::audit::schedule::Audits;
use super::checkpoint::Store;
use super::foreign::{self, ClearanceError, Watch};
use super::postgres::session::Session;
use super::postgres::slot;
use super::postgres::table::Kind;
use super::publish::Publisher;
use super::publish::change::Versions;
use super::requirements::{self, Catalog, SourceError};
use super::snapshot::Copy;
use super::source::source;
use super::stream::Stream;

pub use self::error::LeadError;

/// How often a standby looks whether the slot is free.
const FREE_AGAIN: Duration = Duration::from_secs(1);
/// Waits after what failed: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How often the same fault is told.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// How long a step towards the stream may take: a peer that answers probes may still never finish a request.
const STEP_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a heartbeat may be missing: longer than a step.
const BEAT_TIMEOUT: Duration = Duration::from_secs(600);
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
        Metric::PersonsKeyless,
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
        audit.impaired(None);
        heartbeat.impaired(None);
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
                    // Statements follow in lines of their own.
                    let (fault, statements) = error.split_once('\n').unwrap_or((&error, ""));
                    tracing::error!("persons: {fault}; trying again\n{statements}");
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
        let catalog = self.source(&session).await?;
        let producer = client.producer()?;
        let opening = Store::open(&client, &producer, self.postgres);
        let store = self.step("opening the topic of progress", opening).await?;
        let Some(origin) = self.slot(&session, &catalog, &store).await? else { return Ok(Standby) };
        let held = self.step("taking the replication slot", self.hold()).await?;
        let Some((mut stream, history)) = held else { return Ok(Standby) };
        tracing::info!("persons: holding slot {}", self.postgres.slot);
        self.metrics.set(Metric::PersonsLeader, 1);
        let resuming = self.resume(&session, &store, &history, origin, &catalog);
        let begins = self.step("reading progress", resuming).await?;
        let base = store.now().await.version_base(self.postgres);
        let guarantees = catalog.guarantees(self.postgres);
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
            trim();
            let versions = match self.postgres.version {
                VersionRule::Wal => Versions::Wal { base, transaction: None },
                VersionRule::Column => Versions::Column,
            };
            let connecting = Publisher::connect(&producer, self.persons, self.postgres, versions, guarantees);
            let publisher = self.step("connecting to PostgreSQL", connecting).await?;
            tracing::info!("persons: streaming changes");
            let stream = Stream {
                client: &mut stream.0,
                publisher,
                store: &store,
                begins,
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
        let ended = tokio::select! {
            ended = work => ended,
            error = self.watch_slot(&session) => Err(error),
            error = SourceWatch::new(self, &store, &vanished, &catalog).run() => Err(error),
            never = watch.run(watched) => match never {},
            pulse = self.audit.overdue() => Err(LeadError::AuditStalled(pulse.doing)),
        };
        if ended.as_ref().is_err_and(LeadError::lacks_publication) {
            drop(stream);
            self.give_up_slot(&session, &store).await?;
        }
        ended
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

    /// Fails unless the source meets every requirement, and makes the publication where there is none.
    async fn source(&self, session: &Session) -> Result<Catalog, LeadError> {
        let looking = requirements::look(session, self.postgres);
        let (found, catalog) = self.step("checking tables and publication", looking).await?;
        let unmet = requirements::unmet(found);
        self.metrics.set(
            Metric::PersonsSourceFaults,
            unmet.as_ref().map_or(0, |unmet| unmet.requirements.len() as u64),
        );
        match unmet {
            Some(unmet) => return Err(SourceError::from(unmet).into()),
            None if catalog.publication.is_none() => {
                slot::create_publication(session, self.postgres).await?;
            }
            None => {}
        }
        Ok(catalog)
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

    fn copied(&self, kind: Kind, rows: u64) {
        let table = match kind {
            Kind::Person => "person",
            Kind::DistinctId => "distinct_id",
        };
        self.metrics.set_for(Metric::PersonsCopied, "table", table, rows);
    }
}
