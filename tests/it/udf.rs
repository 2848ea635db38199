//! `posthouse udf`: the functions are on every node, answer as the server's own do, and outlive wrong
//! questions.

use anyhow::{Context, bail, ensure};
use posthouse_tests::load::Load;
use posthouse_tests::site::Site;

use crate::events::PROFILE;
use crate::produce::consumed;
use crate::schema::json;
use crate::seed;

tests! {
    Shared functions_are_missed_installed_and_proven,
    Shared the_key_is_that_of_the_server_for_any_bytes,
    Shared every_event_is_on_the_shard_that_the_function_names,
    Shared wrong_weights_are_an_error_that_names_the_row_and_the_pool_goes_on,
}

fn functions_are_missed_installed_and_proven(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes without functions
    for node in site.stack.nodes() {
        let _ = std::fs::remove_file(node.functions_xml());
        node.query("SYSTEM RELOAD FUNCTIONS")?;
    }
    // WHEN they are checked THEN every node and function that is missing is named
    let missing = site.posthouse(&["udf", "check"])?;
    ensure!(missing.code == 3, "{missing}");
    for node in ["ch1", "ch2"] {
        for function in ["shardKey", "shardOf"] {
            ensure!(missing.stdout.contains(&format!("node {node} has no function {function}")), "{missing}");
        }
    }
    // WHEN they are installed THEN they are written on both nodes, and right
    let installed = json(&site.must(&["udf", "install", "--json"])?)?;
    ensure!(installed.as_array().map(Vec::len) == Some(2), "{installed:#}");
    for node in installed.as_array().context("a list")? {
        ensure!(node["functions"] == "written", "{installed:#}");
    }
    let checked = json(&site.must(&["udf", "check", "--json"])?)?;
    for node in checked["nodes"].as_array().context("a list")? {
        let compared = node["compared"].as_array().context("a list")?;
        ensure!(compared.len() > 3 && compared[0]["weights"] == serde_json::json!([1, 3]), "{node:#}");
        for compared in compared {
            let counts =
                ["rows", "not_utf8", "differing"].map(|key| compared[key].as_u64().unwrap_or_default());
            ensure!(counts[0] == 100_000 && counts[1] > 10_000 && counts[2] == 0, "{compared:#}");
        }
    }
    // WHEN they are installed again THEN nothing changes
    let again = json(&site.must(&["udf", "install", "--json"])?)?;
    for node in again.as_array().context("a list")? {
        ensure!(node["program"] == "unchanged" && node["functions"] == "unchanged", "{again:#}");
    }
    Ok(())
}

fn the_key_is_that_of_the_server_for_any_bytes(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes with functions, and ids of every kind
    site.must(&["udf", "install"])?;
    let seed = seed(site.name())?;
    let bytes = format!("arrayMap(i -> char(sipHash64({seed}, number, i) % 256), range(number % 80))");
    for (what, ids) in [
        ("an empty one", "SELECT '' AS id".to_owned()),
        ("no row", "SELECT '' AS id WHERE 0".to_owned()),
        (
            "odd bytes",
            "SELECT unhex(arrayJoin(['FF', 'FFFE00', 'C328', 'EDA080', '00', '0000'])) AS id".to_owned(),
        ),
        ("a mebibyte", "SELECT repeat(repeat(char(number), 1024), 1024) AS id FROM numbers(40)".to_owned()),
        ("all lengths and bytes", format!("SELECT arrayStringConcat({bytes}) AS id FROM numbers(20000)")),
        ("many blocks", "SELECT toString(number) AS id FROM numbers(1000000)".to_owned()),
    ] {
        // WHEN both hash them THEN they agree on every row
        let answer = site.query(&format!(
            "SELECT countIf(shardKey(id) != sipHash64(id)), \
             countIf(shardOf(id, [1, 3]) != if(sipHash64(id) % 4 < 1, 1, 2)) FROM ({ids})"
        ))?;
        ensure!(answer == "0\t0", "{what}: {answer} rows differ");
    }
    Ok(())
}

fn every_event_is_on_the_shard_that_the_function_names(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes with functions, and events that came through Kafka
    site.apply()?;
    site.must(&["udf", "install"])?;
    let load = Load::start(&site.brokers(), site.name(), PROFILE, seed(site.name())?, 20_000, 20_000)?;
    let produced = load.wait()?;
    consumed(site)?;
    // WHEN every row is asked for the shard that the function names THEN it stands there
    for node in 0..site.stack.nodes().len() {
        let answer = site.query_on(
            node,
            "SELECT count(), uniqExact(_shard_num), countIf(shardOf(distinct_id, [1, 3]) != _shard_num) \
             FROM {db}.events",
        )?;
        ensure!(answer == format!("{}\t2\t0", produced.events), "node {node}: {answer} of {produced:?}");
    }
    Ok(())
}

fn wrong_weights_are_an_error_that_names_the_row_and_the_pool_goes_on(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN nodes with functions
    site.must(&["udf", "install"])?;
    let right = "SELECT shardOf('user-2', [3, 0, 2]), shardOf('user-2', [1, 1])";
    let answer = site.query(right)?;
    for _ in 0..5 {
        for (weights, row, reason) in [
            ("emptyArrayUInt32()", 1, "weights are empty"),
            ("[0, 0, 0]", 1, "all 3 weights are 0"),
            ("[4294967295, 1]", 1, "weights of 2 shards sum to more than 4294967295"),
            ("if(number = 6, [0, 0], [1, 3])", 7, "all 2 weights are 0"),
        ] {
            // WHEN one row of a block has weights of which no shard can be chosen
            let sql = format!("SELECT shardOf(toString(number), {weights}) FROM numbers(10)");
            let refused = site.query(&sql);
            // THEN the query fails and names row, column and reason
            let Err(error) = refused else { bail!("{sql} answered {}", refused?) };
            let (text, place) = (format!("{error:#}"), format!("row {row}, column weights: {reason}"));
            ensure!(text.contains(&place), "no {place:?} in {text}");
        }
        // THEN the next question is answered
        ensure!(site.query(right)? == answer, "another answer after the error");
    }
    // THEN the pool serves many threads at once as well
    let many =
        site.query("SELECT countIf(shardOf(toString(number), [1, 3]) = 1) > 0 FROM numbers_mt(200000)")?;
    ensure!(many == "1", "{many}");
    Ok(())
}
