//! Queries with our functions against built-ins and other functions.
//!
//! The peers are the built-in function, a function that only answers zeros, another wire format,
//! and a Python script.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use anyhow::ensure;
use posthouse_tests::site::{Site, binary};
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use serde_json::json;

use crate::report::{Report, Wanted, median};

/// Ids of 40 bytes each.
const ROWS: u64 = 10_000_000;
/// The script is too slow for more rows; both sides use this number.
const SCRIPT_ROWS: u64 = 200_000;
/// Settings that FUNCTIONS.md recommends for queries over many rows.
const LARGE_BLOCKS: &str = "max_block_size = 262144, preferred_block_size_bytes = 10000000";
/// Distinct ids with 1.3 versions each.
const PEOPLE: u64 = 1_000_000;
const RUNS: usize = 5;

const SCRIPT: &str = include_str!("../fixtures/udf/shard_key.py");
const FUNCTIONS: &str = include_str!("../fixtures/udf/functions.xml");

/// Two queries with the same answer, and the figure that they give.
struct Pair<'a> {
    name: &'a str,
    what: &'a str,
    limit: &'a str,
    rows: u64,
    ours: String,
    peer: String,
}

/// Names of all pairs.
pub(crate) fn figures() -> Vec<&'static str> {
    pairs().iter().map(|pair| pair.name).collect()
}

pub(crate) fn run(wanted: &Wanted) -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::on_stderr())?;
    let site = Site::new(&stack, "udf_bench")?;
    site.must(&["udf", "install"])?;
    install_peers(&stack)?;
    fill(&site)?;
    pairs().iter().filter(|pair| wanted.has(pair.name)).map(|pair| compare(&site, pair)).collect()
}

/// Installs the peer functions next to ours.
fn install_peers(stack: &Stack) -> anyhow::Result<()> {
    let node = &stack.nodes()[0];
    for program in ["noop-udf", "row-binary-udf"] {
        fs::copy(binary(program)?, node.user_scripts().join(program))?;
    }
    let script = node.user_scripts().join("shard_key.py");
    fs::write(&script, SCRIPT)?;
    fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    fs::write(node.functions_xml().with_file_name("bench_functions.xml"), FUNCTIONS)?;
    node.query("SYSTEM RELOAD FUNCTIONS")?;
    Ok(())
}

fn fill(site: &Site<'_>) -> anyhow::Result<()> {
    for sql in [
        "CREATE DATABASE {db}".to_owned(),
        "CREATE TABLE {db}.ids (distinct_id String) ENGINE = MergeTree ORDER BY tuple()".to_owned(),
        format!(
            "INSERT INTO {{db}}.ids SELECT leftPad(hex(sipHash128(number)), 40, 'user-id-') FROM numbers({ROWS})"
        ),
        "CREATE TABLE {db}.versions (team_id Int64, distinct_id String, person_id UUID, is_deleted Int8, version Int64) \
         ENGINE = MergeTree ORDER BY (team_id, distinct_id)"
            .to_owned(),
        format!(
            "INSERT INTO {{db}}.versions SELECT 1, toString(number % {PEOPLE}), \
             reinterpretAsUUID(sipHash128(number)), number % 37 = 0, intDiv(number, {PEOPLE}) FROM numbers({})",
            PEOPLE * 13 / 10
        ),
        "OPTIMIZE TABLE {db}.versions FINAL".to_owned(),
    ] {
        site.query(&sql)?;
    }
    Ok(())
}

fn pairs() -> Vec<Pair<'static>> {
    let sum = |function: &str, rows: u64, threads: u32| {
        format!(
            "SELECT sum({function}(distinct_id)) FROM (SELECT distinct_id FROM {{db}}.ids LIMIT {rows}) \
             SETTINGS max_threads = {threads}"
        )
    };
    let whole = |function: &str, threads: u32| {
        format!("SELECT sum({function}(distinct_id)) FROM {{db}}.ids SETTINGS max_threads = {threads}")
    };
    let large = |function: &str, threads: u32| format!("{}, {LARGE_BLOCKS}", whole(function, threads));
    let gathered = "SELECT count(personLatest(vs, ps, ds)) FROM (SELECT groupArray(version) AS vs, \
                    groupArray(person_id) AS ps, groupArray(is_deleted) AS ds FROM {db}.versions \
                    GROUP BY team_id, distinct_id)";
    let by_rule = |latest: &str| {
        format!(
            "SELECT count() FROM (SELECT argMax(person_id, {latest}) FROM {{db}}.versions \
             GROUP BY team_id, distinct_id HAVING argMax(is_deleted, {latest}) = 0)"
        )
    };
    vec![
        Pair {
            name: "udf_shard_key",
            what: "sum(shardKey(d)) against sum(sipHash64(d)), 40-byte strings, one thread",
            limit: "the copy of every string through the pipe, and the hash, for which the query waits",
            rows: ROWS,
            ours: whole("shardKey", 1),
            peer: whole("sipHash64", 1),
        },
        Pair {
            name: "udf_shard_key_2_threads",
            what: "the same with two threads, on as many processors",
            limit: "the processors: two threads of the server and two processes share them",
            rows: ROWS,
            ours: whole("shardKey", 2),
            peer: whole("sipHash64", 2),
        },
        Pair {
            name: "udf_shard_key_vs_noop",
            what: "sum(shardKey(d)) against a function that reads the same and answers zeros, one thread",
            limit: "the hash: the server sends a block as a whole, so the query waits for all of it",
            rows: ROWS,
            ours: whole("shardKey", 1),
            peer: whole("noop", 1),
        },
        Pair {
            name: "udf_noop",
            what: "a function that reads the same and answers zeros against sum(sipHash64(d)), one thread: no function can be faster",
            limit: "the server: what a block costs it, and the copy of every string through the pipe",
            rows: ROWS,
            ours: whole("noop", 1),
            peer: whole("sipHash64", 1),
        },
        Pair {
            name: "udf_noop_2_threads",
            what: "the same with two threads, on as many processors",
            limit: "the server, as above",
            rows: ROWS,
            ours: whole("noop", 2),
            peer: whole("sipHash64", 2),
        },
        Pair {
            name: "udf_large_blocks",
            what: "sum(shardKey(d)) against sum(sipHash64(d)) in large blocks, one thread",
            limit: "the copy of every string through the pipe",
            rows: ROWS,
            ours: large("shardKey", 1),
            peer: large("sipHash64", 1),
        },
        Pair {
            name: "udf_large_blocks_2_threads",
            what: "the same with two threads, on as many processors",
            limit: "the processors: two threads of the server and two processes share them",
            rows: ROWS,
            ours: large("shardKey", 2),
            peer: large("sipHash64", 2),
        },
        Pair {
            name: "udf_large_blocks_vs_noop",
            what: "sum(shardKey(d)) against a function that reads the same and answers zeros, in large blocks, one thread",
            limit: "the hash of what came last, for which the query waits",
            rows: ROWS,
            ours: large("shardKey", 1),
            peer: large("noop", 1),
        },
        Pair {
            name: "udf_large_blocks_noop_2_threads",
            what: "a function that reads the same and answers zeros against sum(sipHash64(d)), in large blocks, two threads",
            limit: "the server: the copy of every string through the pipe",
            rows: ROWS,
            ours: large("noop", 2),
            peer: large("sipHash64", 2),
        },
        Pair {
            name: "udf_native_vs_row_binary",
            what: "sum(shardKey(d)) over Native against the same over RowBinaryWithNamesAndTypes with chunk headers, one thread",
            limit: "how fast the server writes each format: a column at once, or row by row",
            rows: ROWS,
            ours: whole("shardKey", 1),
            peer: whole("shardKeyRowBinary", 1),
        },
        Pair {
            name: "udf_shard_key_vs_python",
            what: "sum(shardKey(d)) against the same in a Python script, one thread",
            limit: "the script",
            rows: SCRIPT_ROWS,
            ours: sum("shardKey", SCRIPT_ROWS, 1),
            peer: sum("shardKeyPython", SCRIPT_ROWS, 1),
        },
        Pair {
            name: "udf_person_latest",
            what: "personLatest over groupArray against argMax … HAVING, 1 million distinct ids with 1.3 versions each",
            limit: "groupArray, which has to gather what argMax throws away",
            rows: PEOPLE * 13 / 10,
            ours: gathered.to_owned(),
            peer: by_rule("version"),
        },
        Pair {
            name: "udf_person_latest_ties",
            what: "the same against argMax with our rule for equal versions, over (version, is_deleted, person_id)",
            limit: "groupArray for ours, comparing tuples for argMax",
            rows: PEOPLE * 13 / 10,
            ours: gathered.to_owned(),
            peer: by_rule("(version, is_deleted, person_id)"),
        },
    ]
}

fn compare(site: &Site<'_>, pair: &Pair<'_>) -> anyhow::Result<Report> {
    let (first, second) = (site.query(&pair.ours)?, site.query(&pair.peer)?);
    ensure!(pair.name.contains("noop") || first == second, "{}: {first}, but {second}", pair.name);
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(seconds(site, &pair.ours)?);
        peer.push(seconds(site, &pair.peer)?);
    }
    let (ours_s, peer_s) = (median(ours.clone()), median(peer.clone()));
    Ok(Report {
        name: pair.name.to_owned(),
        what: pair.what.to_owned(),
        ours_s,
        peer_s,
        ratio: peer_s / ours_s,
        rows: pair.rows,
        runs: RUNS,
        limit: pair.limit.to_owned(),
        details: json!({ "ours_s": ours, "peer_s": peer }),
    })
}

fn seconds(site: &Site<'_>, sql: &str) -> anyhow::Result<f64> {
    let begin = Instant::now();
    site.query(sql)?;
    Ok(begin.elapsed().as_secs_f64())
}
