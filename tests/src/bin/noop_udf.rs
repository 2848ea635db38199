//! Functions that read the input of `shardKey` or `personOfKey`, and answer zeros.
//!
//! They measure the cost of the pipes and the format alone.

use anyhow::bail;
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

static NOOP_PERSON: Function = Function {
    name: "noopPerson",
    arguments: &[Argument { name: "person_key", data_type: Type::UInt64 }],
    returns: Type::Uuid,
    doc: "The zero UUID.",
    bad_input: "None.",
    instead: "The zero UUID.",
    examples: &[],
    reads: Reads::Arguments,
    rule: |block, answer| {
        for _ in block.packed::<8>(0)?.iter() {
            answer.push_uuid([0; 16]);
        }
        Ok(block.whole())
    },
};

fn main() -> anyhow::Result<()> {
    let function = match std::env::args().nth(1).as_deref() {
        None => &NOOP,
        Some("person") => &NOOP_PERSON,
        Some(other) => bail!("no function {other}: give person, or nothing"),
    };
    let (input, output) = pipes(|| false)?;
    Ok(serve(function, input, output)?)
}
