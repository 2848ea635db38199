//! The functions on an older version of the engine, through `clickhouse local`.

use std::fs;

use anyhow::{Context, bail, ensure};
use posthouse::parts::Release;
use posthouse::parts::functions_xml;
use posthouse_tests::site::binary;
use posthouse_tests::stack::{LocalEngine, Progress};
use posthouse_udf::functions::{FUNCTIONS, Function};

use crate::functions::{FINGERPRINT_ANSWER, PERSON_ANSWER, fingerprint_question, person_question};
use crate::seed;
use crate::udf::nasty_ids;

tests! {
    Free an_older_engine_gets_every_golden_vector,
    Free an_older_engine_agrees_on_random_and_nasty_input,
    Free an_older_engine_does_not_convert_and_is_told_so,
}

/// The older engine with posthouse's functions installed. Prints NOT RUN on platforms without one.
fn older() -> anyhow::Result<Option<LocalEngine>> {
    let Some(engine) = LocalEngine::older(&Progress::Lines)? else {
        eprintln!("NOT RUN: the older engine is not pinned for this platform");
        return Ok(None);
    };
    let program = binary("posthouse-udf")?;
    let release = Release::read(&program)?;
    let folder = engine.user_scripts().join(release.folder());
    fs::create_dir(&folder)?;
    fs::copy(&program, engine.user_scripts().join(release.program()))?;
    fs::write(engine.functions_xml(), functions_xml(&release.program())?)?;
    let version = engine.query("SELECT version()")?;
    ensure!(version.starts_with("26.5."), "the older engine is {version}");
    Ok(Some(engine))
}

fn an_older_engine_gets_every_golden_vector() -> anyhow::Result<()> {
    let Some(engine) = older()? else { return Ok(()) };
    for function in FUNCTIONS.iter().filter(|function| !function.examples.is_empty()) {
        // WHEN the examples of the registry are queried
        let columns: Vec<_> = function
            .examples
            .iter()
            .map(|example| format!("toTypeName({0}), ifNull(toString({0}), 'NULL')", example.call))
            .collect();
        let answer = engine.query(&format!("SELECT {}", columns.join(", ")))?;
        // THEN types and results match the registry
        let found: Vec<String> = answer.split('\t').map(without_breaks).collect();
        ensure!(found == expected(function), "{}: {found:?}", function.name);
    }
    Ok(())
}

fn expected(function: &Function) -> Vec<String> {
    let data_type = without_breaks(&function.returns.to_string());
    function.examples.iter().flat_map(|example| [data_type.clone(), without_breaks(example.answer)]).collect()
}

/// `toTypeName` breaks tuples into lines, shown as `\n` in a tab-separated result.
fn without_breaks(text: &str) -> String {
    text.replace("\\n", "").split_whitespace().collect()
}

fn an_older_engine_agrees_on_random_and_nasty_input() -> anyhow::Result<()> {
    let Some(engine) = older()? else { return Ok(()) };
    let seed = seed("older_engine")?;
    let (old, new) = ("[1, 3]::Array(UInt32)", "[2, 0, 1]::Array(UInt32)");
    let new_shard = "if(sipHash64(id) % 3 < 2, 1, 3)";
    for (what, ids) in nasty_ids(seed) {
        // WHEN functions and built-ins get the same input THEN they agree on every row
        let answer = engine.query(&format!(
            "SELECT countIf(shardKey(id) != sipHash64(id)), \
             countIf(shardOf(id, {old}) != if(sipHash64(id) % 4 < 1, 1, 2)), \
             countIf(shardMove(id, {old}, {new}) != (shardOf(id, {old}), {new_shard})), \
             countIf(kafkaPartition(id, toUInt32(7)) != bitAnd(kafkaMurmurHash(id), 0x7fffffff) % 7) FROM ({ids})"
        ));
        let answer = answer.context(what)?;
        ensure!(answer == "0\t0\t0\t0", "{what}: {answer} rows differ");
    }
    // THEN persons and fingerprints match its own functions as well
    let persons = engine.query(&person_question(seed))?;
    ensure!(persons == PERSON_ANSWER, "{persons}");
    let fingerprints = engine.query(&fingerprint_question(seed))?;
    ensure!(fingerprints == FINGERPRINT_ANSWER, "{fingerprints}");
    Ok(())
}

fn an_older_engine_does_not_convert_and_is_told_so() -> anyhow::Result<()> {
    let Some(engine) = older()? else { return Ok(()) };
    for (call, reason) in [
        (
            "shardOf('a', [1, 3])",
            "the type of column 2: expected Array(UInt32), found Array(UInt8): cast this",
        ),
        ("shardKey(materialize(toNullable('a')))", "expected String, found Nullable(String): cast this"),
        ("shardOf('a', [0, 0]::Array(UInt32))", "row 1, column weights: all 2 weights are 0"),
        ("kafkaPartition('a', toUInt32(0))", "row 1, column partitions: 0 partitions"),
    ] {
        // WHEN it sends an unsupported type or value THEN the query fails with the reason
        let refused = engine.query(&format!("SELECT {call}"));
        let Err(error) = refused else { bail!("{call} answered {}", refused?) };
        let text = format!("{error:#}");
        ensure!(text.contains(reason), "{call}: no {reason:?} in {text}");
    }
    Ok(())
}
