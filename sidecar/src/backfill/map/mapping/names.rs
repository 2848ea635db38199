//! Names of the columns that give one value.

use std::fmt;

use serde::{Serialize, Serializer};

/// Names of columns, by their name or dotted path, in order of preference: the first one with a
/// value counts.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::backfill::map) struct ColumnNames {
    first: String,
    others: Vec<String>,
}

impl ColumnNames {
    pub(super) fn one(name: String) -> Self {
        Self { first: name, others: Vec::new() }
    }

    /// Returns `None` for an empty list.
    pub(super) fn of(names: Vec<String>) -> Option<Self> {
        let mut names = names.into_iter();
        Some(Self { first: names.next()?, others: names.collect() })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.first).chain(&self.others).map(String::as_str)
    }

    /// The name if it is the only one.
    pub(super) fn only(&self) -> Option<&str> {
        self.others.is_empty().then_some(&self.first)
    }
}

impl fmt::Display for ColumnNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().collect::<Vec<_>>().join(", "))
    }
}

/// One name is a string, as in fingerprints of mappings that had only one.
impl Serialize for ColumnNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.only() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.collect_seq(self.iter()),
        }
    }
}
