//! Differences between a node's rows and PostgreSQL's, with examples.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

/// Limits on the examples per sort, and on the characters of each.
const EXAMPLES: usize = 3;
const EXAMPLE_CHARACTERS: usize = 300;

/// Rows that differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// In PostgreSQL, but missing on the node.
    pub missing: u64,
    /// On the node, but different from PostgreSQL.
    pub stale: u64,
    /// On the node, but not in PostgreSQL.
    pub extra: u64,
    /// One line per example.
    pub examples: Vec<String>,
}

/// Compares `seen` with `truth`. `what` names a row in the examples.
pub fn differences<K: Ord + Debug, V: Eq + Debug>(
    what: &str,
    truth: &BTreeMap<K, V>,
    seen: &BTreeMap<K, V>,
) -> Differences {
    let missing = truth
        .iter()
        .filter(|(key, _)| !seen.contains_key(key))
        .map(|(key, value)| format!("missing {what} {key:?}: {value:?}"));
    let stale = truth.iter().filter_map(|(key, value)| {
        let shown = seen.get(key).filter(|shown| *shown != value)?;
        Some(format!("stale {what} {key:?}: {shown:?} instead of {value:?}"))
    });
    let extra = seen
        .iter()
        .filter(|(key, _)| !truth.contains_key(key))
        .map(|(key, value)| format!("extra {what} {key:?}: {value:?}"));
    let mut differences = Differences::default();
    differences.missing = differences.keep(missing);
    differences.stale = differences.keep(stale);
    differences.extra = differences.keep(extra);
    differences
}

impl Differences {
    /// Whether there are no differences.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Returns the number of rows that differ.
    pub fn count(&self) -> u64 {
        self.missing + self.stale + self.extra
    }

    /// Returns the sum of both.
    pub fn and(mut self, other: Self) -> Self {
        self.missing += other.missing;
        self.stale += other.stale;
        self.extra += other.extra;
        self.examples.extend(other.examples);
        self
    }

    /// Counts the lines, and keeps the first as examples.
    fn keep(&mut self, lines: impl Iterator<Item = String>) -> u64 {
        (1..)
            .zip(lines)
            .inspect(|(number, line)| {
                if *number <= EXAMPLES {
                    self.examples.push(line.chars().take(EXAMPLE_CHARACTERS).collect());
                }
            })
            .count() as u64
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} missing, {} stale, {} extra", self.missing, self.stale, self.extra)?;
        self.examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_is_counted_and_shown() {
        let truth = BTreeMap::from([(1, "a"), (2, "b"), (3, "c"), (5, "e")]);
        let seen = BTreeMap::from([(2, "b"), (3, "old"), (4, "d")]);
        let found = differences("person", &truth, &seen);
        assert_eq!((found.missing, found.stale, found.extra, found.count()), (2, 1, 1, 4));
        let text = found.to_string();
        assert!(text.contains("2 missing, 1 stale, 1 extra"), "{text}");
        assert!(text.contains(r#"stale person 3: "old" instead of "c""#), "{text}");
        assert!(differences("person", &truth, &truth).is_empty());
    }

    #[test]
    fn examples_are_few() {
        let truth: BTreeMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
        let found = differences("person", &truth, &BTreeMap::new());
        assert_eq!((found.missing, found.examples.len()), (100, EXAMPLES));
    }
}
