//! Publishing of changes: lookup, conversion to messages, sending.

pub(super) mod version;
pub(super) mod change;
pub(super) mod message;
mod person_cache;
pub(super) mod lookup;
pub(super) mod dependents;

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Persons;
use crate::kafka::{DeliveryError, DeliveryHandle, Producer};
use crate::persons::source::PersonSource;

use self::change::{LastChange, PersonIds as _, RowChange, Versions, messages};
use self::dependents::Dependent;
use self::lookup::Lookup;
use self::message::{MappingHistory, Outgoing};
use super::postgres::row::{Key, Presence, RowReader, ValueError};
use super::postgres::session::{PostgresError, Session};
use super::postgres::table::{Table, TableKind};
use super::requirements::Guarantees;

/// Keys whose rows are read in their current state, each with its last change.
type AsNow = HashMap<Key, LastChange>;

/// Counts of published changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Messages sent.
    pub(crate) messages: u64,
    /// Deletions without the row's key in ClickHouse. Only an audit finds these rows.
    pub(crate) keyless: u64,
}

/// Publishes changes, with a session for lookups.
pub(super) struct Publisher<'a> {
    producer: &'a Producer,
    persons: &'a Persons,
    lookup: Lookup,
    versions: Versions,
}

impl<'a> Publisher<'a> {
    /// Opens a separate session.
    ///
    /// # Errors
    /// [`PostgresError`] if the connection fails.
    pub(super) async fn connect(
        producer: &'a Producer,
        source: PersonSource<'a>,
        versions: Versions,
        guarantees: Guarantees,
    ) -> Result<Self, PostgresError> {
        let PersonSource { persons, postgres } = source;
        let lookup = Lookup::new(Session::connect(postgres).await?, postgres, guarantees);
        Ok(Self { producer, persons, lookup, versions })
    }

    pub(super) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Sends the messages of `changes`. The receipt reports their delivery.
    pub(super) async fn publish(
        &mut self,
        changes: &mut [RowChange],
        receipt: &Arc<DeliveryHandle>,
    ) -> anyhow::Result<Sent> {
        let mut sent = Sent { keyless: self.keyless(changes)?, ..Sent::default() };
        let versions: Vec<Option<u64>> = changes
            .iter()
            .map(|change| self.versions.next(change, self.lookup.table(change.kind)))
            .collect::<Result<_, _>>()?;
        let mut seen = false;
        self.lookup.fill(changes, &mut seen).await?;
        let dependents = self.lookup.dependents(changes, &mut seen).await?;
        let mut as_now: [AsNow; 2] = Default::default();
        for (change, version) in changes.iter().zip(versions) {
            let table = self.lookup.table(change.kind).clone();
            let known_by = change.known_by(&table)?;
            let keys = &mut as_now[change.kind as usize];
            if version.is_none() && !known_by.iter().any(|key| keys.contains_key(key)) {
                warn_uncounted(change, &table, &known_by);
            }
            // If two rows share a key, the other row may remain.
            let may_be_left = change.loses_key(&table)? && !self.lookup.is_unique(change.kind);
            let Some(version) = version.filter(|_| !may_be_left) else {
                // Inserted in commit order, so that the last change wins.
                let last = LastChange { commit: change.commit, version };
                keys.extend(known_by.into_iter().map(|key| (key, last)));
                self.pass_person(change, &table)?;
                continue;
            };
            for message in messages(change, &table, version, &mut self.lookup)? {
                self.send(&message, receipt).await?;
                sent.messages += 1;
            }
        }
        for Dependent { commit, row, key, person } in dependents {
            let reader = RowReader::new(self.lookup.table(TableKind::DistinctId), &row);
            let version = self.versions.dependent(commit, &reader)?;
            self.send(&Outgoing::distinct_id(&key, person, version, MappingHistory::Changed), receipt)
                .await?;
            sent.messages += 1;
        }
        for (kind, keys) in [TableKind::Person, TableKind::DistinctId].into_iter().zip(as_now) {
            sent.messages += self.publish_as_now(kind, keys, changes, receipt).await?;
        }
        Ok(sent)
    }

    /// Counts deletions without the row's key in ClickHouse.
    fn keyless(&self, changes: &[RowChange]) -> anyhow::Result<u64> {
        let mut keyless = 0;
        for change in changes.iter().filter(|change| change.after.is_none()) {
            let cells = change.before.as_deref().unwrap_or_default();
            let key = RowReader::new(self.lookup.table(change.kind), cells).key()?;
            keyless += u64::from(key.is_none());
        }
        Ok(keyless)
    }

    /// Publishes rows in their current state, which is at least as new as the changes. This covers
    /// rows that one transaction changed more often than versions count, and keys that several rows
    /// may share.
    async fn publish_as_now(
        &mut self,
        kind: TableKind,
        mut keys: AsNow,
        changes: &[RowChange],
        receipt: &Arc<DeliveryHandle>,
    ) -> anyhow::Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        let table = self.lookup.table(kind).clone();
        let wanted: Vec<Key> = keys.keys().cloned().collect();
        let rows = self.lookup.now(kind, &wanted, changes).await?;
        let mut now: Vec<RowChange> = rows.into_iter().map(|row| RowChange::read(kind, row)).collect();
        self.lookup.fill(&mut now, &mut true).await?;
        let mut sent = 0;
        for change in &now {
            let known_by = change.known_by(&table)?;
            // If several rows share a key, any of them will do.
            let Some(last) = known_by.first().and_then(|key| keys.remove(key)) else { continue };
            let reader = RowReader::new(&table, change.after.as_deref().unwrap_or_default());
            let version = self.versions.dependent(last.commit, &reader)?;
            for message in messages(change, &table, version, &mut self.lookup)? {
                self.send(&message, receipt).await?;
                sent += 1;
            }
            if let (TableKind::Person, true, Some(id)) = (kind, table.is_soft(), reader.id()?) {
                // The stream has not reached this row version yet.
                self.lookup.forget(id);
            }
        }
        for (key, last) in keys {
            let version = self.versions.deletion(&last)?;
            self.send(&Outgoing::gone(&key, version), receipt).await?;
            sent += 1;
        }
        Ok(sent)
    }

    /// Updates the state of a person for later distinct ids of the batch. The person itself is read
    /// after them.
    fn pass_person(&mut self, change: &RowChange, table: &Table) -> Result<(), ValueError> {
        if change.kind != TableKind::Person {
            return Ok(());
        }
        let reader = |cells| RowReader::new(table, cells);
        match (&change.before, &change.after) {
            (_, Some(after)) => match reader(after).person()? {
                Some(person) if person.presence == Presence::Live => {
                    self.lookup.put(person.id, person.key.uuid);
                }
                Some(person) => self.lookup.leave(person.id, person.presence),
                None => {}
            },
            (Some(before), None) => {
                if let Some(id) = reader(before).id()? {
                    self.lookup.leave(id, Presence::Deleted);
                }
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Clears the person cache, because the state of its persons is unknown.
    pub(super) fn forget_all(&mut self) {
        self.lookup.forget_all();
    }

    /// Discards the counts of a transaction that has ended.
    pub(super) fn end_transaction(&mut self) {
        self.versions.end_transaction();
    }

    pub(super) async fn send(
        &self,
        message: &Outgoing,
        receipt: &Arc<DeliveryHandle>,
    ) -> Result<(), DeliveryError> {
        let topic = match message.kind {
            TableKind::Person => &self.persons.topic,
            TableKind::DistinctId => &self.persons.distinct_id_topic,
        };
        self.producer.send(topic, message.key.as_bytes(), &message.payload, receipt).await
    }
}

fn warn_uncounted(change: &RowChange, table: &Table, known_by: &[Key]) {
    let row = known_by.first().map(Key::for_logs).unwrap_or_default();
    tracing::warn!(
        table = %table.name,
        row,
        commit = %change.commit,
        "transaction changes a row more often than versions count: the row is read from the table"
    );
}
