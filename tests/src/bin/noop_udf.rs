//! Functions that read the input of `shardKey`, `personOfKey` or `personOf`, and look nothing up.
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

static NOOP_PERSON_OF_KEY: Function = Function {
    name: "noopPersonOfKey",
    arguments: &[Argument { name: "person_key", data_type: Type::UInt64 }],
    returns: Type::Uuid,
    doc: "A UUID of the key's bytes, so that the answers are as different as the keys.",
    bad_input: "None.",
    instead: "None.",
    examples: &[],
    reads: Reads::Arguments,
    rule: |block, answer| {
        for key in block.packed::<8>(0)?.iter() {
            answer.push_uuids(&[u64::from_le_bytes(key).into()]);
        }
        Ok(block.whole())
    },
};

static NOOP_PERSON_OF: Function = Function {
    name: "noopPersonOf",
    arguments: &[
        Argument { name: "team_id", data_type: Type::Int64 },
        Argument { name: "distinct_id", data_type: Type::String },
    ],
    returns: Type::Uuid,
    doc: "A UUID of the id's first 16 bytes, so that the answers are as different as ids of UUIDs.",
    bad_input: "None.",
    instead: "None.",
    examples: &[],
    reads: Reads::Arguments,
    rule: |block, answer| {
        let mut strings = block.strings(1)?;
        for distinct_id in strings.by_ref() {
            answer.push_uuid(distinct_id.first_chunk().copied().unwrap_or_default());
        }
        Ok(strings.consumed())
    },
};

fn main() -> anyhow::Result<()> {
    let function = match std::env::args().nth(1).as_deref() {
        None => &NOOP,
        Some("key") => &NOOP_PERSON_OF_KEY,
        Some("id") => &NOOP_PERSON_OF,
        Some(other) => bail!("no function {other}: give key, id, or nothing"),
    };
    let (input, output) = pipes(|| false)?;
    Ok(serve(function, input, output)?)
}
