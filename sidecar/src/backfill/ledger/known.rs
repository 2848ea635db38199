//! What earlier runs, of any job and from any machine, left in the ledger.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::LedgerError;
use crate::node::Node;
use crate::sql;

/// Names that one question holds: parameters travel in the URL, which servers take up to 1 MiB of.
const NAMES_A_QUESTION: usize = 500;

/// A file whose load was begun once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KnownFile {
    /// The job that began it.
    pub job: String,
    /// Where it was.
    pub location: String,
    /// What its bytes were known by.
    pub identity: String,
    /// What the mapping meant.
    pub mapping_fingerprint: String,
    /// The weights of the shards then.
    pub weights: Vec<u32>,
    /// Where its slices were cut.
    pub slice_bytes: u64,
    /// Where its units were cut.
    pub unit_bytes: u64,
    /// When.
    pub at: String,
}

/// What is known of some units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Units of which blocks may have been sent.
    begun: BTreeSet<String>,
    /// The shards that have all blocks of a unit.
    done: BTreeMap<String, BTreeSet<u32>>,
    /// Shard, slice and month of every block acknowledged.
    stored: BTreeSet<(u32, u64, u32)>,
    /// Rows that these blocks have in all.
    pub rows: u64,
    /// Rows rejected, by unit.
    rejected: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Row {
    unit: String,
    shard: u32,
    state: String,
    slice: u64,
    month: u32,
    rows: u64,
    rejected: u64,
}

impl Known {
    fn of(rows: &[Row]) -> Self {
        let mut known = Self::default();
        for row in rows {
            match row.state.as_str() {
                "begun" => _ = known.begun.insert(row.unit.clone()),
                "stored" => {
                    known.stored.insert((row.shard, row.slice, row.month));
                    known.rows += row.rows;
                }
                "done" => {
                    known.done.entry(row.unit.clone()).or_default().insert(row.shard);
                    known.rejected.insert(row.unit.clone(), row.rejected);
                }
                _ => {}
            }
        }
        known
    }

    /// Whether an earlier run may have sent blocks of the unit.
    pub fn is_begun(&self, unit: &str) -> bool {
        self.begun.contains(unit)
    }

    /// Whether every one of `shards` has all blocks of the unit.
    pub fn is_done(&self, unit: &str, shards: &[u32]) -> bool {
        self.done.get(unit).is_some_and(|done| shards.iter().all(|shard| done.contains(shard)))
    }

    /// Whether the shard has acknowledged this block.
    pub fn is_stored(&self, shard: u32, slice: u64, month: u32) -> bool {
        self.stored.contains(&(shard, slice, month))
    }

    /// Rows of a unit that were rejected, once it is done.
    pub fn rejected_of(&self, unit: &str) -> u64 {
        self.rejected.get(unit).copied().unwrap_or_default()
    }

    /// Rows rejected in units that are done.
    pub fn rejected(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// What is remembered of files at `locations`, oldest first; `node` may be any.
///
/// # Errors
/// See [`LedgerError`].
pub async fn known_files(
    node: &Node,
    database: &str,
    locations: &[&str],
) -> Result<Vec<KnownFile>, LedgerError> {
    let sql = sql::render("backfill/known_files.sql", minijinja::context! { database })?;
    let mut files = Vec::new();
    for names in locations.chunks(NAMES_A_QUESTION) {
        files.extend(node.query(&sql).param("locations", names).rows::<KnownFile>().await?);
    }
    Ok(files)
}

/// What the ledger has of `units`; `node` may be any.
///
/// # Errors
/// See [`LedgerError`].
pub async fn known_units(node: &Node, database: &str, units: &[String]) -> Result<Known, LedgerError> {
    let sql = sql::render("backfill/known_units.sql", minijinja::context! { database })?;
    let mut rows = Vec::new();
    for names in units.chunks(NAMES_A_QUESTION) {
        rows.extend(node.query(&sql).param("units", names).rows::<Row>().await?);
    }
    Ok(Known::of(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: &str, shard: u32, state: &str, slice: u64) -> Row {
        Row {
            unit: unit.to_owned(),
            shard,
            state: state.to_owned(),
            slice,
            month: 202_501,
            rows: 10,
            rejected: 1,
        }
    }

    #[test]
    fn a_unit_is_done_when_every_shard_is() {
        let known = Known::of(&[
            row("a", 1, "begun", 0),
            row("a", 1, "stored", 7),
            row("a", 1, "done", 0),
            row("b", 1, "begun", 0),
            row("b", 1, "done", 0),
            row("b", 3, "done", 0),
        ]);
        assert!(known.is_begun("a") && !known.is_done("a", &[1, 3]) && known.is_done("a", &[1]));
        assert!(known.is_done("b", &[1, 3]) && !known.is_begun("c"));
        assert!(known.is_stored(1, 7, 202_501) && !known.is_stored(3, 7, 202_501));
        assert_eq!((known.rows, known.rejected()), (10, 2));
    }
}
