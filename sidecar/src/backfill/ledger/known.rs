//! Progress of files in earlier runs, of any job and from any machine.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::LedgerError;
use crate::node::Node;
use crate::sql;

/// Maximum ids of files per query. A server accepts up to 128 KiB for each parameter
/// (`http_max_field_value_size`).
pub(super) const IDS_A_QUERY: usize = 2_000;

/// Ledger records of some files' units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Units whose blocks may have been sent.
    begun: BTreeSet<String>,
    /// Shards that have all blocks of a unit.
    done: BTreeMap<String, BTreeSet<u32>>,
    /// Unit, shard, slice and month of every acknowledged block.
    stored: BTreeSet<(String, u32, u64, u32)>,
    /// Number of rejected rows by unit.
    rejected: BTreeMap<String, u64>,
    /// Bundles with such a unit.
    begun_files: BTreeSet<String>,
    /// Whether an undo of a bundle has begun.
    is_undone: bool,
}

#[derive(Debug, Deserialize)]
struct LedgerRow {
    file: String,
    unit: String,
    shard: u32,
    state: String,
    slice: u64,
    month: u32,
    rejected: u64,
}

impl Known {
    fn of(rows: Vec<LedgerRow>) -> Self {
        let mut known = Self::default();
        for LedgerRow { file, unit, shard, state, slice, month, rejected } in rows {
            if unit.is_empty() {
                // Other records without a unit are claims.
                known.is_undone |= ["undoing", "undone"].contains(&state.as_str());
                continue;
            }
            if ["begun", "stored", "done"].contains(&state.as_str()) {
                known.begun_files.insert(file);
            }
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

    /// Whether an undo of one of the bundles has begun, so that no block of it may be sent.
    pub(crate) fn is_undone(&self) -> bool {
        self.is_undone
    }

    /// Bundles of which an earlier run may have sent blocks.
    pub(crate) fn begun_files(&self) -> &BTreeSet<String> {
        &self.begun_files
    }

    /// Whether an earlier run may have sent blocks of the unit.
    pub(crate) fn is_begun(&self, unit: &str) -> bool {
        self.begun.contains(unit)
    }

    /// Whether each of `shards` has all blocks of the unit.
    pub(crate) fn is_done(&self, unit: &str, shards: &[u32]) -> bool {
        self.done.get(unit).is_some_and(|done| shards.iter().all(|shard| done.contains(shard)))
    }

    /// Whether the shard has acknowledged this block.
    pub(crate) fn is_stored(&self, unit: &str, shard: u32, slice: u64, month: u32) -> bool {
        self.stored.contains(&(unit.to_owned(), shard, slice, month))
    }

    /// Rejected rows of a unit, known once a shard has all its blocks.
    pub(crate) fn rejected(&self, unit: &str) -> u64 {
        self.rejected.get(unit).copied().unwrap_or_default()
    }
}

/// Records of `files`. `node` may be any node.
pub(crate) async fn known_units(node: &Node, database: &str, files: &[String]) -> Result<Known, LedgerError> {
    let sql = sql::render("backfill/known_units.sql", minijinja::context! { database })?;
    let mut rows = Vec::new();
    for names in files.chunks(IDS_A_QUERY) {
        let query = node.query(&sql).param("files", names).param("unit", "");
        rows.extend(query.rows::<LedgerRow>().await?);
    }
    Ok(Known::of(rows))
}

/// Current records of one unit. `node` may be any node.
pub(crate) async fn known_unit(
    node: &Node,
    database: &str,
    file: &str,
    unit: &str,
) -> Result<Known, LedgerError> {
    let sql = sql::render("backfill/known_units.sql", minijinja::context! { database })?;
    let query = node.query(&sql).param("files", vec![file]).param("unit", unit);
    Ok(Known::of(query.rows().await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: &str, shard: u32, state: &str, slice: u64) -> LedgerRow {
        let (file, unit, state) = ("f".to_owned(), unit.to_owned(), state.to_owned());
        LedgerRow { file, unit, shard, state, slice, month: 202_501, rejected: 1 }
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
        assert!(!known.is_undone() && Known::of(vec![row("", 1, "undoing", 0)]).is_undone());
        assert_eq!(Known::of(vec![row("", 1, "begun", 0), row("", 1, "done", 0)]), Known::default());
    }
}
