//! THE version of a row: a number that grows with every change of a row, also over its deletion and its coming back.
//!
//! It follows the order of **commits**, not that of the changes' own places in the WAL. A row that is made while another
//! transaction deletes one of the same key is written to the WAL before it waits for that deletion to commit; by its own place
//! the deletion would come later and hide it for ever.
//!
//! A version is the commit's place divided by 8 (places are multiples of it), times 32,768, plus a count of the rounds within
//! the transaction: a round ends when a key comes that it has had. Keys are counted as the WAL tells them, so that a transaction
//! that comes again has the same versions, whatever has become of its rows meanwhile.

use std::collections::HashSet;

use pgwire_replication::Lsn;

/// Bits of the count of rounds.
const ROUND_BITS: u32 = 15;
/// The last round has no changes: it is that of rows which follow from them.
const LAST_ROUND: u64 = (1 << ROUND_BITS) - 1;
/// Places are multiples of 8: records of the WAL are aligned (MAXALIGN).
const ALIGN_BITS: u32 = 3;
/// Places from here on make versions that no Int64 holds, which `person_distinct_id` has: 2 PiB of WAL.
const PLACE_LIMIT: u64 = 1 << (63 - ROUND_BITS + ALIGN_BITS);
/// No WAL gives a smaller version: it begins with its second segment, and a segment has at least 1 MiB.
pub(super) const LEAST_WAL_VERSION: u64 = ((1 << 20 >> ALIGN_BITS) << ROUND_BITS) - 1;
/// Keys that a round remembers, 8 bytes each; then another round begins.
const ROUND_KEYS: usize = 100_000;

/// Why a row has no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// One transaction changes one row too often.
    #[error(
        "the transaction committed at {commit} changes one row more than {} times, and versions count no further: to go on \
         behind it, drop the replication slot; posthouse then copies everything anew",
        LAST_ROUND
    )]
    Rounds {
        /// Where it was committed.
        commit: Lsn,
    },
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
pub(super) fn of_copy(slot_begins: Lsn, base: u64) -> Result<u64, VersionError> {
    Ok(first(slot_begins, base)?.saturating_sub(1))
}

/// The version of rows that follow from a transaction's changes and are read after it, as they are then: more than that of its own
/// changes, which they include, and less than that of any change of a later one, which will come by itself.
///
/// # Errors
/// [`VersionError::Place`].
pub(super) fn of_followers(commit: Lsn, base: u64) -> Result<u64, VersionError> {
    // No copy has it: places after a commit are further on than by one, its record is longer.
    Ok(first(commit, base)? + LAST_ROUND)
}

fn first(commit: Lsn, base: u64) -> Result<u64, VersionError> {
    let place = commit.as_u64();
    let version = ((place >> ALIGN_BITS) << ROUND_BITS).checked_add(base);
    version
        .filter(|version| place < PLACE_LIMIT && *version <= i64::MAX.unsigned_abs() - LAST_ROUND)
        .ok_or(VersionError::Place { place: commit })
}

/// The versions of one transaction's changes.
#[derive(Debug)]
pub(super) struct Transaction {
    commit: Lsn,
    first: u64,
    round: u64,
    keys: HashSet<u64>,
}

impl Transaction {
    /// Begins with the transaction that commits at `commit`.
    ///
    /// # Errors
    /// [`VersionError::Place`].
    pub(super) fn begin(commit: Lsn, base: u64) -> Result<Self, VersionError> {
        Ok(Self { commit, first: first(commit, base)?, round: 0, keys: HashSet::new() })
    }

    /// Where it was committed.
    pub(super) fn commit(&self) -> Lsn {
        self.commit
    }

    /// The version of the next change; `keys` are hashes of what its row is known by, before and after.
    ///
    /// # Errors
    /// [`VersionError::Rounds`].
    pub(super) fn next(&mut self, keys: &[u64]) -> Result<u64, VersionError> {
        if self.keys.len() >= ROUND_KEYS || keys.iter().any(|key| self.keys.contains(key)) {
            self.round += 1;
            self.keys.clear();
        }
        self.keys.extend(keys);
        if self.round >= LAST_ROUND {
            return Err(VersionError::Rounds { commit: self.commit });
        }
        Ok(self.first + self.round)
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
        assert_eq!(versions.map(|version| version - versions[0]), [0, 0, 1, 2, 2]);
        assert!(copied < versions[0]);
        assert!(of_copy(Lsn::from_u64(0x1008), 0).unwrap() > versions[4]);
        let follows = of_followers(Lsn::from_u64(0x1000), 0).unwrap();
        assert!(follows > versions[4] && follows < after.next(&[7]).unwrap());
    }

    #[test]
    fn no_wal_gives_a_version_that_an_application_counts_to() {
        assert_eq!(of_copy(Lsn::from_u64(1 << 20), 0), Ok(LEAST_WAL_VERSION));
        assert_eq!(LEAST_WAL_VERSION, u64::from(u32::MAX));
    }

    #[test]
    fn a_transaction_of_any_number_of_rows_has_versions() {
        let mut transaction = Transaction::begin(Lsn::from_u64(8), 0).unwrap();
        let last = (0..1_000_000).map(|key| transaction.next(&[key]).unwrap()).last();
        assert_eq!(last.unwrap() - transaction.first, 9);
        assert!(transaction.keys.len() <= ROUND_KEYS);
    }

    #[test]
    fn what_no_version_can_say_is_refused() {
        let mut transaction = Transaction::begin(Lsn::from_u64(8), 0).unwrap();
        let counted = (0..LAST_ROUND).all(|_| transaction.next(&[1, 1]).is_ok());
        assert!(counted && matches!(transaction.next(&[1, 2]), Err(VersionError::Rounds { .. })));
        assert!(Transaction::begin(Lsn::from_u64(PLACE_LIMIT), 0).is_err());
        assert!(Transaction::begin(Lsn::from_u64(PLACE_LIMIT - 8), 0).is_ok());
        assert!(Transaction::begin(Lsn::from_u64(PLACE_LIMIT - 8), i64::MAX.unsigned_abs() / 2).is_err());
    }
}
