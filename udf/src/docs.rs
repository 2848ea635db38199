//! Generator of `FUNCTIONS.md` from the function registry.
//!
//! For each function: meaning, behaviour on bad input, and the alternative to use instead.

use std::fmt::Write;

use crate::functions::{FUNCTIONS, Function};

const INTRODUCTION: &str = "\
# Functions

What `posthouse udf install` brings to a node, for whoever writes queries or is on call. Made from the registry by
`cargo run -p posthouse-udf -- --docs > udf/FUNCTIONS.md`.

**How they run.** Each is a pooled process beside the server (`executable_pool`): up to 16 for each function, one for
each thread of a query that calls it. ClickHouse sends the arguments of a block (at most 65,409 rows by default) through a pipe
and reads the results back. Answers depend on nothing but the row.

**What they cost.** Most of the time per row is the copy of the arguments through the pipe, not the rule. A call on few
rows costs a block's round trip, so filter first. On three machines with two cores `make bench BENCH=udf` had a query with shardKey at
0.48 to 1.03 of the speed of one with the built-in sipHash64 with one thread, where our process has a processor to itself,
and at 0.41 to 0.85 with two, where they share them. Run it on yours.

**Many rows.** Each block is a round of the pipe, whatever the function does, and ClickHouse makes them of about a million bytes
(`preferred_block_size_bytes`). A query that goes through many rows is faster in larger ones, if its columns are narrow:
`SETTINGS max_block_size = 262144, preferred_block_size_bytes = 10000000`. On the slowest of these machines it went
from 0.48 to 0.67 up to 0.78 to 0.90 with one thread, and from 0.41 to 0.55 up to 0.70 to 0.80 with two. Our own views do so.

**What fails, and how.** Bad values fail the query with error 754 and one line that names function, row, column and
reason; rows are counted from 1 within the block. The process then ends and the pool starts another. A function never
answers with a default instead of an error.

**NULL.** No function takes one: the server itself refuses the query (error 70 or 349) before a function is asked.
A Nullable column without a NULL in the rows asked for is fine, and the result is not Nullable for that. Give NULLs an
answer of your own, or leave them out: `shardKey(ifNull(d, ''))`, `WHERE d IS NOT NULL`.

**Other types.** 26.7 converts arguments to the declared types where nothing is lost, and refuses the rest (error 70): a
weight of -1 is no weight. 26.5 does not convert: what is not exactly of the declared type fails the query and is named
(`expected Array(UInt32), found Array(UInt8)`), so write `[1, 3]::Array(UInt32)` there, as the examples do.

**Settings.** The server writes to a function and reads from it as the settings of the query say, not those of the function. Two of
26.7's change `Native`, and a query that has one fails at once: with `output_format_native_encode_types_in_binary_format`
the function says so, with `input_format_native_decode_types_in_binary_format` the server does (`Unknown type code`). A client that
needs them must not call functions in the same query; in a profile of a user who calls functions they are out of place. No other
switch of 26.7 changes an answer: a test turns each of them round.
";

/// Returns the full text of `FUNCTIONS.md`.
pub fn functions_md() -> String {
    let mut text = INTRODUCTION.to_owned();
    for function in FUNCTIONS {
        section(&mut text, function);
    }
    text
}

fn section(text: &mut String, function: &Function) {
    // Writing to a `String` can't fail.
    let _ = write!(
        text,
        "\n## {}\n\n    {function}\n\n{}\n\n**Bad input.** {}\n\n**Instead.** {}\n\n",
        function.name, function.doc, function.bad_input, function.instead
    );
    for example in function.examples {
        let _ = writeln!(text, "    SELECT {}\n        {}", example.call, example.answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_repository_is_that_of_the_registry() {
        let file = include_str!("../FUNCTIONS.md");
        assert!(
            file == functions_md(),
            "udf/FUNCTIONS.md is out of date: cargo run -p posthouse-udf -- --docs > udf/FUNCTIONS.md"
        );
    }
}
