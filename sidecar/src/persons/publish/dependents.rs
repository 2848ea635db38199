//! Distinct ids whose person's uuid changes, appears or disappears.
//!
//! Causes are a new uuid, an insert, a deletion or a merge of the person.

use std::collections::{BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::change::RowChange;
use super::lookup::{Lookup, MAX_MERGES};
use super::message::MappingHistory;
use crate::persons::postgres::lsn::Lsn;
use crate::persons::postgres::pgoutput::Cell;
use crate::persons::postgres::row::{DistinctId, DistinctIdKey, Key, Person, Presence, RowReader};
use crate::persons::postgres::table::{Table, TableKind, distinct_id};

/// A distinct id whose person has another uuid, or none, after a batch of changes.
#[derive(Debug)]
pub(crate) struct Dependent {
    /// The commit position of the batch's last transaction. The row was read after it, so it
    /// includes all changes of the batch, also those of its person after the first one.
    pub(crate) commit: Lsn,
    /// The row as it was read.
    pub(crate) row: Vec<Cell>,
    /// The row's key in ClickHouse.
    pub(crate) key: DistinctIdKey,
    /// Its person, if it exists.
    pub(crate) person: Option<Uuid>,
}

impl Lookup {
    /// Returns the distinct ids of persons whose uuid changes, because their rows do not change.
    /// They are read in their current state, which is at least as new as the changes.
    pub(crate) async fn dependents(
        &self,
        changes: &[RowChange],
        seen: &mut bool,
    ) -> anyhow::Result<Vec<Dependent>> {
        let mut renamed = self.renamed(changes)?;
        let Some(commit) = changes.iter().map(|change| change.commit).max().filter(|_| !renamed.is_empty())
        else {
            return Ok(Vec::new());
        };
        let mut published = HashSet::new();
        for change in changes.iter().filter(|change| change.kind == TableKind::DistinctId) {
            published.extend(change.known_by(self.table(TableKind::DistinctId))?);
        }
        self.see(changes, seen).await?;
        self.extend_by_merges(&mut renamed).await?;
        let ids = renamed.keys().copied().collect();
        let table = self.table(TableKind::DistinctId);
        let rows = self.rows_by(table, table.column(distinct_id::PERSON), &ids).await?;
        let uuids = self.uuids(&ids).await?;
        let mut dependents = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(DistinctId { key, person_id: Some(person_id), is_deleted, .. }) =
                RowReader::new(table, &row).distinct_id()?
            else {
                continue;
            };
            let person = uuids.get(&person_id).filter(|_| !is_deleted).map(|person| person.uuid);
            let Some(replaced) = renamed.get(&person_id) else {
                continue;
            };
            // With a foreign key the distinct id is deleted along with its person, later in the
            // stream. Without one, a distinct id that changes beside its new person has its message
            // already.
            let is_published =
                person.is_some() && !replaced && published.contains(&Key::DistinctId(key.clone()));
            if (person.is_some() || self.may_be_nobodys()) && !is_published {
                dependents.push(Dependent { commit, row, key, person });
            }
        }
        Ok(dependents)
    }

    /// Persons whose uuid changes, each with whether it had one before. Without a foreign key,
    /// distinct ids can exist before their person and after it.
    fn renamed(&self, changes: &[RowChange]) -> anyhow::Result<HashMap<i64, bool>> {
        let mut renamed = HashMap::new();
        for change in changes.iter().filter(|change| change.kind == TableKind::Person) {
            let reader = |cells| RowReader::new(self.table(TableKind::Person), cells);
            let before = change.before.as_deref().map(reader);
            let after = change.after.as_deref().map(reader);
            let id = match (&before, &after) {
                // With REPLICA IDENTITY FULL every update has the old row.
                (Some(before), Some(after)) if before.key()? != after.key()? => after.id()?,
                (Some(gone), None) if self.may_be_nobodys() => gone.id()?,
                (_, Some(made))
                    if !self.guarantees.has_foreign_key && change.history == MappingHistory::New =>
                {
                    made.id()?
                }
                (_, Some(after)) if change.transaction.is_some() => self.revived_or_gone(after)?,
                _ => None,
            };
            let is_soft = self.table(TableKind::Person).is_soft();
            if let Some(id) = id {
                *renamed.entry(id).or_default() |= before.is_some() || is_soft;
            }
        }
        Ok(renamed)
    }

    /// The id of a person whose row remains although it is, or may have been, deleted or merged.
    /// The previous state is known only for persons in the cache.
    fn revived_or_gone(&self, after: &RowReader<'_>) -> anyhow::Result<Option<i64>> {
        if !self.table(TableKind::Person).is_soft() {
            return Ok(None);
        }
        let person = after.person()?;
        let changed = |person: &Person| person.presence != Presence::Live || !self.known.contains(person.id);
        Ok(person.filter(changed).map(|person| person.id))
    }

    /// Whether the row of a distinct id can exist without a person.
    fn may_be_nobodys(&self) -> bool {
        !self.guarantees.has_foreign_key || self.tables.iter().any(Table::is_soft)
    }

    /// Adds the persons that were merged into these, because their distinct ids follow too.
    async fn extend_by_merges(&self, renamed: &mut HashMap<i64, bool>) -> anyhow::Result<()> {
        let table = self.table(TableKind::Person);
        let Some(column) = table.merged_into().map(|place| table.column(place)) else { return Ok(()) };
        let mut survivors: BTreeSet<i64> = renamed.keys().copied().collect();
        for _ in 0..MAX_MERGES {
            let mut merged = BTreeSet::new();
            for row in self.rows_by(table, column, &survivors).await? {
                let Some(Person { id, presence: Presence::MergedInto(into), .. }) =
                    RowReader::new(table, &row).person()?
                else {
                    continue;
                };
                if renamed.contains_key(&into) && !renamed.contains_key(&id) {
                    renamed.insert(id, true);
                    merged.insert(id);
                }
            }
            if merged.is_empty() {
                break;
            }
            survivors = merged;
        }
        Ok(())
    }
}
