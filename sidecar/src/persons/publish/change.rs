//! Conversion of row changes to messages.
//!
//! The conversion is pure: everything that PostgreSQL did not send has been looked up before.

use std::hash::BuildHasher;

use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3Builder;

use super::message::{MappingHistory, Outgoing};
use super::version::{Transaction, of_dependents};
use crate::persons::postgres::lsn::Lsn;
use crate::persons::postgres::pgoutput::Cell;
use crate::persons::postgres::row::{Key, Presence, RowReader, ValueError};
use crate::persons::postgres::table::{Table, TableKind, distinct_id, person};

/// A change of one row, with the columns that posthouse reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowChange {
    /// The commit position of its transaction.
    pub(crate) commit: Lsn,
    /// The lower half of its transaction's number; absent for a row that was read and is therefore
    /// visible.
    pub(crate) transaction: Option<u32>,
    pub(crate) kind: TableKind,
    pub(crate) history: MappingHistory,
    /// The old row or its replica identity columns. Sent with every deletion, and with updates that
    /// change them.
    pub(crate) before: Option<Vec<Cell>>,
    /// The new row; absent if it was deleted.
    pub(crate) after: Option<Vec<Cell>>,
}

/// The source of versions.
#[derive(Debug)]
pub(crate) enum Versions {
    /// Versions from the WAL, plus an offset.
    Wal {
        /// See `version_base` in the config.
        base: u64,
        /// The transaction of the last change.
        transaction: Option<Transaction>,
    },
    /// Versions from a column that the application writes. A deletion counts as the row's next
    /// change.
    Column,
    /// One version for all rows of a snapshot.
    Copy(u64),
}

impl Versions {
    /// Returns the version of a change as it is in the WAL, before any lookup. Must be called for
    /// every change of a transaction, in order. `None` for a row that its transaction has changed
    /// too often.
    pub(crate) fn next(&mut self, change: &RowChange, table: &Table) -> anyhow::Result<Option<u64>> {
        match self {
            Self::Copy(version) => Ok(Some(*version)),
            Self::Column => {
                let cells = change.after.as_deref().or(change.before.as_deref()).unwrap_or_default();
                let version = RowReader::new(table, cells).version()?;
                Ok(Some(version.saturating_add(u64::from(change.after.is_none()))))
            }
            Self::Wal { base, transaction } => {
                let current = match transaction {
                    Some(current) if current.commit() == change.commit => current,
                    _ => transaction.insert(Transaction::begin(change.commit, *base)?),
                };
                Ok(current.next(&change.keys()))
            }
        }
    }

    /// Discards the counts of a transaction that has ended.
    pub(crate) fn end_transaction(&mut self) {
        if let Self::Wal { transaction, .. } = self {
            *transaction = None;
        }
    }

    /// Returns the version of a row that depends on a change of the transaction at `commit`.
    pub(crate) fn dependent(&self, commit: Lsn, row: &RowReader<'_>) -> anyhow::Result<u64> {
        match self {
            Self::Copy(version) => Ok(*version),
            Self::Column => Ok(row.version()?),
            Self::Wal { base, .. } => of_dependents(commit, *base),
        }
    }

    /// Returns the version of the deletion of a key that no row has after its last change.
    pub(crate) fn deletion(&self, last: &LastChange) -> anyhow::Result<u64> {
        match self {
            Self::Copy(version) => Ok(*version),
            Self::Column => Ok(last.version.unwrap_or_default()),
            Self::Wal { base, .. } => of_dependents(last.commit, *base),
        }
    }
}

/// The last change of a key whose row is read from the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastChange {
    /// The commit position of its transaction.
    pub(crate) commit: Lsn,
    /// Absent for a row that its transaction has changed too often.
    pub(crate) version: Option<u64>,
}

impl RowChange {
    /// A row that was read from the table, because it changed.
    pub(crate) fn read(kind: TableKind, row: Vec<Cell>) -> Self {
        let (commit, transaction) = (Lsn::from_u64(0), None);
        Self { commit, transaction, kind, history: MappingHistory::Changed, before: None, after: Some(row) }
    }

    /// A row of a snapshot.
    pub(crate) fn copied(kind: TableKind, row: Vec<Cell>) -> Self {
        Self { history: MappingHistory::Copied, ..Self::read(kind, row) }
    }

    /// Whether the row's key in ClickHouse changes or disappears with this change.
    ///
    /// # Errors
    /// [`ValueError`] if a value is invalid.
    pub(crate) fn loses_key(&self, table: &Table) -> Result<bool, ValueError> {
        let key = |cells: &Option<Vec<Cell>>| {
            cells.as_deref().map(|cells| RowReader::new(table, cells).key()).transpose().map(Option::flatten)
        };
        let was = key(&self.before)?;
        Ok(was.is_some() && was != key(&self.after)?)
    }

    /// Returns the row's keys in ClickHouse, before and after.
    ///
    /// # Errors
    /// [`ValueError`] if a value is invalid.
    pub(crate) fn known_by(&self, table: &Table) -> Result<Vec<Key>, ValueError> {
        let rows = [&self.before, &self.after].into_iter().flatten();
        let keys = rows.map(|cells| RowReader::new(table, cells).key());
        Ok(keys.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Hashes of the row's old and new key.
    fn keys(&self) -> Vec<u64> {
        let places = match self.kind {
            TableKind::Person => [person::TEAM, person::UUID],
            TableKind::DistinctId => [distinct_id::TEAM, distinct_id::DISTINCT_ID],
        };
        let hash = |row: &Vec<Cell>| {
            let key = places.map(|place| match (row.get(place), &self.before) {
                // A TOASTed key is sent with the old row (`id_has_external` in PostgreSQL's
                // heapam.c).
                (Some(Cell::Unchanged), Some(before)) => before.get(place),
                (cell, _) => cell,
            });
            Xxh3Builder::new().hash_one((self.kind, key))
        };
        [&self.before, &self.after].into_iter().flatten().map(hash).collect()
    }
}

/// Returns the messages of a change. `persons` resolves a person's uuid by its id, and is updated
/// with each person that passes.
///
/// # Errors
/// [`ValueError`] if a value is invalid.
pub(crate) fn messages(
    change: &RowChange,
    table: &Table,
    version: u64,
    persons: &mut impl PersonIds,
) -> Result<Vec<Outgoing>, ValueError> {
    let reader = |cells| RowReader::new(table, cells);
    let before = change.before.as_deref().map(reader);
    let after = change.after.as_deref().map(reader);
    let was = before.as_ref().map(RowReader::key).transpose()?.flatten();
    let is = after.as_ref().map(RowReader::key).transpose()?.flatten();
    let mut messages = Vec::with_capacity(1);
    if let Some(gone) = was.filter(|was| is.as_ref() != Some(was)) {
        messages.push(Outgoing::gone(&gone, version));
    }
    let Some(after) = after else {
        if let (TableKind::Person, Some(id)) =
            (change.kind, before.as_ref().map(RowReader::id).transpose()?.flatten())
        {
            persons.leave(id, Presence::Deleted);
        }
        return Ok(messages);
    };
    match change.kind {
        TableKind::Person => {
            if let Some(person) = after.person()? {
                if person.presence == Presence::Live {
                    persons.put(person.id, person.key.uuid);
                    messages.push(Outgoing::person(&person, version));
                } else {
                    persons.leave(person.id, person.presence);
                    messages.push(Outgoing::gone(&Key::Person(person.key), version));
                }
            }
        }
        TableKind::DistinctId => {
            if let Some(row) = after.distinct_id()? {
                // A missing person has lost its distinct ids too, later in the stream. Until then
                // the distinct id has no person.
                let person = row.person_id.and_then(|id| persons.get(id)).filter(|_| !row.is_deleted);
                let history = if row.has_changed { MappingHistory::Changed } else { change.history };
                messages.push(Outgoing::distinct_id(&row.key, person, version, history));
            }
        }
    }
    Ok(messages)
}

/// Persons by their id.
pub(crate) trait PersonIds {
    /// The uuid; `None` if the person no longer exists.
    fn get(&mut self, id: i64) -> Option<Uuid>;
    /// Records that the person has this uuid from here on.
    fn put(&mut self, id: i64, uuid: Uuid);
    /// Records that the person is deleted or merged from here on.
    fn leave(&mut self, id: i64, presence: Presence);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::persons::postgres::table::tests::tables;

    const ANNA: &str = "0190d5a0-0000-7000-8000-00000000000a";
    const BERT: &str = "0190d5a0-0000-7000-8000-00000000000b";

    impl PersonIds for HashMap<i64, Uuid> {
        fn get(&mut self, id: i64) -> Option<Uuid> {
            HashMap::get(self, &id).copied()
        }

        fn put(&mut self, id: i64, uuid: Uuid) {
            self.insert(id, uuid);
        }

        fn leave(&mut self, id: i64, _: Presence) {
            self.remove(&id);
        }
    }

    fn cells(values: &[&str]) -> Vec<Cell> {
        let cell = |value: &&str| match *value {
            "NULL" => Cell::Null,
            text => Cell::Text(Bytes::copy_from_slice(text.as_bytes())),
        };
        values.iter().map(cell).collect()
    }

    fn anna(properties: &str) -> Vec<Cell> {
        cells(&["7", "2", ANNA, "t", "2026-11-01 10:42:06.502+00", properties])
    }

    fn change(
        kind: TableKind,
        commit: u64,
        before: Option<Vec<Cell>>,
        after: Option<Vec<Cell>>,
    ) -> RowChange {
        let history = if before.is_none() { MappingHistory::New } else { MappingHistory::Changed };
        RowChange { commit: Lsn::from_u64(commit), transaction: Some(1), kind, history, before, after }
    }

    /// The messages of changes in order, without their versions, and the versions.
    fn published(changes: &[RowChange], known: &mut HashMap<i64, Uuid>) -> (Vec<Value>, Vec<u64>) {
        let [persons, distinct_ids] = tables();
        let mut versions = Versions::Wal { base: 0, transaction: None };
        let mut all = (Vec::new(), Vec::new());
        for change in changes {
            let table = if change.kind == TableKind::Person { &persons } else { &distinct_ids };
            let version = versions.next(change, table).expect("a version").expect("not too often");
            for message in messages(change, table, version, known).expect("messages") {
                let mut value: Value = serde_json::from_slice(&message.payload).expect("JSON");
                let version = value.as_object_mut().and_then(|fields| fields.remove("version"));
                all.1.push(version.and_then(|version| version.as_u64()).expect("a version"));
                all.0.push(value);
            }
        }
        all
    }

    #[test]
    fn a_person_that_is_deleted_and_made_again_has_growing_versions() {
        let deleted = cells(&["7", "2", ANNA, "NULL", "NULL", "NULL"]);
        let (messages, versions) = published(
            &[
                change(TableKind::Person, 800, None, Some(anna("{\"a\": \"é\\n\"}"))),
                change(TableKind::Person, 800, Some(deleted), None),
                change(TableKind::Person, 800, None, Some(anna("{}"))),
                change(TableKind::Person, 808, None, Some(anna("{}"))),
            ],
            &mut HashMap::new(),
        );
        let live = |properties: &str| {
            json!({"id": ANNA, "team_id": 2, "created_at": "2026-11-01 10:42:06.502", "properties": properties,
                "is_identified": 1, "is_deleted": 0})
        };
        let gone = json!({"id": ANNA, "team_id": 2, "is_identified": 0, "is_deleted": 1});
        assert_eq!(messages, [live("{\"a\": \"é\\n\"}"), gone, live("{}"), live("{}")]);
        assert!(versions.is_sorted_by(|before, after| before < after), "{versions:?}");
    }

    #[test]
    fn a_row_that_gets_another_key_is_gone_under_the_old_one() {
        let before = cells(&["NULL", "2", BERT, "NULL", "NULL", "NULL"]);
        let (messages, _) =
            published(&[change(TableKind::Person, 8, Some(before), Some(anna("{}")))], &mut HashMap::new());
        let told: Vec<_> = messages.iter().map(|message| (&message["id"], &message["is_deleted"])).collect();
        assert_eq!(told, [(&json!(BERT), &json!(1)), (&json!(ANNA), &json!(0))]);
        // REPLICA IDENTITY FULL sends all values, and this must not cause a deletion.
        let (messages, _) = published(
            &[change(TableKind::Person, 8, Some(anna("{}")), Some(anna("{\"b\": 1}")))],
            &mut HashMap::new(),
        );
        assert_eq!(messages.len(), 1);
    }

    #[test]
    fn a_distinct_id_is_its_persons_or_nobodys() {
        let mapping = |person: &str| Some(cells(&["1", "2", "anna@home", person]));
        let mut known = HashMap::from([(8, BERT.parse().expect("a uuid"))]);
        let (messages, _) = published(
            &[
                change(TableKind::DistinctId, 8, None, mapping("8")),
                change(TableKind::DistinctId, 16, None, mapping("7")),
                change(TableKind::Person, 24, None, Some(anna("{}"))),
                change(TableKind::DistinctId, 32, None, mapping("7")),
            ],
            &mut known,
        );
        let whose: Vec<_> =
            messages.iter().map(|message| (&message["person_id"], &message["is_deleted"])).collect();
        assert_eq!(whose[0], (&json!(BERT), &json!(0)));
        assert_eq!(whose[1], (&json!(Uuid::nil()), &json!(1)));
        assert_eq!(whose[3], (&json!(ANNA), &json!(0)));
    }

    #[test]
    fn a_row_whose_key_is_stored_apart_is_known_by_it() {
        let row = |id: Cell| {
            let mut row = cells(&["1", "2", "a long one", "7"]);
            row[distinct_id::DISTINCT_ID] = id;
            row
        };
        let told = Cell::Text(Bytes::from_static(b"a long one"));
        let whole = change(TableKind::DistinctId, 8, None, Some(row(told.clone())));
        let apart = change(TableKind::DistinctId, 8, Some(row(told)), Some(row(Cell::Unchanged)));
        assert_eq!(apart.keys(), [whole.keys(), whole.keys()].concat());
        let person = RowChange { kind: TableKind::Person, ..whole.clone() };
        assert_ne!(person.keys(), whole.keys());
    }

    #[test]
    fn a_value_that_is_none_is_named() {
        let [persons, _] = tables();
        let row = cells(&["7", "2", "anna", "t", "NULL", "{}"]);
        let change = change(TableKind::Person, 8, None, Some(row));
        let error = messages(&change, &persons, 1, &mut HashMap::new()).expect_err("no uuid");
        let text = error.to_string();
        assert!(
            text.contains("column uuid of a row in public.posthog_person is a value of 4 bytes"),
            "{text}"
        );
        assert!(!text.contains("anna"), "{text}");
    }
}
