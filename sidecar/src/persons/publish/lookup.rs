//! Bulk lookup of data that PostgreSQL does not send with changes.
//!
//! These are unchanged TOASTed values and the uuids of persons.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use minijinja::context;
use tokio::time::sleep;
use uuid::Uuid;

use crate::config::Postgres;

use super::change::{PersonIds, RowChange};
use super::person_cache::PersonCache;
use crate::persons::postgres::pgoutput::Cell;
use crate::persons::postgres::row::{DistinctId, DistinctIdKey, Key, PersonKey, Presence, RowReader};
use crate::persons::postgres::session::{LOOKUP_TIMEOUT, PostgresError, Session, literal, quoted, text};
use crate::persons::postgres::slot::qualified;
use crate::persons::postgres::table::{Table, TableKind, distinct_id, person};
use crate::persons::requirements::Guarantees;

/// What a lookup asks for.
const LOOKUP: &str = "return rows by their keys";
/// Interval between two checks whether a transaction is visible.
const VISIBILITY_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Maximum length of a chain of merges. `sql/audit/postgres_distinct_id.sql` has the same number.
pub(crate) const MAX_MERGES: u32 = 16;

/// The uuid of a person after merges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolved {
    pub(crate) uuid: Uuid,
    /// Whether it is the person's uuid, not the uuid of the person that it was merged into.
    is_own: bool,
}

/// A session for lookups, and the known persons.
pub(crate) struct Lookup {
    pub(crate) session: Session,
    pub(crate) tables: [Table; 2],
    pub(crate) guarantees: Guarantees,
    pub(crate) known: PersonCache,
    /// Persons that this batch needs, without a size limit.
    batch: HashMap<i64, Option<Uuid>>,
}

impl Lookup {
    /// Creates a lookup with an empty cache.
    pub(crate) fn new(session: Session, config: &Postgres, guarantees: Guarantees) -> Self {
        let known = PersonCache::new(config.cached_persons as usize);
        let (tables, batch) = (Table::both(config), HashMap::new());
        Self { session, tables, guarantees, known, batch }
    }

    /// Whether no two rows of a table have the same key.
    pub(crate) fn is_unique(&self, kind: TableKind) -> bool {
        self.guarantees.unique[kind as usize]
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Clears the cache, because the state of its persons is unknown.
    pub(crate) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// Removes a person that was read from the table before the stream reached it.
    pub(crate) fn forget(&mut self, id: i64) {
        self.known.remove(id);
    }

    pub(crate) fn table(&self, kind: TableKind) -> &Table {
        let [persons, distinct_ids] = &self.tables;
        match kind {
            TableKind::Person => persons,
            TableKind::DistinctId => distinct_ids,
        }
    }

    /// Reads the values that the changes lack. A row that was deleted since is left out, because
    /// its deletion arrives later in the stream. `seen` is whether the transactions of the changes
    /// are known to be visible to this session.
    pub(crate) async fn fill(&mut self, changes: &mut [RowChange], seen: &mut bool) -> anyhow::Result<()> {
        self.batch.clear();
        for kind in [TableKind::Person, TableKind::DistinctId] {
            self.unchanged(kind, changes, seen).await?;
        }
        self.persons(changes, seen).await
    }

    /// Reads values that were not sent. A value may be newer than the change. In that case a later
    /// change has it too.
    async fn unchanged(
        &self,
        kind: TableKind,
        changes: &mut [RowChange],
        seen: &mut bool,
    ) -> anyhow::Result<()> {
        let table = self.table(kind);
        let lacking = |change: &RowChange| {
            let row = change.after.as_ref().filter(|_| change.kind == kind)?;
            row.contains(&Cell::Unchanged).then(|| RowReader::new(table, row).id().transpose())?
        };
        let ids: BTreeSet<i64> = changes.iter().filter_map(lacking).collect::<Result<_, _>>()?;
        if ids.is_empty() {
            return Ok(());
        }
        self.see(changes, seen).await?;
        let rows = self.rows_by(table, table.column(person::ID), &ids).await?;
        let mut found = HashMap::new();
        for row in rows {
            found.extend(RowReader::new(table, &row).id()?.map(|id| (id, row)));
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

    /// Looks up persons of distinct ids that are neither cached nor earlier in these changes. With
    /// a deferred foreign key a distinct id can precede its person.
    async fn persons(&mut self, changes: &[RowChange], seen: &mut bool) -> anyhow::Result<()> {
        let (mut wanted, mut come) = (BTreeSet::new(), HashSet::new());
        for change in changes {
            let Some(row) = &change.after else { continue };
            let reader = RowReader::new(&self.tables[change.kind as usize], row);
            match change.kind {
                TableKind::Person => {
                    let live = reader.person()?.filter(|person| person.presence == Presence::Live);
                    come.extend(live.map(|person| person.id));
                }
                TableKind::DistinctId => {
                    let Some(DistinctId { person_id: Some(person_id), .. }) = reader.distinct_id()? else {
                        continue;
                    };
                    if come.contains(&person_id) {
                        continue;
                    }
                    match self.known.get(person_id) {
                        // Other persons of this batch may evict it before it is used.
                        Some(uuid) => _ = self.batch.insert(person_id, Some(uuid)),
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
        for (id, Resolved { uuid, is_own }) in uuids {
            match is_own && !self.table(TableKind::Person).is_soft() {
                true => self.put(id, uuid),
                // The target of a merge may be merged too. And where deleted rows remain, the cache
                // must hold only persons that passed the stream: otherwise a revival that was read
                // early would be missed.
                false => _ = self.batch.insert(id, Some(uuid)),
            }
        }
        Ok(())
    }

    /// Reads rows in their current state, once the changes are visible.
    pub(crate) async fn now(
        &self,
        kind: TableKind,
        keys: &[Key],
        changes: &[RowChange],
    ) -> anyhow::Result<Vec<Vec<Cell>>> {
        self.see(changes, &mut false).await?;
        Ok(rows_by_key(&self.session, self.table(kind), keys).await?)
    }

    /// Waits until the changes are visible to queries.
    pub(crate) async fn see(&self, changes: &[RowChange], seen: &mut bool) -> anyhow::Result<()> {
        const TASK: &str = "report whether a transaction is visible";
        if *seen {
            return Ok(());
        }
        let transactions: BTreeSet<u32> = changes.iter().filter_map(|change| change.transaction).collect();
        let transactions = transactions.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        loop {
            let values = context! { transactions => &transactions };
            let [visible] = self.session.row(TASK, "postgres/seen.sql", values).await?;
            if visible == "t" {
                break;
            }
            sleep(VISIBILITY_POLL_INTERVAL).await;
        }
        *seen = true;
        Ok(())
    }

    pub(crate) async fn rows_by(
        &self,
        table: &Table,
        column: &str,
        ids: &BTreeSet<i64>,
    ) -> Result<Vec<Vec<Cell>>, PostgresError> {
        rows_by(&self.session, table, column, ids).await
    }

    /// Returns the current uuids of persons, after merges.
    pub(crate) async fn uuids(&self, ids: &BTreeSet<i64>) -> anyhow::Result<HashMap<i64, Resolved>> {
        let table = self.table(TableKind::Person);
        let mut resolved = HashMap::new();
        // Persons that are merged into each key, as far as it is resolved.
        let mut pending: BTreeMap<i64, Vec<i64>> = ids.iter().map(|id| (*id, vec![*id])).collect();
        for merges in 0..=MAX_MERGES {
            let asked: BTreeSet<i64> = pending.keys().copied().collect();
            let mut next: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for row in self.rows_by(table, table.column(person::ID), &asked).await? {
                let Some(person) = RowReader::new(table, &row).person()? else { continue };
                let merged = pending.remove(&person.id).unwrap_or_default();
                match person.presence {
                    Presence::Live => {
                        let found = Resolved { uuid: person.key.uuid, is_own: merges == 0 };
                        resolved.extend(merged.into_iter().map(|id| (id, found)));
                    }
                    Presence::MergedInto(into) => next.entry(into).or_default().extend(merged),
                    Presence::Deleted => {}
                }
            }
            if next.is_empty() {
                break;
            }
            pending = next;
        }
        Ok(resolved)
    }
}

impl PersonIds for Lookup {
    fn get(&mut self, id: i64) -> Option<Uuid> {
        match self.batch.get(&id) {
            Some(known) => *known,
            None => self.known.get(id),
        }
    }

    fn put(&mut self, id: i64, uuid: Uuid) {
        self.known.put(id, uuid);
        self.batch.insert(id, Some(uuid));
    }

    fn leave(&mut self, id: i64, presence: Presence) {
        self.known.remove(id);
        match presence {
            // The target of the merge was looked up for this batch if it is needed.
            Presence::MergedInto(_) => {}
            Presence::Live | Presence::Deleted => _ = self.batch.insert(id, None),
        }
    }
}

/// Reads the rows that have one of these integers in a column.
pub(crate) async fn rows_by(
    session: &Session,
    table: &Table,
    column: &str,
    ids: &BTreeSet<i64>,
) -> Result<Vec<Vec<Cell>>, PostgresError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let values = context! {
        columns => source_columns(table),
        table => qualified(&table.name),
        column => quoted(column),
        ids => ids.iter().map(i64::to_string).collect::<Vec<_>>().join(","),
    };
    let rows = session.rows_within(LOOKUP_TIMEOUT, LOOKUP, "postgres/rows.sql", values).await?;
    answered(rows, ids).map_err(|found| session.odd(LOOKUP, found))
}

/// Returns the rows that exist, without their last column, which says what they answer.
///
/// # Errors
/// Fails with a description unless everything that was asked for is answered. Without this, rows
/// that are lost on their way would be taken for deleted ones.
fn answered(rows: Vec<Vec<Cell>>, asked: &BTreeSet<i64>) -> Result<Vec<Vec<Cell>>, String> {
    let mut open = asked.clone();
    let mut found = Vec::with_capacity(rows.len());
    for mut row in rows {
        let number = row.pop().and_then(|number| text(&number).parse::<i64>().ok());
        let Some(number) = number.filter(|number| asked.contains(number)) else {
            return Err("a row that was not asked for".to_owned());
        };
        open.remove(&number);
        // The primary key.
        if row.first().is_some_and(|id| *id != Cell::Null) {
            found.push(row);
        }
    }
    match open.len() {
        0 => Ok(found),
        missing => Err(format!("nothing for {missing} of {} keys", asked.len())),
    }
}

/// The columns that are read, as an SQL list.
pub(crate) fn columns(table: &Table) -> String {
    table.columns().map(quoted).collect::<Vec<_>>().join(", ")
}

/// The same for a table that is joined as `source`.
fn source_columns(table: &Table) -> String {
    table.columns().map(|name| format!("source.{}", quoted(name))).collect::<Vec<_>>().join(", ")
}

/// Reads rows by their keys in ClickHouse, in any order. A key that the database's encoding can't
/// represent has no row. The keys are split in halves until the key is isolated.
pub(crate) async fn rows_by_key(
    session: &Session,
    table: &Table,
    keys: &[Key],
) -> Result<Vec<Vec<Cell>>, PostgresError> {
    let (mut rows, mut open) = (Vec::new(), vec![keys]);
    while let Some(keys) = open.pop() {
        if keys.is_empty() {
            continue;
        }
        match translatable_rows(session, table, keys).await {
            Ok(found) => rows.extend(found),
            Err(error) if error.is_untranslatable() => {
                let (left, right) = keys.split_at(keys.len() / 2);
                open.extend(
                    [left, right].into_iter().filter(|half| !half.is_empty() && half.len() < keys.len()),
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(rows)
}

async fn translatable_rows(
    session: &Session,
    table: &Table,
    keys: &[Key],
) -> Result<Vec<Vec<Cell>>, PostgresError> {
    let (team, key, key_type) = match table.kind {
        TableKind::Person => (person::TEAM, person::UUID, "uuid"),
        TableKind::DistinctId => (distinct_id::TEAM, distinct_id::DISTINCT_ID, "text"),
    };
    let numbers = (1..).take(keys.len()).collect();
    let (team_ids, keys): (Vec<String>, Vec<String>) = keys
        .iter()
        .map(|key| match key {
            Key::Person(PersonKey { team_id, uuid }) => (team_id.to_string(), literal(&uuid.to_string())),
            Key::DistinctId(DistinctIdKey { team_id, distinct_id }) => {
                (team_id.to_string(), literal(distinct_id))
            }
        })
        .unzip();
    let values = context! {
        columns => source_columns(table),
        table => qualified(&table.name),
        team_id => quoted(table.column(team)),
        key => quoted(table.column(key)),
        type => key_type,
        team_ids => team_ids.join(","),
        keys => keys.join(","),
    };
    let rows = session.rows_within(LOOKUP_TIMEOUT, LOOKUP, "postgres/by_key.sql", values).await?;
    answered(rows, &numbers).map_err(|found| session.odd(LOOKUP, found))
}

fn complete(after: &mut Option<Vec<Cell>>, row: &[Cell]) {
    for (cell, found) in after.iter_mut().flatten().zip(row) {
        if *cell == Cell::Unchanged {
            *cell = found.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_an_answer_is_an_error_and_no_missing_row() {
        let cell = |text: &'static str| match text {
            "" => Cell::Null,
            text => Cell::Text(bytes::Bytes::from_static(text.as_bytes())),
        };
        let row = |id, number| vec![cell(id), cell("x"), cell(number)];
        let asked = BTreeSet::from([1, 2]);
        let rows = vec![row("7", "1"), row("8", "1"), row("", "2")];
        let found = answered(rows.clone(), &asked).expect("an answer for each");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|row| row.len() == 2));
        let error = answered(rows[..2].to_vec(), &asked).expect_err("no answer for 2");
        assert_eq!(error, "nothing for 1 of 2 keys");
        for odd in [row("7", "3"), row("7", ""), row("7", "a"), Vec::new()] {
            assert!(answered(vec![odd], &asked).is_err());
        }
    }
}
