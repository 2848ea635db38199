//! THE registry of functions: XML, docs, tests and benchmarks are all made from it.

mod events;
mod persons;
mod sharding;

use std::error::Error;
use std::fmt;

use thiserror::Error;

pub use crate::signature::{Argument, RESULT_NAME, Type};
use crate::wire::{Answer, Block, WireError};

/// Answers some rows of a block: exactly one value for each, in order, that depends on nothing but the row. It reads all
/// arguments to the end of the shortest.
pub type Rule = fn(&Block<'_>, &mut Answer) -> Result<(), RuleError>;

/// A function that ClickHouse can call in a query.
#[derive(Debug)]
pub struct Function {
    /// Its name in queries, and the argument of the binary that makes it serve this function.
    pub name: &'static str,
    /// What it takes, in order.
    pub arguments: &'static [Argument],
    /// What it returns for each row; the result column's name is [`RESULT_NAME`].
    pub returns: Type,
    /// What it means: one sentence, and what its users have to know.
    pub doc: &'static str,
    /// What it does with values that have no answer.
    pub bad_input: &'static str,
    /// What to use instead, and when.
    pub instead: &'static str,
    /// Calls with known answers, which never change; every node is checked against them.
    pub examples: &'static [Example],
    /// How a block is answered.
    pub rule: Rule,
}

/// A golden vector: a call as a query has it, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// An SQL expression. Its arguments have exactly the types of the signature: not every version converts them.
    pub call: &'static str,
    /// What `toString` of it gives; `NULL` for a null.
    pub answer: &'static str,
}

/// Writes the signature, such as `shardKey(distinct_id String) → UInt64`.
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

/// A block that a rule does not answer.
#[derive(Debug, Error)]
pub enum RuleError {
    /// A row's value has no answer. Rows count from 1 within the block.
    #[error("row {row}, column {column}")]
    Row {
        /// The row's number in its block.
        row: usize,
        /// The argument whose value is wrong.
        column: &'static str,
        /// What is wrong with it.
        #[source]
        reason: Box<dyn Error + Send + Sync>,
    },
    /// The rule and the signature disagree.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl RuleError {
    fn row(row: usize, column: &'static str, reason: impl Error + Send + Sync + 'static) -> Self {
        Self::Row { row, column, reason: Box::new(reason) }
    }
}

/// Every function of the binary, in the order in which they are shown.
pub static FUNCTIONS: &[&Function] = &[
    &sharding::SHARD_KEY,
    &sharding::SHARD_OF,
    &sharding::SHARD_MOVE,
    &events::KAFKA_PARTITION,
    &events::EVENT_FINGERPRINT,
    &persons::PERSON_LATEST,
    &persons::PERSON_IS_LIVE,
];

const DISTINCT_ID: Argument = Argument { name: "distinct_id", data_type: Type::String };

/// The function of that name, which is case-sensitive as in ClickHouse.
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
            ]
        );
    }

    #[test]
    fn each_function_is_found_by_its_own_name_alone() {
        for function in FUNCTIONS {
            assert!(
                std::ptr::eq(find(function.name).unwrap(), *function),
                "{} is there twice",
                function.name
            );
        }
        assert!(find("shardkey").is_none());
    }

    #[test]
    fn every_function_has_docs_and_examples_that_call_it() {
        for function in FUNCTIONS {
            assert!(function.examples.len() >= 2, "{}", function.name);
            for example in function.examples {
                assert!(example.call.contains(&format!("{}(", function.name)), "{}", example.call);
            }
            for text in [function.doc, function.bad_input, function.instead] {
                assert!(text.ends_with('.'), "{}: {text:?}", function.name);
            }
        }
    }
}
