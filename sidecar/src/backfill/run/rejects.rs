//! Limit on the rejected rows of a load.

use std::fmt;
use std::str::FromStr;

/// `--max-rejects`: a number of rows, or a percentage of all rows of the plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RejectLimit {
    Rows(u64),
    /// From 0 to 100.
    Percent(f64),
}

/// The rejected rows exceed the limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "{rejected} rows were rejected, and --max-rejects is {limit}. The first is row {row} of row group {row_group} of \
     {location}: {reason}. Fix the file or the mapping, or allow more. The rejected rows are in {quarantine}"
)]
pub(crate) struct TooManyRejects {
    /// A lower bound.
    pub(crate) rejected: u64,
    pub(crate) limit: RejectLimit,
    /// The file of one of the rows.
    pub(crate) location: String,
    /// Its row group, from 0.
    pub(crate) row_group: usize,
    /// Its index in the row group, from 0.
    pub(crate) row: u64,
    /// Without the values of the row, because logs keep errors.
    pub(crate) reason: String,
    /// The folder for rejected rows.
    pub(crate) quarantine: String,
}

impl RejectLimit {
    /// Returns the permitted number of rejected rows among `rows`.
    pub(crate) fn of(self, rows: u64) -> u64 {
        match self {
            Self::Rows(limit) => limit,
            // Rounded down: 0.1 % of 999 rows is none.
            Self::Percent(share) => (rows as f64 * share / 100.0) as u64,
        }
    }
}

impl FromStr for RejectLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = text.strip_suffix('%').map(|share| share.trim().parse());
        match (share, text.parse()) {
            (Some(Ok(share)), _) if (0.0..=100.0).contains(&share) => Ok(Self::Percent(share)),
            (None, Ok(rows)) => Ok(Self::Rows(rows)),
            _ => Err("give a number of rows, or a share from 0% to 100%".to_owned()),
        }
    }
}

impl fmt::Display for RejectLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows}"),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_a_share() {
        let limit = |text: &str| text.parse::<RejectLimit>();
        assert_eq!(limit("0").map(|limit| limit.of(1_000)), Ok(0));
        assert_eq!(limit("12").map(|limit| limit.of(5)), Ok(12));
        assert_eq!(limit("0.5%").map(|limit| limit.of(1_000)), Ok(5));
        assert_eq!(limit("100 %").map(|limit| limit.of(7)), Ok(7));
        for wrong in ["", "-1", "1.5", "101%", "-1%", "NaN%", "%", "x"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
