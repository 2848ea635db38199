//! THE registry of functions: XML, docs, tests and benchmarks are all made from it.

use std::fmt;

use thiserror::Error;

use crate::shard::{ShardError, Weights, shard_key};
pub use crate::signature::{Argument, RESULT_NAME, Type};
use crate::wire::{Answer, Block, WireError};

/// Answers some rows of a block: exactly one value for each, in order, that depends on nothing but the row.
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
    /// What it means, in one sentence.
    pub doc: &'static str,
    /// How a block is answered.
    pub rule: Rule,
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
        reason: ShardError,
    },
    /// The rule and the signature disagree.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Every function of the binary, in the order in which they are shown.
pub static FUNCTIONS: &[Function] = &[
    Function {
        name: "shardKey",
        arguments: &[DISTINCT_ID],
        returns: Type::UInt64,
        doc: "The key by which events are sharded: equal to sipHash64(distinct_id).",
        rule: answer_shard_key,
    },
    Function {
        name: "shardOf",
        arguments: &[DISTINCT_ID, WEIGHTS],
        returns: Type::UInt32,
        doc: "The number, from 1, of the shard that owns a distinct id, given the weights of all shards.",
        rule: answer_shard_of,
    },
];

const DISTINCT_ID: Argument = Argument { name: "distinct_id", data_type: Type::String };
const WEIGHTS: Argument = Argument { name: "weights", data_type: Type::Array(&Type::UInt32) };

/// The function of that name, which is case-sensitive as in ClickHouse.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

fn answer_shard_key(block: &Block<'_>, answer: &mut Answer) -> Result<(), RuleError> {
    for distinct_id in block.strings(0)?.iter() {
        answer.push_u64(shard_key(distinct_id));
    }
    Ok(())
}

fn answer_shard_of(block: &Block<'_>, answer: &mut Answer) -> Result<(), RuleError> {
    let rows = block.strings(0)?.iter().zip(block.arrays_of_u32(1)?.iter());
    // Weights are nearly always one constant, so they are built only where a row's differ from the row
    // before.
    let mut known = None;
    for (row, (distinct_id, weights)) in (block.rows().start + 1..).zip(rows) {
        let chooser = match &known {
            Some((same, chooser)) if *same == weights => chooser,
            _ => {
                let values: Vec<u32> = weights.iter().map(u32::from_le_bytes).collect();
                let chooser = Weights::new(&values).map_err(|reason| RuleError::Row {
                    row,
                    column: WEIGHTS.name,
                    reason,
                })?;
                &known.insert((weights, chooser)).1
            }
        };
        answer.push_u32(chooser.shard_of(shard_key(distinct_id)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_read_as_in_the_docs() {
        let signatures: Vec<_> = FUNCTIONS.iter().map(Function::to_string).collect();
        assert_eq!(
            signatures,
            [
                "shardKey(distinct_id String) → UInt64",
                "shardOf(distinct_id String, weights Array(UInt32)) → UInt32"
            ]
        );
    }

    #[test]
    fn each_function_is_found_by_its_own_name_alone() {
        for function in FUNCTIONS {
            assert!(std::ptr::eq(find(function.name).unwrap(), function), "{} is there twice", function.name);
        }
        assert!(find("shardkey").is_none());
    }
}
