//! From changes to delivered messages: look up what they lack, decide, send.

use std::sync::Arc;

use crate::config::{Persons, Postgres};
use crate::kafka::{DeliveryError, Producer, Receipt};

use super::change::{Change, ChangeError, Versions, messages};
use super::lookup::{Follower, Lookup, LookupError};
use super::message::Outgoing;
use super::postgres::{PostgresError, Session};
use super::row::Reader;
use super::table::Kind;

/// Why changes were not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What they lack can't be looked up.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// They are no messages.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The brokers did not take them.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

/// Publishes changes, with a session for what they lack.
pub(super) struct Publisher<'a> {
    producer: &'a Producer,
    persons: &'a Persons,
    lookup: Lookup,
    versions: Versions,
}

impl<'a> Publisher<'a> {
    /// With a session of its own.
    ///
    /// # Errors
    /// [`PostgresError`] if there is none.
    pub(super) async fn connect(
        producer: &'a Producer,
        persons: &'a Persons,
        postgres: &Postgres,
        versions: Versions,
    ) -> Result<Self, PostgresError> {
        let lookup = Lookup::new(Session::connect(postgres).await?, postgres);
        Ok(Self { producer, persons, lookup, versions })
    }

    /// Who is asked for what changes lack.
    pub(super) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Sends the messages of `changes`; the receipt tells when they are delivered. Returns how many there are.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub(super) async fn publish(
        &mut self,
        changes: &mut [Change],
        receipt: &Arc<Receipt>,
    ) -> Result<u64, PublishError> {
        let versions: Vec<u64> = changes
            .iter()
            .map(|change| self.versions.next(change, self.lookup.table(change.kind)))
            .collect::<Result<_, _>>()?;
        let followers = self.lookup.fill(changes).await?;
        let mut sent = followers.len() as u64;
        for (change, version) in changes.iter().zip(versions) {
            let table = self.lookup.table(change.kind).clone();
            let messages = messages(change, &table, version, &mut self.lookup).map_err(ChangeError::from)?;
            for message in messages {
                self.send(&message, receipt).await?;
                sent += 1;
            }
        }
        for Follower { commit, row, key, person } in followers {
            let reader = Reader::new(self.lookup.table(Kind::DistinctId), &row);
            let version = self.versions.follower(commit, &reader)?;
            self.send(&Outgoing::distinct_id(&key, Some(person), version), receipt).await?;
        }
        Ok(sent)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// See [`DeliveryError`].
    pub(super) async fn send(&self, message: &Outgoing, receipt: &Arc<Receipt>) -> Result<(), DeliveryError> {
        let topic = match message.kind {
            Kind::Person => &self.persons.topic,
            Kind::DistinctId => &self.persons.distinct_id_topic,
        };
        self.producer.send(topic, message.key.as_bytes(), &message.payload, receipt).await
    }
}
