//! Comparison of PostgreSQL's rows with a node's rows.
//!
//! The comparison is pure. A node is queried before PostgreSQL, and once more when it has had time
//! to catch up. A row version that the node returned both times is the newest that had been
//! committed when PostgreSQL was queried, because anything newer would have arrived. So it equals
//! PostgreSQL's row, or it is wrong. Comparing only PostgreSQL's rows can't show that: a row that
//! changes and changes back looks the same before and after.
//!
//! Rows are compared by a digest of their key, so that a page of them has a fixed size in memory.
//! Two keys with the same digest (MD5) would count as one row. That requires deliberate collisions,
//! and hides only the rows of their author.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Row count of a bucket of keys, and the sum of the rows' hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    /// Rows including tombstones, which are read too.
    pub(crate) stored: u64,
}

/// Non-empty buckets by number, which is the first 16 bits of the digest.
pub(super) type Sums = HashMap<u16, Sum>;

/// The MD5 of a row's key.
pub(super) type Digest = u128;

/// A row of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PostgresRow {
    pub(crate) digest: Digest,
    /// The primary key.
    pub(crate) id: i64,
    /// Hash of its content.
    pub(crate) hash: u64,
}

/// A node's newest version of a row: live row or tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeRow {
    pub(crate) hash: u64,
    pub(crate) newest: u64,
    pub(crate) is_deleted: bool,
    /// Whether a tombstone of any version is still stored.
    pub(crate) was_deleted: bool,
}

impl NodeRow {
    fn visible(&self) -> Option<u64> {
        (!self.is_deleted).then_some(self.hash)
    }

    /// Whether no change has arrived since. The merge of an older tombstone does not count.
    fn still(&self, later: &Self) -> bool {
        (self.newest, self.visible()) == (later.newest, later.visible())
    }
}

/// How a row of a node is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Difference {
    /// PostgreSQL has it, the node does not.
    Missing,
    /// Both have it, with different contents.
    Stale,
    /// It was deleted on the node and is visible there again, but PostgreSQL does not have it.
    Resurrected,
    /// It is visible on the node, but PostgreSQL does not have it.
    Extra,
}

/// A wrong row of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(crate) digest: Digest,
    pub(crate) difference: Difference,
    /// Its primary key; absent if PostgreSQL does not have it.
    pub(crate) id: Option<i64>,
    /// Its key on the node; absent if the node does not have it.
    pub(crate) key: Option<String>,
    /// The node's greatest version of it; 0 if there is none.
    pub(crate) newest: u64,
}

/// Returns the buckets that differ, each with its total number of rows on all sides.
pub(super) fn differing(source: &Sums, nodes: &[Sums]) -> Vec<(u16, u64)> {
    let content = |sums: &Sums, bucket: u16| sums.get(&bucket).map_or((0, 0), |sum| (sum.count, sum.sum));
    let differs = |bucket: &u16| nodes.iter().any(|node| content(node, *bucket) != content(source, *bucket));
    let count = |sums: &Sums, bucket: u16| sums.get(&bucket).map_or(0, |sum| sum.stored);
    let rows = |bucket| nodes.iter().map(|node| count(node, bucket)).sum::<u64>() + count(source, bucket);
    (0..=u16::MAX).filter(differs).map(|bucket| (bucket, rows(bucket))).collect()
}

/// How a node's row compares with PostgreSQL's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// No row of PostgreSQL had its digest.
    None,
    Same,
    /// PostgreSQL's row with this primary key differed.
    Differs(i64),
}

/// A page of a node's rows, compared with PostgreSQL's rows as they arrive.
#[derive(Debug, Default)]
pub(super) struct NodePage {
    rows: Vec<(Digest, NodeRow, Match)>,
    /// PostgreSQL's rows that the node does not have.
    missing: Vec<(Digest, i64)>,
    /// PostgreSQL's rows with the key of another row.
    pub(crate) duplicates: u64,
}

impl NodePage {
    /// Creates a page from the rows of the first read, in any order.
    pub(super) fn new(rows: impl IntoIterator<Item = (Digest, NodeRow)>) -> Self {
        let mut rows: Vec<_> = rows.into_iter().map(|(digest, row)| (digest, row, Match::None)).collect();
        rows.sort_unstable_by_key(|(digest, ..)| *digest);
        Self { rows, ..Self::default() }
    }

    /// Compares a row of PostgreSQL.
    pub(super) fn compare(&mut self, source: PostgresRow) {
        let Ok(place) = self.rows.binary_search_by_key(&source.digest, |(digest, ..)| *digest) else {
            self.missing.push((source.digest, source.id));
            return;
        };
        let Some((_, row, matched)) = self.rows.get_mut(place) else { return };
        let same = row.visible() == Some(source.hash);
        *matched = match (*matched, same) {
            (Match::None, true) => Match::Same,
            (Match::None, false) => Match::Differs(source.id),
            (before, _) => {
                self.duplicates += 1;
                // Either of the rows is correct.
                if same { Match::Same } else { before }
            }
        };
    }

    /// Whether there is no difference, so that a second read is not needed.
    pub(super) fn is_same(&self) -> bool {
        let same = |(_, row, matched): &(Digest, NodeRow, Match)| match matched {
            Match::Same => true,
            Match::None => row.visible().is_none(),
            Match::Differs(_) => false,
        };
        self.missing.is_empty() && self.rows.iter().all(same)
    }

    /// Starts the second read, for rows that differed in the first one.
    pub(super) fn look_again(mut self) -> SecondLook {
        self.missing.sort_unstable();
        // PostgreSQL's rows with the same key count as one row.
        self.missing.dedup_by_key(|(digest, _)| *digest);
        let still = vec![false; self.rows.len()];
        let arrived = vec![false; self.missing.len()];
        SecondLook { page: self, still, arrived, wrong: Vec::new() }
    }
}

/// See [`NodePage::look_again`].
#[derive(Debug)]
pub(super) struct SecondLook {
    page: NodePage,
    /// For each row of the first read, whether the second read returned it unchanged.
    still: Vec<bool>,
    /// For each missing row, whether it has arrived.
    arrived: Vec<bool>,
    wrong: Vec<Wrong>,
}

impl SecondLook {
    /// Takes a row of the node, read after all of PostgreSQL's changes have arrived.
    pub(super) fn take(&mut self, digest: Digest, key: &str, later: &NodeRow) {
        let Ok(place) = self.page.rows.binary_search_by_key(&digest, |(digest, ..)| *digest) else {
            if let Ok(place) = self.page.missing.binary_search_by_key(&digest, |(digest, _)| *digest) {
                self.arrived[place] = true;
            }
            return;
        };
        let (_, row, matched) = &self.page.rows[place];
        let difference = match (matched, row.is_deleted) {
            (Match::Same, _) | (Match::None, true) => return,
            (Match::Differs(_), false) => Difference::Stale,
            (Match::Differs(_), true) => Difference::Missing,
            (Match::None, false) if row.was_deleted => Difference::Resurrected,
            (Match::None, false) => Difference::Extra,
        };
        if !row.still(later) {
            return;
        }
        self.still[place] = true;
        let id = if let Match::Differs(id) = matched { Some(*id) } else { None };
        self.wrong.push(Wrong { digest, difference, id, key: Some(key.to_owned()), newest: row.newest });
    }

    /// Returns the wrong rows, and the number of rows that are left out because they changed
    /// meanwhile.
    pub(super) fn end(self) -> (Vec<Wrong>, usize) {
        let Self { page, still, arrived, mut wrong } = self;
        let suspect = |((_, row, matched), still): &(&(Digest, NodeRow, Match), bool)| match matched {
            Match::Same => false,
            Match::None => !row.is_deleted && !still,
            Match::Differs(_) => !still,
        };
        let changed = page.rows.iter().zip(still).filter(suspect).count();
        let came = arrived.iter().filter(|arrived| **arrived).count();
        let missing = page.missing.iter().zip(arrived).filter(|(_, arrived)| !arrived);
        wrong.extend(missing.map(|((digest, id), _)| Wrong {
            digest: *digest,
            difference: Difference::Missing,
            id: Some(*id),
            key: None,
            newest: 0,
        }));
        (wrong, changed + came)
    }
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

    /// Runs both reads. Returns key or id, difference and version of each wrong row, and the number
    /// of rows that changed meanwhile.
    fn judged(
        first: &[(&str, NodeRow)],
        source: &[(&str, u64)],
        later: &[(&str, NodeRow)],
    ) -> (Vec<(String, Difference, u64)>, usize) {
        let digest = |key: &str| Digest::from(xxhash_rust::xxh3::xxh3_64(key.as_bytes()));
        let mut page = NodePage::new(first.iter().map(|(key, row)| (digest(key), *row)));
        for (id, (key, hash)) in (1..).zip(source) {
            page.compare(PostgresRow { digest: digest(key), id, hash: *hash });
        }
        let mut look = page.look_again();
        for (key, row) in later {
            look.take(digest(key), key, row);
        }
        let (wrong, moving) = look.end();
        let name =
            |wrong: &Wrong| wrong.key.clone().unwrap_or_else(|| format!("id {}", wrong.id.unwrap_or(0)));
        let mut wrong: Vec<_> =
            wrong.iter().map(|wrong| (name(wrong), wrong.difference, wrong.newest)).collect();
        wrong.sort();
        (wrong, moving)
    }

    #[test]
    fn what_is_there_after_everything_has_arrived_is_wrong_each_in_its_way() {
        let source = [("same", 1), ("stale", 2), ("missing", 3), ("hidden", 4)];
        let back = NodeRow { was_deleted: true, ..row(8, 6) };
        let rows = [
            ("same", row(1, 1)),
            ("stale", row(2, 9)),
            ("hidden", tombstone(7)),
            ("gone", tombstone(3)),
            ("extra", row(5, 6)),
            ("back", back),
        ];
        let mut later = rows;
        later[5].1.was_deleted = false;
        use Difference::*;
        let wanted = [
            ("back", Resurrected, 8),
            ("extra", Extra, 5),
            ("hidden", Missing, 7),
            ("id 3", Missing, 0),
            ("stale", Stale, 2),
        ];
        let wanted = wanted.map(|(key, difference, newest)| (key.to_owned(), difference, newest)).to_vec();
        assert_eq!(judged(&rows, &source, &later), (wanted, 0));
    }

    #[test]
    fn what_changed_on_the_node_meanwhile_is_not_judged() {
        // Between the two reads of the node, each row came and went, or changed and changed back.
        let source = [("to and fro", 1), ("away and here", 2), ("written again", 3)];
        let rows = [("to and fro", row(5, 9)), ("away and here", tombstone(5)), ("here and away", row(5, 4))];
        let later = [
            ("to and fro", row(7, 9)),
            ("away and here", tombstone(7)),
            ("here and away", tombstone(6)),
            ("written again", row(5, 3)),
        ];
        assert_eq!(judged(&rows, &source, &later), (Vec::new(), 4));
    }

    #[test]
    fn two_rows_of_one_key_are_one_row_that_may_be_either() {
        let rows = [("twice", row(5, 2))];
        assert_eq!(judged(&rows, &[("twice", 1), ("twice", 2)], &rows), (Vec::new(), 0));
        assert_eq!(judged(&rows, &[("twice", 2), ("twice", 1)], &rows), (Vec::new(), 0));
        assert_eq!(judged(&[], &[("twice", 2), ("twice", 1)], &[]).0.len(), 1);
    }

    #[test]
    fn a_bucket_differs_by_its_sum_or_because_one_side_lacks_it() {
        let sum = |sum| Sum { count: 1, sum, stored: 1 };
        let (source, node) = (
            Sums::from([(1, sum(1)), (2, sum(2)), (3, sum(3))]),
            Sums::from([(1, sum(1)), (2, sum(9)), (4, sum(4))]),
        );
        assert_eq!(differing(&source, &[node.clone(), source.clone()]), [(2, 3), (3, 2), (4, 1)]);
        assert_eq!(differing(&source, std::slice::from_ref(&source)), []);
        // Tombstones alone are no difference, but count towards the size of a page.
        let tombstones = Sums::from([(5, Sum { count: 0, sum: 0, stored: 7 })]);
        assert_eq!(differing(&Sums::new(), std::slice::from_ref(&tombstones)), []);
        assert_eq!(differing(&Sums::from([(5, sum(1))]), &[tombstones]), [(5, 8)]);
    }
}
