//! What differs between PostgreSQL and a node: pure decisions over what both have told.

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

/// A live row of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeRow {
    pub(super) hash: u64,
    pub(super) newest: u64,
    pub(super) was_deleted: bool,
}

/// The live rows of a node by their keys.
pub(super) type NodeRows = HashMap<String, NodeRow>;

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

/// Buckets that differ.
pub(super) fn differing<'s>(source: &'s Sums, node: &'s Sums) -> impl Iterator<Item = u16> + 's {
    let buckets = source.keys().chain(node.keys());
    buckets.copied().filter(|bucket| source.get(bucket) != node.get(bucket))
}

/// Differences of one node, and how many rows could not be judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rows: BTreeMap<String, Difference>,
    pub(super) moving: usize,
}

/// Compares a node with PostgreSQL as it was before the node had time to follow, and as it is after. Only a row that is the
/// same at both times is judged: one that was changed in between may be on its way.
pub(super) fn compare(before: &SourceRows, after: &SourceRows, node: &NodeRows) -> Found {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).chain(node.keys()).collect();
    let mut found = Found::default();
    for key in keys {
        let (wanted, then, has) = (after.get(key), before.get(key), node.get(key));
        if wanted.copied() == has.map(|row| row.hash) {
            continue;
        }
        if wanted != then {
            found.moving += 1;
            continue;
        }
        let difference = match (wanted, has) {
            (Some(_), Some(_)) => Difference::Stale,
            (Some(_), None) => Difference::Missing,
            (None, Some(row)) if row.was_deleted => Difference::Resurrected,
            (None, _) => Difference::Extra,
        };
        found.rows.insert(key.clone(), difference);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(rows: &[(&str, u64)]) -> SourceRows {
        rows.iter().map(|(key, hash)| ((*key).to_owned(), *hash)).collect()
    }

    #[test]
    fn only_rows_that_nobody_changed_meanwhile_are_judged() {
        let before = source(&[("same", 1), ("stale", 2), ("missing", 3), ("changed", 4), ("deleted", 5)]);
        let after = source(&[("same", 1), ("stale", 2), ("missing", 3), ("changed", 9), ("made", 7)]);
        let row = |hash, was_deleted| NodeRow { hash, newest: 1, was_deleted };
        let node = [
            ("same", row(1, false)),
            ("stale", row(8, false)),
            ("changed", row(4, false)),
            ("deleted", row(5, false)),
            ("extra", row(6, false)),
            ("back", row(6, true)),
        ];
        let node = node.into_iter().map(|(key, row)| (key.to_owned(), row)).collect();
        let found = compare(&before, &after, &node);
        let rows: Vec<_> = found.rows.iter().map(|(key, difference)| (key.as_str(), *difference)).collect();
        use Difference::*;
        assert_eq!(rows, [("back", Resurrected), ("extra", Extra), ("missing", Missing), ("stale", Stale)]);
        assert_eq!(found.moving, 3);
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
