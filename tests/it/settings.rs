//! Functions under the settings of a query: the server writes the pipe as the query's settings say.

use anyhow::{bail, ensure};
use posthouse_tests::site::Site;
use posthouse_udf::functions::{FUNCTIONS, Function};

tests! {
    Single types_in_binary_are_refused_at_once,
    Single no_setting_of_a_query_makes_an_answer_wrong,
}

/// The switches under which the question is refused: two for what they do to the pipe, the others by the server for reasons of its own.
const REFUSED: [&str; 5] = [
    "implicit_transaction",
    "input_format_native_decode_types_in_binary_format",
    "make_distributed_plan",
    "output_format_native_encode_types_in_binary_format",
    "use_query_cache",
];

/// How many of the functions' examples are answered otherwise than they should be.
fn wrong_answers(functions: &[&Function]) -> String {
    let examples = functions.iter().flat_map(|function| function.examples);
    let wrong = examples.map(|it| format!("(ifNull(toString({}), 'NULL') != '{}')", it.call, it.answer));
    wrong.collect::<Vec<_>>().join(" + ")
}

fn types_in_binary_are_refused_at_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    site.must(&["udf", "install"])?;
    for function in FUNCTIONS {
        let question = format!("SELECT {}", wrong_answers(&[function]));
        // WHEN a query has types written or read in binary, which ClickHouse then does on the pipe too
        for (setting, reason) in [
            (
                "output_format_native_encode_types_in_binary_format",
                "output_format_native_encode_types_in_binary_format = 0",
            ),
            ("input_format_native_decode_types_in_binary_format", "Unknown type code"),
        ] {
            let refused = site.query(&format!("{question} SETTINGS {setting} = 1"));
            // THEN it fails with the reason, and not because nobody went on
            let Err(error) = refused else { bail!("{setting}: {function} answered {}", refused?) };
            let text = format!("{error:#}");
            ensure!(text.contains(reason), "{setting}: {function}: no {reason:?} in {text}");
        }
        // THEN other queries are answered as ever
        let answer = site.query(&question)?;
        ensure!(answer == "0", "{function}: {answer} answers are wrong");
    }
    Ok(())
}

fn no_setting_of_a_query_makes_an_answer_wrong(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a question that calls every function, one of them for many rows
    site.must(&["udf", "install"])?;
    let question = format!(
        "SELECT countIf(shardKey(toString(number)) != sipHash64(toString(number))) + {} FROM numbers(100)",
        wrong_answers(FUNCTIONS)
    );
    ensure!(site.query(&question)? == "0", "{}", site.query(&question)?);
    let switches = site.query(
        "SELECT name, value IN ('0', 'false') FROM system.settings WHERE type = 'Bool' AND NOT is_obsolete ORDER BY name",
    )?;
    ensure!(switches.lines().count() > 500, "{switches}");
    // WHEN it is asked under each switch of the server's, the other way round
    let mut refused = Vec::new();
    for (name, other) in switches.lines().filter_map(|line| line.split_once('\t')) {
        match site.query(&format!("{question} SETTINGS {name} = {other}")) {
            // THEN it is answered as before (whatever else a switch adds to the output),
            Ok(answer) => {
                ensure!(answer.split_whitespace().next() == Some("0"), "{name} = {other}: {answer}");
            }
            // or refused by the server, which did not wait in vain
            Err(error) => {
                let text = format!("{error:#}");
                let waited = !text.contains("DB::Exception") || text.contains("TIMEOUT_EXCEEDED");
                ensure!(!waited, "{name} = {other}: {text}");
                refused.push(name);
            }
        }
    }
    // THEN those are known
    ensure!(refused == REFUSED, "{refused:?} are refused");
    Ok(())
}
