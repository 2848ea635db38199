//! The source's requirements while its changes are streamed: DBAs change tables, publications and roles.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::postgres::Session;
use super::super::requirements::{self, Catalog, Guarantees};
use super::super::state::Store;
use super::{LeadError, Leader, SAY_AGAIN};
use crate::http::Metric;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What was found at the last look.
pub(super) struct SourceWatch<'a> {
    leader: &'a Leader<'a>,
    store: &'a Store<'a>,
    vanished: &'a Notify,
    /// See [`Catalog::storage`].
    storage: Vec<u64>,
    /// What the stream relies on.
    guarantees: Guarantees,
    /// The faults that were logged, and when.
    logged: Option<(String, Instant)>,
}

impl<'a> SourceWatch<'a> {
    /// With the source as it was found when the stream began.
    pub(super) fn new(
        leader: &'a Leader<'a>,
        store: &'a Store<'a>,
        vanished: &'a Notify,
        catalog: &Catalog,
    ) -> Self {
        Self {
            leader,
            store,
            vanished,
            storage: catalog.storage(),
            guarantees: catalog.guarantees(leader.postgres),
            logged: None,
        }
    }

    /// Looks until PostgreSQL can't be asked.
    pub(super) async fn run(mut self, session: &Session) -> LeadError {
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look(session).await {
                return error;
            }
        }
    }

    async fn look(&mut self, session: &Session) -> Result<(), LeadError> {
        let (found, catalog) = requirements::look(session, self.leader.postgres).await?;
        if catalog.guarantees(self.leader.postgres) != self.guarantees {
            self.repair().await?;
            return Err(LeadError::Guarantees);
        }
        let unmet = requirements::unmet(found);
        let count = unmet.as_ref().map_or(0, |unmet| unmet.requirements.len() as u64);
        self.leader.metrics.set(Metric::PersonsSourceFaults, count);
        let text = unmet.map(|unmet| unmet.to_string());
        self.leader.heartbeat.impaired(text.clone());
        match (text, self.logged.take()) {
            (Some(text), Some((before, at))) if text == before && at.elapsed() < SAY_AGAIN => {
                self.logged = Some((before, at));
            }
            (Some(text), _) => {
                tracing::error!("persons: the source has changed, and changes may be missed: {text}");
                self.logged = Some((text, Instant::now()));
            }
            (None, Some(_)) => {
                tracing::info!(
                    "persons: the source meets every requirement again: nodes are compared with it"
                );
                self.storage = catalog.storage();
                self.repair().await?;
            }
            (None, None) if self.storage != catalog.storage() => {
                tracing::warn!(
                    "persons: a table was replaced, or a partition attached, detached, emptied or rewritten: nodes are compared with it"
                );
                self.storage = catalog.storage();
                self.repair().await?;
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Has an audit find what was missed.
    async fn repair(&self) -> Result<(), LeadError> {
        self.store.change(|state| state.vanished += 1).await?;
        self.vanished.notify_one();
        Ok(())
    }
}
