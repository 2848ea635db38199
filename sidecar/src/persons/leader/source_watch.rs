//! Periodic check of the source's requirements while changes are streamed.
//!
//! DBAs change tables, publications and roles.

use std::time::Duration;

use anyhow::ensure;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::requirements::{self, Catalog, Guarantees, UnmetError};
use super::{ERROR_LOG_INTERVAL, Leader};
use crate::persons::checkpoint::{Checkpoint, CheckpointStore};
use crate::persons::postgres::session::{PostgresError, Session};

/// Interval between two checks.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// State of the last check.
pub(super) struct SourceWatch<'a> {
    leader: &'a Leader<'a>,
    store: &'a CheckpointStore<'a>,
    vanished: &'a Notify,
    /// See [`Catalog::fingerprint`].
    fingerprint: u64,
    /// Constraints that the stream relies on.
    guarantees: Guarantees,
    /// The logged faults, and their time.
    logged: Option<(String, Instant)>,
    /// A separate session, because a check waits for table locks and must not delay other
    /// statements.
    session: Option<Session>,
}

impl<'a> SourceWatch<'a> {
    /// Starts from the source as observed when the stream began.
    pub(super) fn new(
        leader: &'a Leader<'a>,
        store: &'a CheckpointStore<'a>,
        vanished: &'a Notify,
        catalog: &Catalog,
    ) -> Self {
        Self {
            leader,
            store,
            vanished,
            fingerprint: catalog.fingerprint(leader.source.postgres),
            guarantees: catalog.guarantees(leader.source.postgres),
            logged: None,
            session: None,
        }
    }

    /// Checks until the stream has to restart.
    pub(super) async fn run(mut self) -> anyhow::Error {
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.look().await {
                Ok(()) => {}
                // The stream itself reports an unreachable PostgreSQL.
                Err(error) if error.is::<PostgresError>() => {
                    tracing::warn!(error = %error, "requirements of the source can't be checked");
                    self.session = None;
                }
                Err(error) => return error,
            }
        }
    }

    async fn catalog(&mut self) -> Result<(Option<UnmetError>, Catalog), PostgresError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::connect(self.leader.source.postgres).await?,
        };
        let session = self.session.insert(session);
        let (found, catalog) = requirements::look(session, self.leader.source.postgres).await?;
        Ok((requirements::unmet(found), catalog))
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let (unmet, catalog) = self.catalog().await?;
        let count = unmet.as_ref().map_or(0, |unmet| unmet.requirements.len() as u64);
        self.leader.metrics.source_faults.set([], count);
        let text = unmet.map(|unmet| unmet.to_string());
        self.leader.heartbeat.impaired(text.clone());
        let fingerprint = catalog.fingerprint(self.leader.source.postgres);
        let is_replaced = fingerprint != std::mem::replace(&mut self.fingerprint, fingerprint);
        let is_known = self.logged.is_some();
        if is_replaced {
            tracing::warn!(
                "tables, partitions or the publication have changed: an audit compares nodes with PostgreSQL"
            );
        }
        match (text, self.logged.take()) {
            (Some(text), Some((before, at))) if text == before && at.elapsed() < ERROR_LOG_INTERVAL => {
                self.logged = Some((before, at));
            }
            (Some(text), _) => {
                tracing::error!(error = %text, "the source has changed, and changes may be missed");
                self.logged = Some((text, Instant::now()));
            }
            (None, Some(_)) => {
                tracing::info!(
                    "the source meets every requirement again: an audit compares nodes with PostgreSQL"
                );
            }
            (None, None) => {}
        }
        let is_faulty = self.logged.is_some();
        let is_over = is_known && !is_faulty;
        if is_replaced || is_known != is_faulty {
            let mark = |state: &mut Checkpoint| {
                state.fingerprint = Some(fingerprint);
                state.faulty = is_faulty;
                state.vanished += u64::from(is_replaced || is_over);
            };
            self.store.change(mark).await?;
            self.vanished.notify_one();
        }
        ensure!(
            catalog.guarantees(self.leader.source.postgres) == self.guarantees,
            "a unique index or a foreign key of the person tables was created or dropped: the stream restarts, and an audit follows"
        );
        Ok(())
    }
}
