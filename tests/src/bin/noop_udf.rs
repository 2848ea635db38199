//! `noop` function: reads the input of `shardKey` and answers zeros.
//!
//! It measures the cost of the pipes and the format alone.

use posthouse_udf::functions::{Argument, Function, Reads, Type};
use posthouse_udf::process::pipes;
use posthouse_udf::serve::serve;

static NOOP: Function = Function {
    name: "noop",
    arguments: &[Argument { name: "distinct_id", data_type: Type::String }],
    returns: Type::UInt64,
    doc: "Zero.",
    bad_input: "None.",
    instead: "0.",
    examples: &[],
    reads: Reads::Arguments,
    rule: |block, answer| {
        let mut strings = block.strings(0)?;
        for _ in strings.by_ref() {
            answer.push_u64(0);
        }
        Ok(strings.consumed())
    },
};

fn main() -> anyhow::Result<()> {
    let (input, output) = pipes(|| false)?;
    Ok(serve(&NOOP, input, output)?)
}
