//! What PostgreSQL does not send with a change, and is asked for in bulk: values that are stored apart and have not changed, and
//! the uuids of persons.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use minijinja::context;
use tokio::time::sleep;
use uuid::Uuid;

use crate::config::Postgres;

use super::change::{Change, Persons};
use super::pgoutput::Cell;
use super::postgres::{PostgresError, Session, quoted};
use super::row::{DistinctId, Reader, ValueError};
use super::slot::qualified;
use super::table::{Kind, Table, distinct_id, person};

/// Between two looks whether a transaction can be seen.
const SEEN_AGAIN: Duration = Duration::from_millis(10);

/// Why a lookup failed.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// PostgreSQL did not answer as it should.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// It has something that posthouse can't read.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// The session that is asked, and the persons that are known.
pub(super) struct Lookup {
    session: Session,
    tables: [Table; 2],
    known: LruCache<i64, Uuid>,
    /// Those that this batch needs, however many they are.
    batch: HashMap<i64, Option<Uuid>>,
}

impl Lookup {
    /// Begins with no person known.
    pub(super) fn new(session: Session, config: &Postgres) -> Self {
        let most = NonZeroUsize::new(config.cached_persons as usize).unwrap_or(NonZeroUsize::MIN);
        Self { session, tables: Table::both(config), known: LruCache::new(most), batch: HashMap::new() }
    }

    /// The session itself.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The table of a kind.
    pub(super) fn table(&self, kind: Kind) -> &Table {
        let [persons, distinct_ids] = &self.tables;
        match kind {
            Kind::Person => persons,
            Kind::DistinctId => distinct_ids,
        }
    }

    /// Fills in what the changes lack. A row that is gone meanwhile is left out: its deletion comes later in the stream.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub(super) async fn fill(&mut self, changes: &mut Vec<Change>) -> Result<(), LookupError> {
        self.batch.clear();
        let mut seen = false;
        self.follow_uuids(changes, &mut seen).await?;
        for kind in [Kind::Person, Kind::DistinctId] {
            self.unchanged(kind, changes, &mut seen).await?;
        }
        self.persons(changes, &mut seen).await
    }

    /// Values that were not sent. What is read may be newer than the change: then another change comes that has it too.
    async fn unchanged(
        &self,
        kind: Kind,
        changes: &mut [Change],
        seen: &mut bool,
    ) -> Result<(), LookupError> {
        let table = self.table(kind);
        let lacking = |change: &Change| {
            let row = change.after.as_ref().filter(|_| change.kind == kind)?;
            row.contains(&Cell::Unchanged).then(|| Reader::new(table, row).id().transpose())?
        };
        let ids: BTreeSet<i64> = changes.iter().filter_map(lacking).collect::<Result<_, _>>()?;
        if ids.is_empty() {
            return Ok(());
        }
        self.see(changes, seen).await?;
        let rows = self.rows_by(table, table.column(person::ID), &ids).await?;
        let mut found = HashMap::new();
        for row in rows {
            found.extend(Reader::new(table, &row).id()?.map(|id| (id, row)));
        }
        for change in changes {
            let Some(id) = lacking(change).transpose()? else { continue };
            match found.get(&id) {
                Some(row) => complete(&mut change.after, row),
                None => change.after = None,
            }
        }
        Ok(())
    }

    /// Persons of distinct ids that are neither known nor come earlier in these changes. With a deferred foreign key a distinct
    /// id may come before its person.
    async fn persons(&mut self, changes: &[Change], seen: &mut bool) -> Result<(), LookupError> {
        let (mut wanted, mut come) = (BTreeSet::new(), HashSet::new());
        for change in changes {
            let Some(row) = &change.after else { continue };
            let reader = Reader::new(&self.tables[change.kind as usize], row);
            match change.kind {
                Kind::Person => come.extend(reader.id()?),
                Kind::DistinctId => {
                    let Some(DistinctId { person_id, .. }) = reader.distinct_id()? else { continue };
                    if come.contains(&person_id) {
                        continue;
                    }
                    match self.known.get(&person_id) {
                        // Others of this batch may push it out before it is asked for.
                        Some(uuid) => _ = self.batch.insert(person_id, Some(*uuid)),
                        None => _ = wanted.insert(person_id),
                    }
                }
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.see(changes, seen).await?;
        let table = self.table(Kind::Person);
        let rows = self.rows_by(table, table.column(person::ID), &wanted).await?;
        self.batch.extend(wanted.into_iter().map(|id| (id, None)));
        for row in rows {
            if let Some(person) = Reader::new(self.table(Kind::Person), &row).person()? {
                self.put(person.id, person.key.uuid);
            }
        }
        Ok(())
    }

    /// Waits until queries see what the changes have done.
    async fn see(&self, changes: &[Change], seen: &mut bool) -> Result<(), LookupError> {
        const TASK: &str = "tell whether a transaction can be seen";
        if *seen {
            return Ok(());
        }
        let transactions: BTreeSet<u32> = changes.iter().filter_map(|change| change.transaction).collect();
        for transaction in transactions {
            loop {
                let [visible] = self.session.row(TASK, "postgres/seen.sql", context! { transaction }).await?;
                if visible == "t" {
                    break;
                }
                sleep(SEEN_AGAIN).await;
            }
        }
        *seen = true;
        Ok(())
    }

    async fn rows_by(
        &self,
        table: &Table,
        column: &str,
        ids: &BTreeSet<i64>,
    ) -> Result<Vec<Vec<Cell>>, PostgresError> {
        let values = context! {
            columns => columns(table),
            table => qualified(&table.name),
            column => quoted(column),
            ids => ids.iter().map(i64::to_string).collect::<Vec<_>>().join(","),
        };
        self.session.rows("give rows by their keys", "postgres/rows.sql", values).await
    }

    /// A person that is known by another uuid from here on takes its distinct ids with it, whose rows do not change.
    async fn follow_uuids(&self, changes: &mut Vec<Change>, seen: &mut bool) -> Result<(), LookupError> {
        let mut at = 0;
        while let Some(change) = changes.get(at) {
            at += 1;
            let (Kind::Person, Some(before), Some(row)) = (change.kind, &change.before, &change.after) else {
                continue;
            };
            let (before, after) =
                (Reader::new(self.table(change.kind), before), Reader::new(self.table(change.kind), row));
            // With REPLICA IDENTITY FULL every update tells the row before.
            if before.person_key()? == after.person_key()? {
                continue;
            }
            let Some(id) = after.id()? else { continue };
            let (commit, transaction) = (change.commit, change.transaction);
            self.see(changes, seen).await?;
            let table = self.table(Kind::DistinctId);
            let rows = self.rows_by(table, table.column(distinct_id::PERSON), &BTreeSet::from([id])).await?;
            let followers = rows.into_iter().map(|row| Change {
                commit,
                transaction,
                kind: Kind::DistinctId,
                before: None,
                after: Some(row),
            });
            changes.splice(at..at, followers);
        }
        Ok(())
    }
}

impl Persons for Lookup {
    fn get(&mut self, id: i64) -> Option<Uuid> {
        match self.batch.get(&id) {
            Some(known) => *known,
            None => self.known.get(&id).copied(),
        }
    }

    fn put(&mut self, id: i64, uuid: Uuid) {
        self.known.put(id, uuid);
        self.batch.insert(id, Some(uuid));
    }
}

/// The columns that are read, as SQL lists them.
pub(super) fn columns(table: &Table) -> String {
    table.columns().map(quoted).collect::<Vec<_>>().join(", ")
}

fn complete(after: &mut Option<Vec<Cell>>, row: &[Cell]) {
    for (cell, found) in after.iter_mut().flatten().zip(row) {
        if *cell == Cell::Unchanged {
            *cell = found.clone();
        }
    }
}
