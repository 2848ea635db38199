//! Replication slot of the leader: creation, takeover, monitoring.

use std::time::Duration;

use anyhow::{anyhow, bail};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::super::requirements::Catalog;
use super::{Leader, TAKE_SLOT_TIMEOUT};
use crate::persons::checkpoint::CheckpointStore;
use crate::persons::postgres::replication::{
    ReplicationError, ReplicationSession, ReplicationStream, SystemIdentity,
};
use crate::persons::postgres::session::Session;
use crate::persons::postgres::{slot, slot_creation};

/// Interval between two checks of the slot's lag.
const LAG_INTERVAL: Duration = Duration::from_secs(10);
/// Interval between two attempts to drop a slot.
const DROP_INTERVAL: Duration = Duration::from_millis(200);
/// How many consecutive checks must find the slot unheld before it counts as lost.
const LOST_SLOT_CHECKS: u32 = 2;
/// SQLSTATE object_in_use: another session holds the slot.
const OBJECT_IN_USE: &str = "55006";

/// Whether a slot existed or was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotOrigin {
    /// It existed before this attempt.
    Kept,
    /// This attempt created it.
    Made,
}

impl Leader<'_> {
    /// Creates the slot if it is missing or lost. Returns `None` if another process holds it.
    pub(super) async fn slot(
        &self,
        session: &Session,
        catalog: &Catalog,
        store: &CheckpointStore<'_>,
    ) -> anyhow::Result<Option<SlotOrigin>> {
        match self.step("checking the replication slot", slot::observe(session, self.source.postgres)).await?
        {
            Some(found) if found.is_active => Ok(None),
            Some(found) if found.is_lost => {
                let entry = catalog.slot.as_ref();
                let reason = entry.and_then(|slot| slot.invalidation_reason.as_deref());
                let reason = reason.unwrap_or("max_slot_wal_keep_size");
                tracing::error!(
                    error = %format_args!("the slot lost its WAL ({reason})"),
                    "recreating the slot; a new initial snapshot follows"
                );
                store.invalidate().await?;
                slot::drop(session, self.source.postgres).await?;
                slot_creation::create(session, self.source.postgres, self.heartbeat).await?;
                Ok(Some(SlotOrigin::Made))
            }
            Some(_) => Ok(Some(SlotOrigin::Kept)),
            None => {
                tracing::info!("creating the replication slot");
                store.invalidate().await?;
                slot_creation::create(session, self.source.postgres, self.heartbeat).await?;
                Ok(Some(SlotOrigin::Made))
            }
        }
    }

    /// Takes the slot and returns the server's identity. Returns `None` if another process was
    /// faster.
    pub(super) async fn take_slot(&self) -> anyhow::Result<Option<(ReplicationStream, SystemIdentity)>> {
        let postgres = self.source.postgres;
        let address = postgres.connection.address();
        let did_not_start = format!("PostgreSQL at {address} did not start to stream slot {}", postgres.slot);
        let started = timeout(TAKE_SLOT_TIMEOUT, async {
            let mut session = ReplicationSession::connect(postgres).await?;
            let identity = session.identify().await?;
            Ok((session.start(postgres).await?, identity))
        });
        match started.await {
            Ok(Ok(taken)) => Ok(Some(taken)),
            Ok(Err(error)) if is_held(&error) => Ok(None),
            Ok(Err(error)) => Err(anyhow::Error::from(error).context(did_not_start)),
            Err(_) => bail!(
                "{did_not_start} within {} s: it hangs, or has no walsender left (max_wal_senders)",
                TAKE_SLOT_TIMEOUT.as_secs()
            ),
        }
    }

    /// Drops a slot whose WAL can't be decoded. The next attempt recreates it and takes a new
    /// snapshot.
    pub(super) async fn give_up_slot(
        &self,
        session: &Session,
        store: &CheckpointStore<'_>,
    ) -> anyhow::Result<()> {
        tracing::error!(
            publication = self.source.postgres.publication,
            error = "the publication was recreated, and PostgreSQL can't decode WAL from before it",
            "recreating the slot; a new initial snapshot follows"
        );
        store.invalidate().await?;
        let deadline = Instant::now() + TAKE_SLOT_TIMEOUT;
        loop {
            match slot::drop(session, self.source.postgres).await {
                // The server takes a moment to end our session.
                Err(_) if Instant::now() < deadline => sleep(DROP_INTERVAL).await,
                done => return done,
            }
        }
    }

    /// Measures the slot's lag and checks that the slot is held; returns the first error.
    pub(super) async fn watch_slot(&self, session: &Session) -> anyhow::Error {
        let mut ticks = interval(LAG_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut over, mut lost) = (false, 0);
        loop {
            ticks.tick().await;
            let slot = match slot::observe(session, self.source.postgres).await {
                Ok(slot) => slot,
                Err(error) => return error,
            };
            lost = if slot.as_ref().is_some_and(|slot| slot.is_active) { 0 } else { lost + 1 };
            if lost >= LOST_SLOT_CHECKS {
                return anyhow!(
                    "replication slot {} is no longer held: the connection that streams it is dead",
                    self.source.postgres.slot
                );
            }
            let lag = slot.map_or(0, |slot| slot.lag);
            self.metrics.slot_lag.set([], lag);
            let limit = self.source.postgres.max_slot_lag;
            if lag > limit && !over {
                tracing::error!(
                    lag_mib = lag >> 20,
                    limit_mib = limit >> 20,
                    hint = "PostgreSQL's disk fills: check brokers and snapshot, or drop the slot and take a new snapshot",
                    "slot lag exceeds persons.postgres.max_slot_lag"
                );
            }
            over = lag > limit;
        }
    }
}

fn is_held(error: &ReplicationError) -> bool {
    error.server().is_some_and(|error| error.code == OBJECT_IN_USE)
}
