//! `--partition i/n`: the units of one of n machines.
//!
//! The n machines share a job without communication.

use std::fmt;
use std::str::FromStr;

/// One of several equal shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobPartition {
    /// From 1 to `count`.
    index: usize,
    /// At least 1.
    count: usize,
}

/// The whole job.
impl Default for JobPartition {
    fn default() -> Self {
        Self { index: 1, count: 1 }
    }
}

impl JobPartition {
    /// Returns every `count`-th element, from the `index`-th on.
    pub(crate) fn share<T>(self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.index - 1).step_by(self.count).collect()
    }
}

impl FromStr for JobPartition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parts {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err("give i/n with i from 1 to n, such as 2/3 on the second of three machines".to_owned()),
        }
    }
}

impl fmt::Display for JobPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_all_of_it_once() {
        for count in 1..5 {
            let share = |index| {
                format!("{index}/{count}").parse::<JobPartition>().expect("a share").share((0..11).collect())
            };
            let mut all: Vec<i32> = (1..=count).flat_map(share).collect();
            all.sort_unstable();
            assert_eq!(all, (0..11).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_share_is_refused_with_an_example() {
        for wrong in ["", "1", "0/2", "3/2", "a/b", "1/0", "-1/2"] {
            assert!(wrong.parse::<JobPartition>().expect_err(wrong).contains("2/3"));
        }
    }
}
