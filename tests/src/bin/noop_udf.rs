//! Functions that read the input of `shardKey` or `personOfKey`, and look nothing up.
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
    doc: "A UUID of the key's bytes, so that the answers are as different as the keys.",
    bad_input: "None.",
    instead: "None.",
    examples: &[],
    reads: Reads::Arguments,
    rule: |block, answer| {
        for key in block.packed::<8>(0)?.iter() {
            let mut uuid = [0; 16];
            uuid[..8].copy_from_slice(&key);
            answer.push_uuid(uuid);
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
