//! What earlier runs, of any job and from any machine, left in the ledger.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::LedgerError;
use crate::node::Node;
use crate::sql;

/// Names that one question holds: its parameters travel in the URL, and a server takes up to 128 KiB of each
/// (`http_max_field_value_size`).
const NAMES_A_QUESTION: usize = 500;

/// A file whose load was begun once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KnownFile {
    /// The job that began it.
    pub job: String,
    /// What the ledger knows it by: this file, loaded in this way.
    pub file: String,
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

/// What is known of the units of some files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Units of which blocks may have been sent.
    begun: BTreeSet<String>,
    /// The shards that have all blocks of a unit.
    done: BTreeMap<String, BTreeSet<u32>>,
    /// Unit, shard, slice and month of every block acknowledged.
    stored: BTreeSet<(String, u32, u64, u32)>,
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
    rejected: u64,
}

impl Known {
    fn of(rows: Vec<Row>) -> Self {
        let mut known = Self::default();
        for Row { unit, shard, state, slice, month, rejected } in rows {
            match state.as_str() {
                "begun" => _ = known.begun.insert(unit),
                "stored" => _ = known.stored.insert((unit, shard, slice, month)),
                "done" => {
                    known.rejected.insert(unit.clone(), rejected);
                    known.done.entry(unit).or_default().insert(shard);
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
    pub fn is_stored(&self, unit: &str, shard: u32, slice: u64, month: u32) -> bool {
        self.stored.contains(&(unit.to_owned(), shard, slice, month))
    }

    /// Rows of a unit that were rejected, once a shard has all its blocks.
    pub fn rejected(&self, unit: &str) -> u64 {
        self.rejected.get(unit).copied().unwrap_or_default()
    }
}

/// What is remembered of files at `locations`, and of files with the bytes `identities` elsewhere; oldest first. `node` may
/// be any.
///
/// # Errors
/// See [`LedgerError`].
pub async fn known_files(
    node: &Node,
    database: &str,
    locations: &[&str],
    identities: &[&str],
) -> Result<Vec<KnownFile>, LedgerError> {
    let sql = sql::render("backfill/known_files.sql", minijinja::context! { database })?;
    let hashes = |names: &[&str]| names.iter().map(|name| xxh3_64(name.as_bytes())).collect::<Vec<u64>>();
    let mut files: Vec<KnownFile> = Vec::new();
    for (locations, identities) in locations.chunks(NAMES_A_QUESTION).zip(identities.chunks(NAMES_A_QUESTION))
    {
        let query =
            node.query(&sql).param("locations", hashes(locations)).param("identities", hashes(identities));
        files.extend(query.rows::<KnownFile>().await?);
    }
    // A file whose place and whose bytes are asked for in two questions comes twice.
    files.sort_by(|one, other| one.at.cmp(&other.at).then_with(|| one.file.cmp(&other.file)));
    files.dedup();
    Ok(files)
}

/// What the ledger has of `files`; `node` may be any.
///
/// # Errors
/// See [`LedgerError`].
pub async fn known_units(node: &Node, database: &str, files: &[String]) -> Result<Known, LedgerError> {
    let sql = sql::render("backfill/known_units.sql", minijinja::context! { database })?;
    let mut rows = Vec::new();
    for names in files.chunks(NAMES_A_QUESTION) {
        let query = node.query(&sql).param("files", names).param("unit", "");
        rows.extend(query.rows::<Row>().await?);
    }
    Ok(Known::of(rows))
}

/// What the ledger has of one unit, at this moment; `node` may be any.
///
/// # Errors
/// See [`LedgerError`].
pub async fn known_unit(node: &Node, database: &str, file: &str, unit: &str) -> Result<Known, LedgerError> {
    let sql = sql::render("backfill/known_units.sql", minijinja::context! { database })?;
    let query = node.query(&sql).param("files", vec![file]).param("unit", unit);
    Ok(Known::of(query.rows().await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: &str, shard: u32, state: &str, slice: u64) -> Row {
        let (unit, state) = (unit.to_owned(), state.to_owned());
        Row { unit, shard, state, slice, month: 202_501, rejected: 1 }
    }

    #[test]
    fn a_unit_is_done_when_every_shard_is() {
        let known = Known::of(vec![
            row("a", 1, "begun", 0),
            row("a", 1, "stored", 7),
            row("a", 1, "done", 0),
            row("b", 1, "begun", 0),
            row("b", 1, "done", 0),
            row("b", 3, "done", 0),
        ]);
        assert!(known.is_begun("a") && !known.is_done("a", &[1, 3]) && known.is_done("a", &[1]));
        assert!(known.is_done("b", &[1, 3]) && !known.is_begun("c"));
        assert!(known.is_stored("a", 1, 7, 202_501) && !known.is_stored("b", 1, 7, 202_501));
        assert_eq!((known.rejected("a"), known.rejected("c")), (1, 0));
    }
}
