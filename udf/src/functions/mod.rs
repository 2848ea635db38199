//! Registry of all functions.
//!
//! XML, docs, tests and benchmarks are generated from it.

mod events;
pub(crate) mod index;
mod persons;
mod sharding;

use std::error::Error;
use std::fmt;

use thiserror::Error;

pub use crate::signature::{Argument, RESULT_NAME, Type};
use crate::snapshot::SnapshotError;
use crate::wire::{Answer, Block, Consumed, WireError};

pub use self::index::INDEX_FOLDER;

/// Answers some rows of a block: one value for each row, in order, computed from that row alone. A
/// rule reads all arguments to the end of the shortest one, and returns the rows that it has read.
pub type Rule = fn(&Block<'_>, &mut Answer) -> Result<Consumed, RuleError>;

/// A function that ClickHouse can call in a query.
#[derive(Debug)]
pub struct Function {
    /// The function's name in queries. It is also the command-line argument that selects the
    /// function.
    pub name: &'static str,
    /// Parameters, in order.
    pub arguments: &'static [Argument],
    /// Type of the value returned for each row. The result column is named [`RESULT_NAME`].
    pub returns: Type,
    /// Meaning in one sentence, plus facts that users need.
    pub doc: &'static str,
    /// Behaviour on values without an answer.
    pub bad_input: &'static str,
    /// The alternative to this function, and when to use it.
    pub instead: &'static str,
    /// Calls with known answers that never change. Every node is checked against them.
    pub examples: &'static [Example],
    /// The sources of an answer.
    pub reads: Reads,
    /// Computes the answer to a block.
    pub rule: Rule,
}

/// The sources of a function's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The row's arguments alone, so that equal rows always have equal answers.
    Arguments,
    /// Also the person index of the node, in the folder [`INDEX_FOLDER`] beside the programs.
    PersonIndex,
}

impl Reads {
    /// What an idle process does, so that it holds no files that were replaced.
    pub fn idle_work(self) -> crate::process::IdleWork {
        match self {
            Self::Arguments => || false,
            Self::PersonIndex => index::release_replaced_files,
        }
    }
}

/// A golden vector: a call as written in a query, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// An SQL expression. Its arguments have exactly the types of the signature, because some
    /// ClickHouse versions don't convert them.
    pub call: &'static str,
    /// Result of `toString` on the call; `NULL` for a null.
    pub answer: &'static str,
}

/// Writes the signature, e.g. `shardKey(distinct_id String) → UInt64`.
impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (index, argument) in self.arguments.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{argument}")?;
        }
        write!(f, ") → {}", self.returns)
    }
}

/// Error of a rule that can't answer a block.
#[derive(Debug, Error)]
pub enum RuleError {
    /// A row's value has no answer. Rows are counted from 1 within the block.
    #[error("row {row}, column {column}")]
    Row {
        /// Row number within the block, from 1.
        row: usize,
        /// Argument with the invalid value.
        column: &'static str,
        /// Why the value is invalid.
        #[source]
        reason: Box<dyn Error + Send + Sync>,
    },
    /// The person index can't be read.
    #[error(transparent)]
    Index(#[from] SnapshotError),
    /// The rule and the signature disagree.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl RuleError {
    fn row(row: usize, column: &'static str, reason: impl Error + Send + Sync + 'static) -> Self {
        Self::Row { row, column, reason: Box::new(reason) }
    }
}

/// All functions of the binary, in display order.
pub static FUNCTIONS: &[&Function] = &[
    &sharding::SHARD_KEY,
    &sharding::SHARD_OF,
    &sharding::SHARD_MOVE,
    &events::KAFKA_PARTITION,
    &events::EVENT_FINGERPRINT,
    &persons::PERSON_LATEST,
    &persons::PERSON_IS_LIVE,
    &index::PERSON_OF,
    &index::PERSON_OF_KEY,
    &index::PERSON_KNOWN,
    &index::PERSON_SNAPSHOT,
];

const DISTINCT_ID: Argument = Argument { name: "distinct_id", data_type: Type::String };

/// Returns the function with this name. Names are case-sensitive, as in ClickHouse.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_read_as_in_the_docs() {
        let signatures: Vec<_> = FUNCTIONS.iter().map(ToString::to_string).collect();
        assert_eq!(
            signatures,
            [
                "shardKey(distinct_id String) → UInt64",
                "shardOf(distinct_id String, weights Array(UInt32)) → UInt32",
                "shardMove(distinct_id String, from Array(UInt32), to Array(UInt32)) → Tuple(`from` UInt32, to UInt32)",
                "kafkaPartition(key String, partitions UInt32) → UInt32",
                "eventFingerprint(team_id Int64, uuid UUID, event String, distinct_id String, timestamp DateTime64(6)) → UUID",
                "personLatest(versions Array(Int64), person_ids Array(UUID), deleted Array(UInt8)) → Nullable(UUID)",
                "personIsLive(versions Array(Int64), person_ids Array(UUID), deleted Array(UInt8)) → UInt8",
                "personOf(team_id Int64, distinct_id String) → UUID",
                "personOfKey(person_key UInt64) → UUID",
                "personKnown(team_id Int64, distinct_id String) → UInt8",
                "personSnapshot(field String) → Int64",
            ]
        );
    }

    #[test]
    fn each_function_is_found_by_its_own_name_alone() {
        for function in FUNCTIONS {
            assert!(
                std::ptr::eq(find(function.name).unwrap(), *function),
                "{} is defined twice",
                function.name
            );
        }
        assert!(find("shardkey").is_none());
    }

    #[test]
    fn every_function_has_docs_and_examples_that_call_it() {
        for function in FUNCTIONS {
            // The answers of an index depend on its node.
            let least = if function.reads == Reads::Arguments { 2 } else { 0 };
            assert!(function.examples.len() >= least, "{}", function.name);
            for example in function.examples {
                assert!(example.call.contains(&format!("{}(", function.name)), "{}", example.call);
            }
            for text in [function.doc, function.bad_input, function.instead] {
                assert!(text.ends_with('.'), "{}: {text:?}", function.name);
            }
        }
    }
}
