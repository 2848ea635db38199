//! Person deduplication rule: the current version, and whether it is a deletion.

use thiserror::Error;

/// Error for arrays of different lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{versions} versions, {person_ids} person ids and {deleted} deletion flags: give one id and flag per version"
)]
pub struct Uneven {
    /// Number of versions.
    pub versions: usize,
    /// Number of person ids.
    pub person_ids: usize,
    /// Number of deletion flags.
    pub deleted: usize,
}

/// One version of a distinct id's person, as read from PostgreSQL.
///
/// The derived order is the rule: the greatest version wins; among equal versions a deletion; among
/// equal deletions (or non-deletions) the greatest person id, in ClickHouse's order of UUIDs. SQL's
/// `argMax(…, (version, is_deleted != 0, person_id))` gives the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Version number, which rises with every change.
    pub version: i64,
    /// Whether this version deletes the person.
    pub is_deleted: bool,
    /// Person id as an integer in ClickHouse's order: the half written last in the text form is the
    /// more significant one.
    pub person_id: u128,
}

/// Returns the current version; `None` without versions.
pub fn latest(versions: impl Iterator<Item = Version>) -> Option<Version> {
    versions.max()
}

/// Returns the person id of the current version; `None` if it is a deletion or if there are no
/// versions.
pub fn latest_person(versions: impl Iterator<Item = Version>) -> Option<u128> {
    latest(versions).filter(|latest| !latest.is_deleted).map(|latest| latest.person_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(versions: &[(i64, bool, u128)]) -> Option<u128> {
        latest_person(versions.iter().map(|&(version, is_deleted, person_id)| Version {
            version,
            is_deleted,
            person_id,
        }))
    }

    #[test]
    fn the_greatest_version_wins_wherever_it_stands() {
        assert_eq!(person(&[(2, false, 7), (3, false, 1), (-5, false, 9)]), Some(1));
        assert_eq!(person(&[(i64::MIN, false, 7)]), Some(7));
    }

    #[test]
    fn a_tombstone_hides_until_a_later_version_revives() {
        assert_eq!(person(&[(1, false, 7), (2, true, 7)]), None);
        assert_eq!(person(&[(2, true, 7), (3, false, 7), (1, false, 7)]), Some(7));
    }

    #[test]
    fn ties_go_to_the_tombstone_and_then_to_the_greatest_person() {
        assert_eq!(person(&[(1, true, 1), (1, false, 9)]), None);
        assert_eq!(person(&[(1, false, 3), (1, false, 9), (1, false, 4)]), Some(9));
    }

    #[test]
    fn nobody_is_known_without_a_version() {
        assert_eq!(person(&[]), None);
    }
}
