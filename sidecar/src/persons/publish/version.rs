//! THE version of a row: a number that grows with every change of a row, also over its deletion and its coming back.
//!
//! It follows the order of **commits**, not that of the changes' own places in the WAL. A row that is made while another
//! transaction deletes one of the same key is written to the WAL before it waits for that deletion to commit; by its own place
//! the deletion would come later and hide it for ever.
//!
//! A version is the commit's place divided by 8 (places are multiples of it), times 32,768, plus the number of earlier changes
//! of the same row within the transaction. Changes are counted as the WAL has them, so that a transaction that comes again has
//! the same versions, whatever has become of its rows meanwhile. A row that is changed more often than that counts is read from
//! its table instead, as it is after the transaction.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use pgwire_replication::Lsn;

/// Bits of the count of a row's changes.
const COUNT_BITS: u32 = 15;
/// No change has the last count: it is that of rows that are read after their transaction.
const LAST_COUNT: u64 = (1 << COUNT_BITS) - 1;
/// Places are multiples of 8: records of the WAL are aligned (MAXALIGN).
const ALIGN_BITS: u32 = 3;
/// Places from here on make versions that no Int64 holds, which `person_distinct_id` has: 2 PiB of WAL.
const PLACE_LIMIT: u64 = 1 << (63 - COUNT_BITS + ALIGN_BITS);
/// No WAL gives a smaller version: it begins with its second segment, and a segment has at least 1 MiB.
pub(crate) const LEAST_WAL_VERSION: u64 = ((1 << 20 >> ALIGN_BITS) << COUNT_BITS) - 1;
/// Rows whose changes are counted at once, in about 32 MB. For the ones behind them counts begin above all of these.
const MAX_COUNTED_ROWS: usize = 1 << 20;

/// So much WAL may what was published be ahead of what was acknowledged: the batches in flight.
pub(crate) const AHEAD: u64 = 1 << 30;

/// Why a row has no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The WAL has come too far.
    #[error(
        "the WAL has come to {place}, and versions end at {}: please report this",
        Lsn::from_u64(PLACE_LIMIT)
    )]
    Place {
        /// Its place.
        place: Lsn,
    },
}

/// The version of every row that is copied after a slot was made, whenever it is read: less than that of any change
/// which the slot gives, more than that of any change before.
///
/// # Errors
/// [`VersionError::Place`].
pub(crate) fn of_copy(slot_begins: Lsn, base: u64) -> Result<u64, VersionError> {
    Ok(first(slot_begins, base)?.saturating_sub(1))
}

/// The version of rows that follow from a transaction's changes and are read after it, as they are then: more than that of its own
/// changes, which they include, and less than that of any change of a later one, which will come by itself.
///
/// # Errors
/// [`VersionError::Place`].
pub(crate) fn of_dependents(commit: Lsn, base: u64) -> Result<u64, VersionError> {
    // No copy has it: places after a commit are further on than by one, its record is longer.
    Ok(first(commit, base)? + LAST_COUNT)
}

fn first(commit: Lsn, base: u64) -> Result<u64, VersionError> {
    let place = commit.as_u64();
    let version = ((place >> ALIGN_BITS) << COUNT_BITS).checked_add(base);
    version
        .filter(|version| place < PLACE_LIMIT && *version <= i64::MAX.unsigned_abs() - LAST_COUNT)
        .ok_or(VersionError::Place { place: commit })
}

/// The versions of one transaction's changes.
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
    /// Begins with the transaction that commits at `commit`.
    ///
    /// # Errors
    /// [`VersionError::Place`].
    pub(crate) fn begin(commit: Lsn, base: u64) -> Result<Self, VersionError> {
        let (first, counts) = (first(commit, base)?, HashMap::default());
        Ok(Self { commit, first, base: 0, greatest: 0, counts })
    }

    /// Where it was committed.
    pub(crate) fn commit(&self) -> Lsn {
        self.commit
    }

    /// The version of the next change; `keys` are hashes of what its row is known by, before and after. Absent for a row that was
    /// changed too often: it has the version of [`of_dependents`], as it is after the transaction.
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

/// Keys are hashes already.
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
        assert_eq!(of_copy(Lsn::from_u64(1 << 20), 0), Ok(LEAST_WAL_VERSION));
        assert_eq!(LEAST_WAL_VERSION, u64::from(u32::MAX));
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
        // An import that makes each row and changes it twice.
        let rows = 3 * MAX_COUNTED_ROWS as u64;
        for row in 0..rows {
            let [made, changed, again] = [(); 3].map(|()| transaction.next(&[row]).unwrap());
            assert!(made < changed && changed < again);
        }
        // Each time that counts begin again they begin above what was counted, for rows that come again too.
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
        assert!(Transaction::begin(Lsn::from_u64(PLACE_LIMIT - 8), 0).is_ok());
        assert!(Transaction::begin(Lsn::from_u64(PLACE_LIMIT - 8), i64::MAX.unsigned_abs() / 2).is_err());
    }
}
