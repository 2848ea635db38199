//! Lookups of persons by `personOf` in the node's index, against SQL's own answer.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::site::Site;
use posthouse_tests::stack::Progress;
use posthouse_tests::torture::snapshot::{self, COMPARED};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::schema::json;
use crate::seed;

tests! {
    Single every_distinct_id_has_the_person_of_the_rule_after_each_build,
    Single a_damaged_index_fails_queries_until_it_is_built_again,
    Single posthouse_run_keeps_the_index_if_there_are_functions_and_the_config_wants_it,
    Own kills_and_damage_lose_no_change_of_an_index,
}

/// Name of the folder of the index, beside the programs.
const FOLDER: &str = "posthouse-persons";
/// Rounds of the kill test. One damages files of a sidecar that is alive.
const ROUNDS: u32 = 6;
const LIMIT: Duration = Duration::from_secs(60);
const BUILD: [&str; 3] = ["persons", "snapshot", "build"];
const VERIFY: [&str; 3] = ["persons", "snapshot", "verify"];

/// Applies the schema with persons and installs the functions, without any index.
fn prepare(site: &mut Site<'_>) -> anyhow::Result<()> {
    site.with_persons()?.apply()?;
    site.must(&["udf", "install"])?;
    for (number, node) in site.stack.nodes().iter().enumerate() {
        let folder = node.user_scripts().join(FOLDER);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        // A merge of equal versions keeps any of them, so SQL's answer could change.
        site.query_on(number, "SYSTEM STOP MERGES {db}.person_distinct_id")?;
    }
    Ok(())
}

/// Inserts random versions on one node: merges, deletions and revivals, with many equal versions.
fn insert(site: &Site<'_>, node: usize, random: &mut StdRng) -> anyhow::Result<()> {
    let (seed, rows) = (random.random::<u64>(), random.random_range(1..40_000));
    let ids = [1, 50, 20_000][random.random_range(0..3)];
    site.query_on(
        node,
        &format!(
            "INSERT INTO {{db}}.person_distinct_id
             SELECT
                 1 + sipHash64({seed}, number, 1) % 3,
                 if(number % 97 = 0, unhex('FFFE00'), concat('id-', toString(sipHash64({seed}, number, 2) % {ids}))),
                 reinterpretAsUUID(sipHash128({seed}, sipHash64(number, 3) % 1000)),
                 sipHash64({seed}, number, 4) % 7 = 0,
                 toInt64(sipHash64({seed}, number, 5) % 40) - 3,
                 now(),
                 0
             FROM numbers({rows})
             SETTINGS optimize_on_insert = 0"
        ),
    )?;
    Ok(())
}

fn every_distinct_id_has_the_person_of_the_rule_after_each_build(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN functions without an index THEN a query says so
    prepare(site)?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let missing = site.query("SELECT personOf(2, 'id-1')").expect_err("there is no index");
    let missing = format!("{missing:#}");
    ensure!(missing.contains("there is no person index"), "{missing}");
    ensure!(site.posthouse(&["persons", "snapshot", "status"])?.code == 3, "status finds no index");
    for generation in 1..=3 {
        // GIVEN random versions, other ones on each node
        for node in 0..site.stack.nodes().len() {
            insert(site, node, &mut random)?;
        }
        if generation > 1 {
            // THEN the comparison finds what the index lacks
            let behind = site.posthouse(&VERIFY)?;
            ensure!(behind.code == 3, "{behind}");
        }
        // WHEN the indexes are built, beside running functions
        let built = json(&site.must(&[&BUILD[..], &["--json"]].concat())?)?;
        for (node, built) in built.as_array().context("a list")?.iter().enumerate() {
            ensure!(built["generation"] == generation, "{built:#}");
            // THEN every id has its person, known or not
            let compared = site.query_on(node, COMPARED)?;
            ensure!(
                compared == format!("0\t0\t0\t{}", built["entries"]),
                "node {node}: {compared}, {built:#}"
            );
            let unknown = "SELECT countIf(personKnown(2, concat('x', toString(number)))) FROM numbers(70000)";
            ensure!(site.query_on(node, unknown)? == "0", "an unknown id has a person");
            let seen = site
                .query_on(node, "SELECT personSnapshot('generation'), personSnapshot('age_ms') < 600000")?;
            ensure!(seen == format!("{generation}\t1"), "node {node}: {seen}");
        }
        site.must(&VERIFY)?;
        site.must(&["persons", "snapshot", "status"])?;
    }
    // THEN old generations leave no file: there are the index, its manifest and the lock
    for node in site.stack.nodes() {
        let files = fs::read_dir(node.user_scripts().join(FOLDER))?.count();
        ensure!(files == 3, "{files} files");
    }
    Ok(())
}

fn a_damaged_index_fails_queries_until_it_is_built_again(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN an index with a flipped bit
    prepare(site)?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    insert(site, 0, &mut random)?;
    site.must(&BUILD)?;
    let folder = site.stack.nodes()[0].user_scripts().join(FOLDER);
    let files = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    let index =
        files.iter().find(|file| file.path().extension().is_some_and(|extension| extension == "persons"));
    let path = index.context("an index")?.path();
    let mut bytes = fs::read(&path)?;
    let place = random.random_range(4096..bytes.len());
    bytes[place] ^= 1 << random.random_range(0..8);
    let copy = path.with_extension("damaged");
    fs::write(&copy, bytes)?;
    fs::rename(&copy, &path)?;
    // WHEN a new process reads it THEN the query fails and names the file, or the bit was not used
    site.query("SYSTEM RELOAD FUNCTIONS")?;
    let wrong = match site.query(COMPARED) {
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains("damaged") && text.contains(".persons"), "{text}");
            true
        }
        Ok(compared) => {
            ensure!(compared.starts_with("0\t0\t0\t"), "a damaged index gave a wrong answer: {compared}");
            false
        }
    };
    let verified = site.posthouse(&VERIFY)?;
    ensure!(verified.code == 1 && verified.stderr.contains("damaged"), "{wrong}: {verified}");
    // WHEN it is built again THEN every answer is right
    site.must(&BUILD)?;
    let compared = site.query(COMPARED)?;
    ensure!(compared.starts_with("0\t0\t0\t"), "{compared}");
    Ok(())
}

fn posthouse_run_keeps_the_index_if_there_are_functions_and_the_config_wants_it(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN versions in the tables, and no functions
    prepare(site)?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    insert(site, 0, &mut random)?;
    site.must(&["udf", "uninstall"])?;
    // WHEN posthouse runs THEN it says why there is no index, and is ready
    site.set("persons", "index", "keep");
    let daemon = Daemon::start(site, "off")?;
    daemon.is_ready()?;
    let health = daemon.get("health")?;
    ensure!(health.contains("person index of ch1: ready"), "{health}");
    ensure!(daemon.metric("posthouse_person_index_entries{node=\"ch1\"}")?.is_none(), "a metric of no index");
    ensure!(site.posthouse(&["persons", "snapshot", "status"])?.code == 3, "an index without functions");
    // WHEN functions are installed THEN it builds the index, and another process may not
    site.must(&["udf", "install"])?;
    daemon.says("built the person index")?;
    daemon.wait("posthouse_person_index_fresh_timestamp_seconds{node=\"ch1\"}", |fresh| fresh > 0)?;
    let refused = site.posthouse(&BUILD)?;
    ensure!(refused.code == 1 && refused.stderr.contains("posthouse run keeps it"), "{refused}");
    let compared = site.query(COMPARED)?;
    ensure!(compared.starts_with("0\t0\t0\t"), "{compared}");
    site.must(&VERIFY)?;
    site.must(&["persons", "snapshot", "status"])?;
    // WHEN the table is recreated THEN the index of the former one is replaced
    site.query_on(0, "DROP TABLE {db}.person_distinct_id SYNC")?;
    site.apply()?;
    daemon.says("the table of distinct ids was recreated")?;
    site.answers("SELECT personSnapshot('entries')", "0", LIMIT)?;
    // WHEN the config does not want an index THEN it is left alone
    drop(daemon);
    site.set("persons", "index", "off");
    let daemon = Daemon::start(site, "off")?;
    let health = daemon.get("health")?;
    ensure!(!health.contains("person index"), "{health}");
    site.must(&BUILD)?;
    Ok(())
}

fn kills_and_damage_lose_no_change_of_an_index() -> anyhow::Result<()> {
    let stack = snapshot::stack(&Progress::Silent)?;
    let report = snapshot::run(&stack, ROUNDS, seed("person_of")?, &|line| eprintln!("person_of: {line}"))?;
    ensure!(report.kills >= ROUNDS / 2 && report.produced > 0, "{report:?}");
    Ok(())
}
