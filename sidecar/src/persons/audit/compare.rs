//! What differs between PostgreSQL and a node: pure decisions over what both have told.
//!
//! A node is asked before PostgreSQL, and again when it has had time to follow. What stood there both times is the newest that
//! had been committed when PostgreSQL was asked, for anything newer would have arrived: so it is what PostgreSQL told, or it is
//! wrong. Rows of PostgreSQL alone can't show that: one that changes and changes back looks the same before and after.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

/// Rows of a bucket of keys, and the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) sum: u64,
}

/// Buckets with rows, by their number.
pub(super) type Sums = HashMap<u16, Sum>;

/// The rows of PostgreSQL: the hash of each by its key.
pub(super) type SourceRows = HashMap<String, u64>;

/// The newest that a node has of a row: it, or its tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeRow {
    pub(super) hash: u64,
    pub(super) newest: u64,
    pub(super) is_deleted: bool,
    /// Whether a tombstone of it is still stored, of whatever version.
    pub(super) was_deleted: bool,
}

impl NodeRow {
    fn visible(&self) -> Option<u64> {
        (!self.is_deleted).then_some(self.hash)
    }

    /// Whether nothing has arrived since. That an older tombstone is merged away is nothing.
    fn still(&self, later: &Self) -> bool {
        (self.newest, self.visible()) == (later.newest, later.visible())
    }
}

/// The rows of a node by their keys, tombstones among them.
pub(super) type NodeRows = HashMap<String, NodeRow>;

/// What a node showed of keys of which PostgreSQL told otherwise.
pub(super) type Suspects = BTreeMap<String, Option<NodeRow>>;

/// How a row of a node is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// PostgreSQL has it, the node does not.
    Missing,
    /// Both have it, with other contents.
    Stale,
    /// It was deleted on the node, and is visible there again, though PostgreSQL does not have it.
    Resurrected,
    /// It is visible on the node, and PostgreSQL does not have it.
    Extra,
}

/// A wrong row of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) difference: Difference,
    /// The greatest version that the node has of it; 0 if it has none.
    pub(super) newest: u64,
}

/// The wrong rows of one node by their keys, and how many could not be judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rows: BTreeMap<String, Wrong>,
    pub(super) moving: usize,
}

/// Buckets that differ.
pub(super) fn differing<'s>(source: &'s Sums, node: &'s Sums) -> impl Iterator<Item = u16> + 's {
    let buckets = source.keys().chain(node.keys());
    buckets.copied().filter(|bucket| source.get(bucket) != node.get(bucket))
}

/// The rows of a node that are not what PostgreSQL told afterwards: they are wrong, or were on their way.
pub(super) fn suspects(node: &NodeRows, source: &SourceRows) -> Suspects {
    let keys: BTreeSet<&String> = source.keys().chain(node.keys()).collect();
    let differ = |key: &&String| source.get(*key).copied() != node.get(*key).and_then(NodeRow::visible);
    keys.into_iter().filter(differ).map(|key| (key.clone(), node.get(key).copied())).collect()
}

/// Of the suspects those that are still as they were, when everything that PostgreSQL had when it told has arrived. The others
/// are moving.
pub(super) fn judge(suspects: &Suspects, source: &SourceRows, later: &NodeRows) -> Found {
    let mut found = Found::default();
    for (key, row) in suspects {
        let still = match (row, later.get(key)) {
            (Some(row), Some(later)) => row.still(later),
            (None, None) => true,
            _ => false,
        };
        if !still {
            found.moving += 1;
            continue;
        }
        let difference = match (source.contains_key(key), row) {
            (true, Some(row)) if !row.is_deleted => Difference::Stale,
            (true, _) => Difference::Missing,
            (false, Some(row)) if row.was_deleted => Difference::Resurrected,
            (false, _) => Difference::Extra,
        };
        found.rows.insert(key.clone(), Wrong { difference, newest: row.map_or(0, |row| row.newest) });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(newest: u64, hash: u64) -> NodeRow {
        NodeRow { hash, newest, is_deleted: false, was_deleted: false }
    }

    fn tombstone(newest: u64) -> NodeRow {
        NodeRow { hash: 0, newest, is_deleted: true, was_deleted: true }
    }

    fn node(rows: &[(&str, NodeRow)]) -> NodeRows {
        rows.iter().map(|(key, row)| ((*key).to_owned(), *row)).collect()
    }

    fn source(rows: &[(&str, u64)]) -> SourceRows {
        rows.iter().map(|(key, hash)| ((*key).to_owned(), *hash)).collect()
    }

    #[test]
    fn what_stands_there_after_everything_has_arrived_is_wrong_each_in_its_way() {
        let told = source(&[("same", 1), ("stale", 2), ("missing", 3), ("hidden", 4)]);
        let back = NodeRow { was_deleted: true, ..row(8, 6) };
        let rows = node(&[
            ("same", row(1, 1)),
            ("stale", row(2, 9)),
            ("hidden", tombstone(7)),
            ("gone", tombstone(3)),
            ("extra", row(5, 6)),
            ("back", back),
        ]);
        let mut later = rows.clone();
        later.insert("back".to_owned(), NodeRow { was_deleted: false, ..back });
        let found = judge(&suspects(&rows, &told), &told, &later);
        let wrong = |(key, wrong): (&String, &Wrong)| (key.clone(), wrong.difference, wrong.newest);
        let found_rows: Vec<_> = found.rows.iter().map(wrong).collect();
        use Difference::*;
        let wanted = [
            ("back", Resurrected, 8),
            ("extra", Extra, 5),
            ("hidden", Missing, 7),
            ("missing", Missing, 0),
            ("stale", Stale, 2),
        ];
        assert_eq!(found_rows, wanted.map(|(key, difference, newest)| (key.to_owned(), difference, newest)));
        assert_eq!(found.moving, 0);
    }

    #[test]
    fn what_changed_on_the_node_meanwhile_is_not_judged() {
        // All of them had come and gone, or changed and changed back, when PostgreSQL was asked.
        let told = source(&[("to and fro", 1), ("away and here", 2), ("written anew", 3)]);
        let rows =
            node(&[("to and fro", row(5, 9)), ("away and here", tombstone(5)), ("here and away", row(5, 4))]);
        let later = node(&[
            ("to and fro", row(7, 9)),
            ("away and here", tombstone(7)),
            ("here and away", tombstone(6)),
            ("written anew", row(5, 3)),
        ]);
        let found = judge(&suspects(&rows, &told), &told, &later);
        assert_eq!(found, Found { rows: BTreeMap::new(), moving: 4 });
    }

    #[test]
    fn a_bucket_differs_by_its_sum_or_because_one_side_lacks_it() {
        let sum = |sum| Sum { count: 1, sum };
        let (source, node) = (
            Sums::from([(1, sum(1)), (2, sum(2)), (3, sum(3))]),
            Sums::from([(1, sum(1)), (2, sum(9)), (4, sum(4))]),
        );
        let buckets: BTreeSet<u16> = differing(&source, &node).collect();
        assert_eq!(buckets, BTreeSet::from([2, 3, 4]));
    }
}
