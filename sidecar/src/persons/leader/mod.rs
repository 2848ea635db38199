//! Leader loop: take the slot, finish the snapshot, stream changes, retry.
//!
//! PostgreSQL gives a slot to one session at a time, so its holder is the leader and no other
//! election is needed. When the leader's connection ends, a standby gets the slot within a second.

mod take_slot;
mod resume;
mod source_watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::config::{AuditMode, VersionRule};
use crate::kafka::{Client, TopicPartition};
use crate::metrics::PersonsMetrics;
use crate::supervise::{Heartbeat, stopped, trim};

use self::source_watch::SourceWatch;
use super::audit::last::LastAudit;
use super::audit::schedule::Audits;
use super::checkpoint::CheckpointStore;
use super::foreign::{self, ConflictError, Watch};
use super::postgres::session::Session;
use super::postgres::slot;
use super::postgres::table::TableKind;
use super::publish::Publisher;
use super::publish::change::Versions;
use super::requirements::{self, Catalog};
use super::snapshot::Copy;
use super::source::PersonSource;
use super::stream::{Stream, StreamError};

/// Interval between two checks of a standby whether the slot is free.
const SLOT_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// First and longest pause after an error.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Interval between two log lines of the same error.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Time limit of a step before the stream. A peer that answers probes may still never finish a
/// request.
const STEP_TIMEOUT: Duration = Duration::from_secs(300);
/// Time limit for PostgreSQL to hand over the slot.
const TAKE_SLOT_TIMEOUT: Duration = Duration::from_secs(30);
/// Heartbeat timeout; longer than a step.
const BEAT_TIMEOUT: Duration = Duration::from_secs(600);
/// Another posthouse holds the slot.
struct Standby;

/// Syncs persons until `stop` is set. `audit` is the heartbeat of the leader's audits.
pub(crate) async fn run_leader(
    cluster: Arc<Cluster>,
    metrics: PersonsMetrics,
    heartbeat: Heartbeat,
    audit: Heartbeat,
    mut stop: watch::Receiver<bool>,
) {
    let Some(source) = PersonSource::of(&cluster.config) else { return };
    let leader =
        Leader { cluster: &cluster, source, metrics: &metrics, heartbeat: &heartbeat, audit: &audit };
    let (mut backoff, mut logged) = (Backoff::new(RETRY.0, RETRY.1), (String::new(), Instant::now()));
    let mut watched = BTreeMap::new();
    metrics.leader.set([], 0);
    while !*stop.borrow() {
        let began = Instant::now();
        let turn = tokio::select! {
            turn = leader.turn(&mut watched) => turn,
            // At any point: unfinished changes are replayed.
            () = stopped(&mut stop) => break,
        };
        metrics.leader.set([], 0);
        audit.rest("not the leader");
        audit.impaired(None);
        heartbeat.impaired(None);
        let pause = match turn {
            Ok(Standby) => {
                metrics.clear_leader_gauges();
                heartbeat.ready();
                backoff.reset();
                SLOT_POLL_INTERVAL
            }
            Err(error) => {
                metrics.errors.inc();
                let error = format!("{error:#}");
                heartbeat.not_ready(error.as_str());
                if began.elapsed() > RETRY.1 {
                    backoff.reset();
                }
                let pause = backoff.wait();
                // The same error every ten seconds would hide all other log lines.
                if error == logged.0 && logged.1.elapsed() < ERROR_LOG_INTERVAL {
                    tracing::debug!(retry_in = ?pause, error = %error, "person sync failed");
                } else {
                    // The error is last, because SQL statements follow on separate lines.
                    tracing::error!(retry_in = ?pause, error = %error, "person sync failed");
                    logged = (error, Instant::now());
                }
                pause
            }
        };
        heartbeat.beat("waiting for the retry", pause + BEAT_TIMEOUT);
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(&mut stop) => break,
        }
    }
    metrics.leader.set([], 0);
    metrics.clear_leader_gauges();
}

struct Leader<'a> {
    cluster: &'a Cluster,
    source: PersonSource<'a>,
    metrics: &'a PersonsMetrics,
    heartbeat: &'a Heartbeat,
    audit: &'a Heartbeat,
}

impl Leader<'_> {
    /// One attempt to lead. `watched` has the offset per topic partition up to which messages of
    /// other producers were searched.
    async fn turn(&self, watched: &mut BTreeMap<TopicPartition, i64>) -> anyhow::Result<Standby> {
        let finding = self.find_slot().await;
        // Without PostgreSQL's answer another process may lead.
        let (session, found) = finding.inspect_err(|_| self.metrics.clear_leader_gauges())?;
        if found.as_ref().is_some_and(|slot| slot.is_active) {
            return Ok(Standby);
        }
        // Its WAL grows while the steps below fail, and no other process measures it.
        self.metrics.slot_lag.set([], found.map_or(0, |slot| slot.lag));
        let client = self.cluster.kafka()?;
        self.step("checking topics", self.topics(client)).await?;
        // Checked before creating anything in PostgreSQL, because a slot retains WAL for as long as
        // no changes are published.
        let clearing = self.clear();
        watched.extend(self.step("checking for other producers", clearing).await?);
        let catalog = self.source(&session).await?;
        let producer = client.producer()?;
        let opening = CheckpointStore::open(client, &producer, self.source.postgres);
        let store = self.step("opening the checkpoint topic", opening).await?;
        let Some(origin) = self.slot(&session, &catalog, &store).await? else { return Ok(Standby) };
        let held = self.step("taking the replication slot", self.take_slot()).await?;
        let Some((mut stream, history)) = held else { return Ok(Standby) };
        tracing::info!("holding the replication slot");
        self.metrics.leader.set([], 1);
        let resuming = self.resume(&session, &store, &history, origin, &catalog);
        let begins = self.step("reading the checkpoint", resuming).await?;
        let state = store.now().await;
        self.expose_audit(state.audit.as_ref());
        let base = state.version_base(self.source.postgres);
        let guarantees = catalog.guarantees(self.source.postgres);
        let vanished = Notify::new();
        let work = async {
            let copy =
                Copy { producer: &producer, source: self.source, store: &store, heartbeat: self.heartbeat };
            copy.run(&|kind, rows| self.copied(kind, rows)).await?;
            trim();
            let versions = match self.source.postgres.version {
                VersionRule::Wal => Versions::Wal { base, transaction: None },
                VersionRule::Column => Versions::Column,
            };
            let connecting = Publisher::connect(&producer, self.source, versions, guarantees);
            let publisher = self.step("connecting to PostgreSQL", connecting).await?;
            tracing::info!("streaming changes");
            let stream = Stream {
                client: &mut stream,
                publisher,
                store: &store,
                begins,
                config: self.source.postgres,
                vanished: &vanished,
                metrics: self.metrics,
                heartbeat: self.heartbeat,
            };
            let audits = Audits {
                cluster: self.cluster,
                store: &store,
                vanished: &vanished,
                metrics: self.metrics,
                heartbeat: self.audit,
            };
            tokio::select! {
                streamed = stream.run() => match streamed? {},
                never = audits.run(self.source.postgres) => match never {},
            }
        };
        let watch = Watch { source: self.source, client, metrics: self.metrics };
        let ended = tokio::select! {
            ended = work => ended,
            error = self.watch_slot(&session) => Err(error),
            error = SourceWatch::new(self, &store, &vanished, &catalog).run() => Err(error),
            never = watch.run(watched) => match never {},
            pulse = self.audit.overdue() => Err(anyhow!("an audit hangs: {}", pulse.doing)),
        };
        let publication = &self.source.postgres.publication;
        if ended.as_ref().is_err_and(|error| lacks_publication(error, publication)) {
            drop(stream);
            self.give_up_slot(&session, &store).await?;
        }
        ended
    }

    /// Connects to PostgreSQL and reads the slot.
    async fn find_slot(&self) -> anyhow::Result<(Session, Option<slot::Slot>)> {
        let session = self.step("connecting to PostgreSQL", Session::connect(self.source.postgres)).await?;
        let looking = slot::observe(&session, self.source.postgres);
        let found = self.step("checking the replication slot", looking).await?;
        Ok((session, found))
    }

    /// Runs a step before the stream with a time limit.
    async fn step<T, E: Into<anyhow::Error>>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> anyhow::Result<T> {
        match self.heartbeat.during(doing, BEAT_TIMEOUT, timeout(STEP_TIMEOUT, work)).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => bail!(
                "{doing} took longer than {} s: PostgreSQL, a broker or a node answers but does not finish",
                STEP_TIMEOUT.as_secs()
            ),
        }
    }

    /// Fails unless the source meets every requirement; creates the publication if it is missing.
    async fn source(&self, session: &Session) -> anyhow::Result<Catalog> {
        let looking = requirements::look(session, self.source.postgres);
        let (found, catalog) = self.step("checking tables and publication", looking).await?;
        let unmet = requirements::unmet(found);
        let faults = unmet.as_ref().map_or(0, |unmet| unmet.requirements.len() as u64);
        self.metrics.source_faults.set([], faults);
        match unmet {
            Some(unmet) => return Err(unmet.into()),
            None if catalog.publication.is_none() => {
                slot::create_publication(session, self.source.postgres).await?;
            }
            None => {}
        }
        Ok(catalog)
    }

    async fn topics(&self, client: &Client) -> anyhow::Result<()> {
        let there = client.cluster().await?;
        for topic in [&self.source.persons.topic, &self.source.persons.distinct_id_topic] {
            there.topic(topic)?;
        }
        Ok(())
    }

    /// Fails if another producer writes persons. Returns the offset per topic partition up to which
    /// messages were searched.
    async fn clear(&self) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
        let cleared = foreign::clear(self.cluster, self.source).await;
        let error = cleared.as_ref().err().and_then(|error| error.downcast_ref::<ConflictError>());
        self.metrics.conflicts.set([], error.map_or(0, |error| error.conflicts.count()));
        cleared
    }

    /// Exposes the last audit of any leader, so that a takeover does not end an alert.
    fn expose_audit(&self, audit: Option<&LastAudit>) {
        match audit {
            Some(audit) => audit.expose(self.metrics),
            // An alert reads the time, and would never see that no audit succeeds.
            None if self.source.postgres.audit != AuditMode::Off => self.metrics.last_audit.set([], 0),
            None => {}
        }
    }

    fn copied(&self, kind: TableKind, rows: u64) {
        let table = match kind {
            TableKind::Person => "person",
            TableKind::DistinctId => "distinct_id",
        };
        self.metrics.copied.set([table], rows);
    }
}

/// Whether the stream fails because its WAL is older than the publication, which was dropped and
/// recreated.
fn lacks_publication(error: &anyhow::Error, publication: &str) -> bool {
    let Some(StreamError::Connection { error, .. }) = error.downcast_ref() else { return false };
    // SQLSTATE undefined_object. The message may be in any language, and quotes the name.
    error.server().is_some_and(|error| error.code == "42704" && error.message.contains(publication))
}
