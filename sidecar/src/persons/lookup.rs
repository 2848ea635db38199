//! What PostgreSQL does not send with a change, and is asked for in bulk: values that are stored apart and have not changed, and
//! the uuids of persons.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use minijinja::context;
use pgwire_replication::Lsn;
use tokio::time::sleep;
use uuid::Uuid;

use crate::config::Postgres;

use super::change::{Change, Persons};
use super::pgoutput::Cell;
use super::postgres::{LOOKUP_TIMEOUT, PostgresError, Session, quoted};
use super::row::{DistinctId, DistinctIdKey, Reader, ValueError};
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

/// A distinct id whose person is known by another uuid after a transaction.
#[derive(Debug)]
pub(super) struct Follower {
    /// Where the transaction was committed.
    pub commit: Lsn,
    /// The row, as it was read.
    pub row: Vec<Cell>,
    /// What ClickHouse knows it by.
    pub key: DistinctIdKey,
    /// Its person.
    pub person: Uuid,
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

    /// Fills in what the changes lack, and tells which rows follow from them. A row that is gone meanwhile is left out: its
    /// deletion comes later in the stream.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub(super) async fn fill(&mut self, changes: &mut [Change]) -> Result<Vec<Follower>, LookupError> {
        self.batch.clear();
        let mut seen = false;
        for kind in [Kind::Person, Kind::DistinctId] {
            self.unchanged(kind, changes, &mut seen).await?;
        }
        self.persons(changes, &mut seen).await?;
        self.followers(changes, &mut seen).await
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
        let uuids = self.uuids(&wanted).await?;
        self.batch.extend(wanted.into_iter().map(|id| (id, None)));
        for (id, uuid) in uuids {
            self.put(id, uuid);
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
        self.session.rows_within(LOOKUP_TIMEOUT, "give rows by their keys", "postgres/rows.sql", values).await
    }

    /// Distinct ids of persons that are known by another uuid from here on: their rows do not change. They are read as they are
    /// now, which is at least as new as the changes.
    async fn followers(&self, changes: &[Change], seen: &mut bool) -> Result<Vec<Follower>, LookupError> {
        let mut renamed = HashMap::new();
        for change in changes.iter().filter(|change| change.kind == Kind::Person) {
            let (Some(before), Some(after)) = (&change.before, &change.after) else { continue };
            let reader = |cells| Reader::new(self.table(Kind::Person), cells);
            let (before, after) = (reader(before), reader(after));
            // With REPLICA IDENTITY FULL every update tells the row before.
            if before.key()? != after.key()? {
                renamed.extend(after.id()?.map(|id| (id, change.commit)));
            }
        }
        if renamed.is_empty() {
            return Ok(Vec::new());
        }
        self.see(changes, seen).await?;
        let ids = renamed.keys().copied().collect();
        let table = self.table(Kind::DistinctId);
        let rows = self.rows_by(table, table.column(distinct_id::PERSON), &ids).await?;
        let uuids = self.uuids(&ids).await?;
        let mut followers = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(DistinctId { key, person_id }) = Reader::new(table, &row).distinct_id()? else {
                continue;
            };
            // Without its person it is gone too, which comes later in the stream.
            if let (Some(commit), Some(person)) = (renamed.get(&person_id), uuids.get(&person_id)) {
                followers.push(Follower { commit: *commit, row, key, person: *person });
            }
        }
        Ok(followers)
    }

    /// The uuids of persons, as they are now.
    async fn uuids(&self, ids: &BTreeSet<i64>) -> Result<HashMap<i64, Uuid>, LookupError> {
        let table = self.table(Kind::Person);
        let mut uuids = HashMap::new();
        for row in self.rows_by(table, table.column(person::ID), ids).await? {
            uuids.extend(Reader::new(table, &row).person()?.map(|person| (person.id, person.key.uuid)));
        }
        Ok(uuids)
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
