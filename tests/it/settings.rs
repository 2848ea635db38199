//! Functions under the settings of a query.
//!
//! The server writes to the pipe with the query's settings.

use anyhow::{bail, ensure};
use posthouse_tests::site::Site;
use posthouse_udf::functions::{FUNCTIONS, Function};

tests! {
    Single types_in_binary_are_refused_at_once,
    Single no_setting_of_a_query_makes_an_answer_wrong,
}

/// Switches that make the server refuse the query: two because of their effect on the pipe, the
/// others for the server's own reasons.
const REFUSED: [&str; 5] = [
    "implicit_transaction",
    "input_format_native_decode_types_in_binary_format",
    "make_distributed_plan",
    "output_format_native_encode_types_in_binary_format",
    "use_query_cache",
];

/// An expression for the number of wrong results among the functions' examples.
fn wrong_answers(functions: &[&Function]) -> String {
    let examples = functions.iter().flat_map(|function| function.examples);
    let wrong = examples.map(|it| format!("(ifNull(toString({}), 'NULL') != '{}')", it.call, it.answer));
    wrong.collect::<Vec<_>>().join(" + ")
}

fn types_in_binary_are_refused_at_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    site.must(&["udf", "install"])?;
    for function in FUNCTIONS.iter().filter(|function| !function.examples.is_empty()) {
        let question = format!("SELECT {}", wrong_answers(&[function]));
        // WHEN a query writes or reads types in binary, which ClickHouse then does on the pipe too
        for (setting, reason) in [
            (
                "output_format_native_encode_types_in_binary_format",
                "output_format_native_encode_types_in_binary_format = 0",
            ),
            ("input_format_native_decode_types_in_binary_format", "Unknown type code"),
        ] {
            let refused = site.query(&format!("{question} SETTINGS {setting} = 1"));
            // THEN it fails with the reason, and not by a timeout
            let Err(error) = refused else { bail!("{setting}: {function} answered {}", refused?) };
            let text = format!("{error:#}");
            ensure!(text.contains(reason), "{setting}: {function}: no {reason:?} in {text}");
        }
        // THEN other queries still succeed
        let answer = site.query(&question)?;
        ensure!(answer == "0", "{function}: {answer} answers are wrong");
    }
    Ok(())
}

fn no_setting_of_a_query_makes_an_answer_wrong(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a query that calls every function, one of them for many rows
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
    // WHEN it runs with each of the server's switches inverted
    let mut refused = Vec::new();
    for (name, other) in switches.lines().filter_map(|line| line.split_once('\t')) {
        match site.query(&format!("{question} SETTINGS {name} = {other}")) {
            // THEN its result is the same (apart from additional output of a switch),
            Ok(answer) => {
                ensure!(answer.split_whitespace().next() == Some("0"), "{name} = {other}: {answer}");
            }
            // or the server refuses it without a timeout
            Err(error) => {
                let text = format!("{error:#}");
                let waited = !text.contains("DB::Exception") || text.contains("TIMEOUT_EXCEEDED");
                ensure!(!waited, "{name} = {other}: {text}");
                refused.push(name);
            }
        }
    }
    // THEN the refused ones are the known ones
    ensure!(refused == REFUSED, "{refused:?} are refused");
    Ok(())
}
