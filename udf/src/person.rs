//! THE person de-duplication rule: which of a row's versions counts, and whether it is a deletion.

use thiserror::Error;

/// Versions that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{versions} versions, {person_ids} person ids and {deleted} deletion flags: give one of each for every version"
)]
pub struct Uneven {
    /// How many versions there are.
    pub versions: usize,
    /// How many person ids.
    pub person_ids: usize,
    /// How many deletion flags.
    pub deleted: usize,
}

/// One version of what PostgreSQL said about a distinct id.
///
/// The order is the rule: the greatest version wins; of equal ones a deletion; of equal deletions (or of none) the
/// greatest person id, in ClickHouse's order of UUIDs. It is that of SQL's
/// `argMax(…, (version, is_deleted != 0, person_id))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Its number, which rises with every change.
    pub version: i64,
    /// Whether it says that there is no such person any more.
    pub is_deleted: bool,
    /// The person's id as a number in ClickHouse's order: the half that is written last in text counts first.
    pub person_id: u128,
}

/// The version that counts, if there is any.
pub fn latest(versions: impl Iterator<Item = Version>) -> Option<Version> {
    versions.max()
}

/// The person of the version that counts; none if that is a deletion, or if there is no version.
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
