//! From changes of rows to messages: a pure decision once everything that PostgreSQL did not send has been looked up.

use std::hash::Hash;

use pgwire_replication::Lsn;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3Builder;

use super::message::Outgoing;
use super::pgoutput::Cell;
use super::row::{Reader, ValueError};
use super::table::{Kind, Table};
use super::version::{Transaction, VersionError};

/// A change of one row, with the values that posthouse reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Where its transaction was committed.
    pub commit: Lsn,
    /// The lower half of its transaction's number; absent for a row that was read, and so can be seen.
    pub transaction: Option<u32>,
    /// Of which table.
    pub kind: Kind,
    /// What the row was known by, where that is told: by every deletion, and by updates that change it.
    pub before: Option<Vec<Cell>>,
    /// The row; absent if it was deleted.
    pub after: Option<Vec<Cell>>,
}

/// Why a change is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A value is not what it must be.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// It has no version.
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// What gives changes their versions.
#[derive(Debug)]
pub(super) enum Versions {
    /// The WAL, with what is added.
    Wal {
        /// See `version_base` in the config.
        base: u64,
        /// The transaction of the last change.
        transaction: Option<Transaction>,
    },
    /// The application. A deletion counts as its row's next change.
    Column,
    /// The same for all rows of a copy.
    Copy(u64),
}

impl Versions {
    fn next(&mut self, change: &Change, reader: &Reader<'_>, key: &impl Hash) -> Result<u64, ChangeError> {
        match self {
            Self::Column => Ok(reader.version()?.saturating_add(u64::from(change.after.is_none()))),
            Self::Copy(version) => Ok(*version),
            Self::Wal { base, transaction } => {
                let current = match transaction {
                    Some(current) if current.commit() == change.commit => current,
                    _ => transaction.insert(Transaction::begin(change.commit, *base)?),
                };
                let hasher = Xxh3Builder::new();
                Ok(current.next(std::hash::BuildHasher::hash_one(&hasher, (change.kind as u8, key)))?)
            }
        }
    }
}

/// The messages of a change. `person_of` tells a person's uuid by its id, and is told those that pass.
///
/// # Errors
/// See [`ChangeError`].
pub(super) fn messages(
    change: &Change,
    table: &Table,
    versions: &mut Versions,
    person_of: &mut impl Persons,
) -> Result<Vec<Outgoing>, ChangeError> {
    match change.kind {
        Kind::Person => persons(change, table, versions, person_of),
        Kind::DistinctId => distinct_ids(change, table, versions, person_of),
    }
}

/// Persons by their id.
pub(super) trait Persons {
    /// The uuid; nothing if there is no such person any more.
    fn get(&mut self, id: i64) -> Option<Uuid>;
    /// A person has this uuid from here on.
    fn put(&mut self, id: i64, uuid: Uuid);
}

fn persons(
    change: &Change,
    table: &Table,
    versions: &mut Versions,
    known: &mut impl Persons,
) -> Result<Vec<Outgoing>, ChangeError> {
    let mut messages = Vec::with_capacity(1);
    let after = change.after.as_deref().map(|cells| Reader::new(table, cells));
    let person = after.as_ref().map(Reader::person).transpose()?.flatten();
    if let Some(before) = change.before.as_deref().map(|cells| Reader::new(table, cells)) {
        let key = before.person_key()?.filter(|key| person.as_ref().is_none_or(|person| person.key != *key));
        if let Some(key) = key {
            messages.push(Outgoing::no_person(key, versions.next(change, &before, &key)?));
        }
    }
    if let (Some(person), Some(reader)) = (person, after) {
        known.put(person.id, person.key.uuid);
        messages.push(Outgoing::person(&person, versions.next(change, &reader, &person.key)?));
    }
    Ok(messages)
}

fn distinct_ids(
    change: &Change,
    table: &Table,
    versions: &mut Versions,
    known: &mut impl Persons,
) -> Result<Vec<Outgoing>, ChangeError> {
    let mut messages = Vec::with_capacity(1);
    let after = change.after.as_deref().map(|cells| Reader::new(table, cells));
    let row = after.as_ref().map(Reader::distinct_id).transpose()?.flatten();
    if let Some(before) = change.before.as_deref().map(|cells| Reader::new(table, cells)) {
        let key = before.distinct_id_key()?.filter(|key| row.as_ref().is_none_or(|row| row.key != *key));
        if let Some(key) = key {
            messages.push(Outgoing::distinct_id(&key, None, versions.next(change, &before, &key)?));
        }
    }
    if let (Some(row), Some(reader)) = (row, after) {
        let version = versions.next(change, &reader, &row.key)?;
        // A person that is gone has lost its distinct ids too, which comes later in the stream: until then it is nobody's.
        messages.push(Outgoing::distinct_id(&row.key, known.get(row.person_id), version));
    }
    Ok(messages)
}
