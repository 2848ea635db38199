//! Row versions that grow with every change.
//!
//! A version also grows across a row's deletion and reinsertion.
//!
//! It follows the order of **commits**, not the WAL positions of the changes. Suppose that a
//! transaction inserts a row while another one deletes a row with the same key. The insert is
//! written to the WAL before it waits for the deletion to commit. By WAL position the deletion
//! would be later and would hide the row forever.
//!
//! A version is the commit's position divided by 8 (positions are multiples of it), times 32,768,
//! plus the number of earlier changes of the same row within the transaction. Changes are counted
//! in WAL order, so that a replayed transaction has the same versions, regardless of later changes
//! to its rows. A row that is changed more often than that is read from its table instead, in its
//! state after the transaction.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::persons::postgres::lsn::Lsn;
use anyhow::Context;

/// Bits of the count of a row's changes.
const COUNT_BITS: u32 = 15;
/// The last count is reserved for rows that are read after their transaction.
const LAST_COUNT: u64 = (1 << COUNT_BITS) - 1;
/// Positions are multiples of 8, because WAL records are aligned (MAXALIGN).
const ALIGN_BITS: u32 = 3;
/// Positions from here on produce versions beyond Int64, the type in `person_distinct_id`. The
/// limit is 2 PiB of WAL.
const PLACE_LIMIT: u64 = 1 << (63 - COUNT_BITS + ALIGN_BITS);
/// No WAL produces a smaller version. It begins with its second segment, and a segment has at least
/// 1 MiB.
pub(crate) const MIN_WAL_VERSION: u64 = ((1 << 20 >> ALIGN_BITS) << COUNT_BITS) - 1;
/// Maximum number of rows with a count at the same time, in about 32 MB. When it is exceeded,
/// counts restart above all counts so far.
const MAX_COUNTED_ROWS: usize = 1 << 20;

/// Maximum distance of published changes ahead of the acknowledged position, in bytes of WAL: the
/// batches in flight.
pub(crate) const AHEAD: u64 = 1 << 30;

/// Returns the version of every row of a snapshot after a slot was created, regardless of when it
/// is read. It is less than the version of any change that the slot yields, and more than the
/// version of any change before.
///
/// # Errors
/// Fails if the WAL position is beyond the limit of versions.
pub(crate) fn of_copy(slot_begins: Lsn, base: u64) -> anyhow::Result<u64> {
    Ok(first(slot_begins, base)?.saturating_sub(1))
}

/// Returns the version of rows that depend on a transaction's changes and are read after it. It is
/// more than the versions of the transaction's changes, which these rows include. It is less than
/// the version of any change of a later transaction, which arrives separately.
///
/// # Errors
/// Fails if the WAL position is beyond the limit of versions.
pub(crate) fn of_dependents(commit: Lsn, base: u64) -> anyhow::Result<u64> {
    // No snapshot has this version. The position after a commit is more than one step further,
    // because the commit record is longer.
    Ok(first(commit, base)? + LAST_COUNT)
}

/// Checks a position that the server reports, before it becomes a part of the checkpoint.
///
/// # Errors
/// Fails if it is beyond the limit of versions.
pub(crate) fn check_place(place: Lsn) -> anyhow::Result<()> {
    first(place, 0).map(drop)
}

fn first(commit: Lsn, base: u64) -> anyhow::Result<u64> {
    let place = commit.as_u64();
    let version = ((place >> ALIGN_BITS) << COUNT_BITS).checked_add(base);
    version
        .filter(|version| place < PLACE_LIMIT && *version <= i64::MAX.unsigned_abs() - LAST_COUNT)
        .with_context(|| {
            format!(
                "the WAL is at {commit}, beyond {}, where versions end: please report this",
                Lsn::from_u64(PLACE_LIMIT)
            )
        })
}

/// Version counter of one transaction's changes.
#[derive(Debug)]
pub(crate) struct Transaction {
    commit: Lsn,
    first: u64,
    /// Where counts begin.
    base: u64,
    /// The greatest count so far.
    greatest: u64,
    counts: HashMap<u64, u64, BuildHasherDefault<Hashed>>,
}

impl Transaction {
    /// Creates a counter for the transaction that commits at `commit`.
    ///
    /// # Errors
    /// Fails if the WAL position is beyond the limit of versions.
    pub(crate) fn begin(commit: Lsn, base: u64) -> anyhow::Result<Self> {
        let (first, counts) = (first(commit, base)?, HashMap::default());
        Ok(Self { commit, first, base: 0, greatest: 0, counts })
    }

    /// Its commit position.
    pub(crate) fn commit(&self) -> Lsn {
        self.commit
    }

    /// Returns the version of the next change. `keys` are hashes of its row's old and new key.
    /// `None` for a row that was changed too often. That row gets the version of [`of_dependents`],
    /// in its state after the transaction.
    pub(crate) fn next(&mut self, keys: &[u64]) -> Option<u64> {
        if self.counts.len() + keys.len() > MAX_COUNTED_ROWS {
            self.base = self.greatest + 1;
            self.counts.clear();
        }
        let earlier = keys.iter().filter_map(|key| self.counts.get(key)).max();
        let count = earlier.map_or(self.base, |count| count + 1);
        if count >= LAST_COUNT {
            return None;
        }
        self.greatest = self.greatest.max(count);
        self.counts.extend(keys.iter().map(|key| (*key, count)));
        Some(self.first + count)
    }
}

/// Pass-through hasher, because the keys are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_key_grow_within_a_transaction_and_from_commit_to_commit() {
        let mut before = Transaction::begin(Lsn::from_u64(0x1000), 0).unwrap();
        let mut after = Transaction::begin(Lsn::from_u64(0x1008), 0).unwrap();
        let copied = of_copy(Lsn::from_u64(0x1000), 0).unwrap();
        let versions = [7, 8, 7, 7, 8].map(|key| before.next(&[key]).unwrap());
        assert_eq!(versions.map(|version| version - versions[0]), [0, 0, 1, 2, 1]);
        assert!(copied < versions[0]);
        assert!(of_copy(Lsn::from_u64(0x1008), 0).unwrap() > versions[3]);
        let follows = of_dependents(Lsn::from_u64(0x1000), 0).unwrap();
        assert!(follows > versions[3] && follows < after.next(&[7]).unwrap());
    }

    #[test]
    fn no_wal_gives_a_version_that_an_application_counts_to() {
        assert_eq!(of_copy(Lsn::from_u64(1 << 20), 0).unwrap(), MIN_WAL_VERSION);
        assert_eq!(MIN_WAL_VERSION, u64::from(u32::MAX));
    }

    #[test]
    fn a_row_that_gets_another_key_has_more_versions_than_either() {
        let mut transaction = Transaction::begin(Lsn::from_u64(8), 0).unwrap();
        let versions: Vec<_> =
            [&[1][..], &[1], &[2], &[1, 2], &[2]].map(|keys| transaction.next(keys).unwrap()).to_vec();
        let first = versions[0];
        assert_eq!(versions.iter().map(|version| version - first).collect::<Vec<_>>(), [0, 1, 0, 2, 3]);
    }

    #[test]
    fn a_transaction_of_any_number_of_rows_has_versions_for_each_of_them() {
        let mut transaction = Transaction::begin(Lsn::from_u64(8), 0).unwrap();
        // An import that inserts each row and changes it twice.
        let rows = 3 * MAX_COUNTED_ROWS as u64;
        for row in 0..rows {
            let [made, changed, again] = [(); 3].map(|()| transaction.next(&[row]).unwrap());
            assert!(made < changed && changed < again);
        }
        // Each restart of the counts begins above the previous counts, also for rows that recur.
        let greatest = transaction.first + transaction.greatest;
        assert!(greatest - transaction.first < 16 && transaction.counts.len() <= MAX_COUNTED_ROWS);
        assert!((0..3).all(|row| transaction.next(&[row]).unwrap() > transaction.first + 3));
    }

    #[test]
    fn a_row_that_changes_too_often_has_no_version_and_others_have() {
        let mut transaction = Transaction::begin(Lsn::from_u64(8), 0).unwrap();
        let counted = (0..LAST_COUNT).all(|_| transaction.next(&[1]).is_some());
        assert!(counted && transaction.next(&[1, 2]).is_none() && transaction.next(&[2]).is_some());
        assert!(Transaction::begin(Lsn::from_u64(PLACE_LIMIT), 0).is_err());
        assert!(check_place(Lsn::from_u64(u64::MAX)).is_err());
        assert!(Transaction::begin(Lsn::from_u64(PLACE_LIMIT - 8), 0).is_ok());
        assert!(Transaction::begin(Lsn::from_u64(PLACE_LIMIT - 8), i64::MAX.unsigned_abs() / 2).is_err());
    }
}
