//! Functions on shards: shard key, owning shard, moves after a weight change.

use super::{Argument, DISTINCT_ID, Example, Function, Reads, RuleError, Type};
use crate::shard::{Weights, shard_keys};
use crate::wire::{Answer, Block, Consumed, Packed};

/// Bytes of one weight.
const WEIGHT: usize = size_of::<u32>();

const WEIGHTS_TYPE: Type = Type::Array(&Type::UInt32);
const WEIGHTS: Argument = Argument { name: "weights", data_type: WEIGHTS_TYPE };
const FROM: Argument = Argument { name: "from", data_type: WEIGHTS_TYPE };
const TO: Argument = Argument { name: "to", data_type: WEIGHTS_TYPE };

const BAD_WEIGHTS: &str = "Empty weights, weights that are all 0, and weights whose sum is above 4294967295 fail the \
    query, with the row's number in its block.";

pub(super) static SHARD_KEY: Function = Function {
    name: "shardKey",
    arguments: &[DISTINCT_ID],
    returns: Type::UInt64,
    doc: "The sharding key of events, equal to sipHash64(distinct_id).",
    bad_input: "Every string has a key, including the empty one and bytes that are not UTF-8.",
    instead: "The built-in sipHash64 is the same and needs no process. shardKey shows that the functions agree with it.",
    examples: &[
        Example { call: "shardKey('user-1')", answer: "5730124816541986630" },
        Example { call: "shardKey('')", answer: "2202906307356721367" },
        Example { call: "shardKey(unhex('FFFE00'))", answer: "12793098633036600534" },
    ],
    reads: Reads::Arguments,
    rule: answer_shard_key,
};

pub(super) static SHARD_OF: Function = Function {
    name: "shardOf",
    arguments: &[DISTINCT_ID, WEIGHTS],
    returns: Type::UInt32,
    doc: "The number, from 1, of the shard that owns a distinct id, given the weights of all shards in order.",
    bad_input: BAD_WEIGHTS,
    instead: "_shard_num of the Distributed table is the shard that stores a row. shardOf is the shard that owns it.",
    examples: &[
        Example { call: "shardOf('user-0', [1, 1]::Array(UInt32))", answer: "1" },
        Example { call: "shardOf('user-2', [3, 0, 2]::Array(UInt32))", answer: "3" },
        Example { call: "shardOf('user-3', [0, 5, 0, 7, 1]::Array(UInt32))", answer: "2" },
    ],
    reads: Reads::Arguments,
    rule: answer_shard_of,
};

pub(super) static SHARD_MOVE: Function = Function {
    name: "shardMove",
    arguments: &[DISTINCT_ID, FROM, TO],
    returns: Type::Tuple(&[("`from`", Type::UInt32), ("to", Type::UInt32)]),
    doc: "The shards that own a distinct id before and after a change of the weights: source and target of a reshard.",
    bad_input: BAD_WEIGHTS,
    instead: "Two calls of shardOf give the same shards, but send the strings twice.",
    examples: &[
        Example {
            call: "shardMove('user-2', [1, 1]::Array(UInt32), [3, 0, 2]::Array(UInt32))",
            answer: "(2,3)",
        },
        Example { call: "shardMove('user-0', [1]::Array(UInt32), [1, 1]::Array(UInt32))", answer: "(1,1)" },
    ],
    reads: Reads::Arguments,
    rule: answer_shard_move,
};

fn answer_shard_key(block: &Block<'_>, answer: &mut Answer) -> Result<Consumed, RuleError> {
    let strings = shard_keys(block.strings(0)?).for_each_slice(|keys| answer.push_u64s(keys));
    Ok(strings.consumed())
}

fn answer_shard_of(block: &Block<'_>, answer: &mut Answer) -> Result<Consumed, RuleError> {
    let rows = shard_keys(block.strings(0)?).zip(block.arrays(1)?.iter());
    let mut weights = LastWeights::new(WEIGHTS.name);
    for (row, (key, values)) in block.numbers().zip(rows) {
        answer.push_u32(weights.take(row, values)?.shard_of(key));
    }
    Ok(block.whole())
}

fn answer_shard_move(block: &Block<'_>, answer: &mut Answer) -> Result<Consumed, RuleError> {
    let rows = shard_keys(block.strings(0)?).zip(block.arrays(1)?.iter().zip(block.arrays(2)?.iter()));
    let (mut from, mut to) = (LastWeights::new(FROM.name), LastWeights::new(TO.name));
    for (row, (key, (before, after))) in block.numbers().zip(rows) {
        answer.push_u32_pair(from.take(row, before)?.shard_of(key), to.take(row, after)?.shard_of(key));
    }
    Ok(block.whole())
}

/// Caches the weights of the previous row. Weights are nearly always one constant, so they are
/// rebuilt only when a row's weights differ from the row before.
struct LastWeights<'a> {
    column: &'static str,
    last: Option<(Packed<'a, WEIGHT>, Weights)>,
}

impl<'a> LastWeights<'a> {
    fn new(column: &'static str) -> Self {
        Self { column, last: None }
    }

    fn take(&mut self, row: usize, values: Packed<'a, WEIGHT>) -> Result<&Weights, RuleError> {
        let weights = match self.last.take() {
            Some((same, weights)) if same == values => weights,
            _ => {
                let numbers: Vec<u32> = values.iter().map(u32::from_le_bytes).collect();
                Weights::new(&numbers).map_err(|error| RuleError::row(row, self.column, error))?
            }
        };
        Ok(&self.last.insert((values, weights)).1)
    }
}
