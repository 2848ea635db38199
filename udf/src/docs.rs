//! Generator of the page of functions from the function registry.
//!
//! For each function: meaning, behaviour on bad input, and the alternative to use instead.

use std::fmt::Write;

use crate::functions::{FUNCTIONS, Function};

const INTRODUCTION: &str = "\
# Functions

The functions that `posthouse udf install` brings to a node, for authors of queries and for
operators. This page is generated from the registry: run
`POSTHOUSE_WRITE_DOCS=1 cargo test --workspace --lib docs` after a change. `posthouse-udf --docs`
prints it.

**How they run.** Each function is a pool of processes beside the server (`executable_pool`): up to
16, one for each thread of a query that calls it. ClickHouse sends the arguments of a block (at most
65,409 rows by default) through a pipe and reads the results back. An answer depends only on its
row, and for personOf, personOfKey, personKnown and personSnapshot also on the node's person index,
of which all rows of a block see one generation.

**Cost.** Most of the time per row is the copy of the arguments through the pipe, not the rule. A
call on few rows costs the round trip of a block, so filter first. On three machines with two cores,
`make bench BENCH=udf` had a query with shardKey at 0.48 to 1.03 of the speed of one with the
built-in sipHash64 with one thread, where the process has a processor to itself, and at 0.41 to 0.85
with two, where they share the processors. Measure it on your machines.

**Many rows.** Each block costs a round trip, and ClickHouse makes blocks of about a million bytes
(`preferred_block_size_bytes`). A query over many rows with narrow columns is faster with larger
blocks: `SETTINGS max_block_size = 262144, preferred_block_size_bytes = 10000000`. On the slowest of
these machines the speed rose from 0.48 to 0.67 up to 0.78 to 0.90 with one thread, and from 0.41 to
0.55 up to 0.70 to 0.80 with two. The views `wrong_shard_rows` and `reshard_plan` have these
settings.

**Errors.** An invalid value fails the query with error 754 and one line that names function, row,
column and reason. Rows are counted from 1 within the block. The process then ends, and the pool
starts another. A function never returns a default instead of an error.

**NULL.** No function accepts NULL. The server refuses the query (error 70 or 349) before it calls a
function. A Nullable column without a NULL in the requested rows is accepted, and does not make the
result Nullable. Replace or exclude NULLs: `shardKey(ifNull(d, ''))`, `WHERE d IS NOT NULL`.

**Other types.** 26.7 converts arguments to the declared types if no value is lost, and refuses all
others (error 70), such as a weight of -1. 26.5 does not convert. An argument that is not exactly of
the declared type fails the query with both types (`expected Array(UInt32), found Array(UInt8)`), so
write `[1, 3]::Array(UInt32)` there, as in the examples.

**Settings.** The server writes to a function and reads from it with the settings of the query, not
with those of the function. Two settings of 26.7 change `Native`, and a query with one of them fails
at once: with `output_format_native_encode_types_in_binary_format` in the function, with
`input_format_native_decode_types_in_binary_format` in the server (`Unknown type code`). A client
that needs them must not call functions in the same query. Keep them out of the profiles of users
who call functions. No other switch of 26.7 changes an answer, as a test of each switch shows.
";

const DICTIONARY: &str = "
## A dictionary instead of personOfKey

A HASHED dictionary of the server is faster than personOfKey, because no row leaves the server: a
query took 0.83 to 0.93 of the time, with one and with ten million distinct ids (docs/benchmarks.md).
It is loaded whole at every refresh, needs memory for all ids on each node, twice while it is loaded,
and knows changes only after a refresh: with ten million ids, a load took 19 seconds, and 768 MiB
stayed in memory. Prefer it while that is cheap and minutes of delay are fine, and personOfKey
otherwise. Both leave out keys that two distinct ids share. With the column of `events.person_key =
true`:

";

const DICTIONARY_USE: &str = "
    SELECT dictGet('posthog.person_of_key', 'person_id', person_key) FROM posthog.events

The guide *Who is this event* compares it with the other ways.
";

/// Statement of the dictionary, for the database `posthog`.
const DICTIONARY_DDL: &str = include_str!("functions/person_dictionary.sql");

/// Returns the full text of `FUNCTIONS.md`.
pub fn functions_md() -> String {
    let mut text = INTRODUCTION.to_owned();
    for function in FUNCTIONS {
        section(&mut text, function);
    }
    text.push_str(DICTIONARY);
    for line in DICTIONARY_DDL.lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.push_str(DICTIONARY_USE);
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
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The pages with this text, from the folder of the crate: one of the crate, one of the book.
    const PAGES: [&str; 2] = ["FUNCTIONS.md", "../docs/reference/functions.md"];

    #[test]
    fn the_guide_has_the_same_dictionary() {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides/who-is-this-event.md");
        let guide = fs::read_to_string(guide).expect("the guide");
        assert!(guide.contains(&format!("```sql,runnable\n{DICTIONARY_DDL}```")));
    }

    #[test]
    fn the_pages_of_functions_are_current() {
        for page in PAGES {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
            if std::env::var_os("POSTHOUSE_WRITE_DOCS").is_some() {
                fs::write(&path, functions_md()).expect("the page can be written");
            }
            let written = fs::read_to_string(&path).expect(page);
            assert!(
                written == functions_md(),
                "{page} is not current; its first lines say how to generate it"
            );
        }
    }
}
