//! Views of events and their persons, by JOINs and by functions: the same rows.

use std::fs;

use anyhow::{Context, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::site::Site;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::seed;

tests! {
    Single views_answer_alike_by_joins_and_by_functions,
    Single views_of_the_profile_answer_alike_by_joins_and_by_functions,
    Single views_are_left_until_all_nodes_have_their_functions,
}

/// The views, each with the option that confirms its recreation.
const CONFIRMED: [&str; 6] =
    ["--yes-drop", "events_with_person", "--yes-drop", "unique_persons", "--yes-drop", "person_events"];
const VIEWS: [&str; 3] = [CONFIRMED[1], CONFIRMED[3], CONFIRMED[5]];
/// A team and a time with events. Others have events outside of both.
const OF_TEAM: &str = "team_id = 2, since = '2026-11-01', until = '2026-11-05'";
const BUILD: [&str; 3] = ["persons", "snapshot", "build"];
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
/// The server's default, with which it computes wrong keys in parts from before them
/// (ClickHouse#111757).
const STEPS: &str = "SETTINGS enable_multiple_prewhere_read_steps = 1";
/// Rounds of random versions with each form of the statements.
const ROUNDS: usize = 2;

/// Inserts the same random versions of distinct ids on every node: merges, deletions and revivals,
/// with many equal versions.
pub(crate) fn insert_versions(site: &Site<'_>, table: &str, random: &mut StdRng) -> anyhow::Result<()> {
    let (seed, rows) = (random.random::<u64>(), random.random_range(2_000..20_000));
    for node in 0..site.stack.nodes().len() {
        // A merge of equal versions keeps any of them, so SQL's answer could change.
        site.query_on(node, &format!("SYSTEM STOP MERGES {{db}}.{table}"))?;
        site.query_on(
            node,
            &format!(
                "INSERT INTO {{db}}.{table} (team_id, distinct_id, person_id, is_deleted, version)
                 SELECT
                     1 + sipHash64({seed}, number, 1) % 3,
                     if(number % 97 = 0, unhex('FFFE00'), concat('id-', toString(sipHash64({seed}, number, 2) % 300))),
                     reinterpretAsUUID(sipHash128(sipHash64({seed}, number, 3) % 100)),
                     sipHash64({seed}, number, 4) % 7 = 0,
                     toInt64(sipHash64({seed}, number, 5) % 40) - 3
                 FROM numbers({rows})
                 SETTINGS optimize_on_insert = 0"
            ),
        )?;
    }
    Ok(())
}

/// Inserts events of known and unknown distinct ids of three teams, over a week.
pub(crate) fn insert_events(site: &Site<'_>, random: &mut StdRng) -> anyhow::Result<()> {
    let seed = random.random::<u64>();
    site.query(&format!(
        "INSERT INTO {{db}}.writable_events (uuid, event, distinct_id, team_id, timestamp)
         SELECT
             reinterpretAsUUID(sipHash128({seed}, number)),
             concat('event-', toString(sipHash64({seed}, number, 1) % 4)),
             if(number % 97 = 0, unhex('FFFE00'), concat('id-', toString(sipHash64({seed}, number, 2) % 400))),
             1 + sipHash64({seed}, number, 3) % 3,
             toDateTime64('2026-11-01 00:00:00', 6, 'UTC') + sipHash64({seed}, number, 4) % (7 * 86400)
         FROM numbers(6000)"
    ))
    .map(drop)
}

/// Applies the config's form of the views.
fn apply_form(site: &mut Site<'_>, lookup: &str) -> anyhow::Result<()> {
    site.set("persons", "lookup", lookup);
    site.must(&[&["schema", "apply"][..], &CONFIRMED].concat())?;
    site.must(&["schema", "check"])?;
    Ok(())
}

/// Keeps copies of the views, as `joined_VIEW`, on every node.
fn copy_views(site: &Site<'_>) -> anyhow::Result<()> {
    for node in 0..site.stack.nodes().len() {
        for view in VIEWS {
            let statement = site.query_on(
                node,
                &format!("SELECT create_table_query FROM system.tables WHERE database = '{{db}}' AND name = '{view}' FORMAT TSVRaw"),
            )?;
            let name = format!("{}.{view}", site.name());
            let copy = statement.replacen(&name, &format!("{}.joined_{view}", site.name()), 1);
            ensure!(copy.contains("argMax") && copy != statement, "{statement}");
            site.query_on(node, &copy.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))?;
        }
    }
    Ok(())
}

/// Questions to the views, each with a place for the start of their names.
fn questions(site: &Site<'_>, random: &mut StdRng) -> anyhow::Result<Vec<String>> {
    let persons = site.query(&format!(
        "SELECT DISTINCT toString(person_id) FROM {{db}}.joined_events_with_person({OF_TEAM})
         ORDER BY sipHash64(person_id, {}) LIMIT 3",
        random.random::<u32>()
    ))?;
    let whole = "FORMAT TSVWithNamesAndTypes";
    let mut questions = vec![
        format!(
            "SELECT * REPLACE (hex(distinct_id) AS distinct_id) FROM {{db}}.{{form}}events_with_person({OF_TEAM}) ORDER BY uuid {whole}"
        ),
        format!(
            "SELECT event, uniqExact(person_id) FROM {{db}}.{{form}}events_with_person({OF_TEAM}) GROUP BY event ORDER BY event {STEPS}"
        ),
        format!("SELECT * FROM {{db}}.{{form}}unique_persons({OF_TEAM}) {whole}"),
    ];
    let strange = [NOBODY, "00000000-0000-0000-0000-000000000007"];
    questions.push(format!(
        "SELECT count(), uniqExact(person_id) FROM {{db}}.{{form}}events_with_person({OF_TEAM}) \
         WHERE event != 'event-1' AND distinct_id LIKE '%7%' AND person_id != toUUID('{NOBODY}') {STEPS}"
    ));
    questions.extend(persons.lines().chain(strange).map(|person| {
        format!("SELECT * REPLACE (hex(distinct_id) AS distinct_id) FROM {{db}}.{{form}}person_events({OF_TEAM}, person_id = '{person}') ORDER BY uuid {whole}")
    }));
    Ok(questions)
}

/// Fails unless the views and the copies with JOINs have the same rows, on every node.
fn both_forms_answer_alike(site: &Site<'_>, random: &mut StdRng) -> anyhow::Result<()> {
    for question in questions(site, random)? {
        for node in 0..site.stack.nodes().len() {
            let answer = |form: &str| site.query_on(node, &question.replace("{form}", form));
            let (found, joined) = (answer("")?, answer("joined_")?);
            let differing = found.lines().zip(joined.lines()).find(|(found, joined)| found != joined);
            ensure!(
                found == joined,
                "node {node}: {question}: {} lines, by a JOIN {}: {differing:?}",
                found.lines().count(),
                joined.lines().count()
            );
        }
    }
    Ok(())
}

/// Compares both forms without and with stored keys, as `person_keys` has it.
fn answer_alike(site: &mut Site<'_>, table: &str, person_keys: &[bool]) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    site.with_persons()?.apply()?;
    site.must(&["udf", "install"])?;
    insert_events(site, &mut random)?;
    insert_versions(site, table, &mut random)?;
    for &person_key in person_keys {
        // GIVEN views that join, kept under other names
        site.set("events", "person_key", person_key);
        apply_form(site, "join")?;
        copy_views(site)?;
        // WHEN the config asks for functions
        apply_form(site, "function")?;
        for _ in 0..ROUNDS {
            // WHEN versions arrive, and the index is built THEN both forms have the same rows
            insert_versions(site, table, &mut random)?;
            site.must(&BUILD)?;
            both_forms_answer_alike(site, &mut random)?;
        }
        shards_do_the_work(site, if person_key { "FUNCTION personOfKey(" } else { "FUNCTION personOf(" })?;
    }
    each_shard_has_its_own_index(site, table)
}

fn views_answer_alike_by_joins_and_by_functions(site: &mut Site<'_>) -> anyhow::Result<()> {
    answer_alike(site, "person_distinct_id", &[false, true])
}

fn views_of_the_profile_answer_alike_by_joins_and_by_functions(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events with a person of their own
    site.set("events", "profile", "posthog");
    answer_alike(site, "person_distinct_id2", &[false])
}

/// Fails unless shards look up persons, and aggregate where the view does.
fn shards_do_the_work(site: &Site<'_>, call: &str) -> anyhow::Result<()> {
    let explain = |query: &str| -> anyhow::Result<(String, String)> {
        let plan = site.query(&format!("EXPLAIN distributed = 1, actions = 1 {query}"))?;
        let (node, shard) = plan.split_once("ReadFromRemote").with_context(|| format!("{query}: {plan}"))?;
        Ok((node.to_owned(), shard.to_owned()))
    };
    // WHEN the view aggregates THEN each shard looks up and aggregates, and the node merges
    let (node, shard) = explain(&format!("SELECT * FROM {{db}}.unique_persons({OF_TEAM})"))?;
    let (merging, own_shard) = node.split_once("Union").context("a union of shards")?;
    ensure!(merging.contains("MergingAggregated") && !merging.contains(call), "{merging}");
    for shard in [own_shard, shard.as_str()] {
        ensure!(shard.contains("Aggregating") && shard.contains(call), "{call} is not in {shard}");
    }
    // WHEN the query around it aggregates THEN each shard looks up
    let (node, shard) = explain(&format!(
        "SELECT event, uniqExact(person_id) FROM {{db}}.events_with_person({OF_TEAM}) GROUP BY event"
    ))?;
    let (aggregating, own_shard) = node.split_once("Union").context("a union of shards")?;
    ensure!(!aggregating.contains(call) && own_shard.contains(call), "{node}");
    ensure!(shard.contains(call), "{shard}");
    // WHEN a person is asked for THEN each shard finds its own events of the person
    let (_, shard) = explain(&format!(
        "SELECT event FROM {{db}}.person_events({OF_TEAM}, person_id = '00000000-0000-0000-0000-000000000007')"
    ))?;
    ensure!(shard.contains("CreatingSets"), "{shard}");
    Ok(())
}

/// Fails unless events of each shard have the persons of its own index.
fn each_shard_has_its_own_index(site: &Site<'_>, table: &str) -> anyhow::Result<()> {
    // GIVEN other persons on the second node alone
    let other = "00000000-0000-0000-0000-0000000000ff";
    site.query_on(
        1,
        &format!(
            "INSERT INTO {{db}}.{table} (team_id, distinct_id, person_id, version)
             SELECT DISTINCT team_id, distinct_id, toUUID('{other}'), 1000 FROM {{db}}.events"
        ),
    )?;
    site.must(&BUILD)?;
    for node in 0..site.stack.nodes().len() {
        // WHEN either node is asked THEN the events of the second shard alone have them
        let found = site.query_on(
            node,
            &format!(
                "SELECT count() > 0, sum((person_id = '{other}') != (sipHash64(distinct_id) % 4 >= 1))
                 FROM {{db}}.events_with_person({OF_TEAM})"
            ),
        )?;
        ensure!(found == "1\t0", "on node {node}: {found}");
        let of_person = site.query_on(
            node,
            &format!(
                "SELECT count() > 0, countIf(sipHash64(distinct_id) % 4 < 1)
                 FROM {{db}}.person_events({OF_TEAM}, person_id = '{other}')"
            ),
        )?;
        ensure!(of_person == "1\t0", "on node {node}: {of_person}");
    }
    Ok(())
}

/// Removes the functions of a node.
fn remove_functions(site: &Site<'_>, node: usize) -> anyhow::Result<()> {
    let node = &site.stack.nodes()[node];
    if node.functions_xml().exists() {
        fs::remove_file(node.functions_xml())?;
    }
    node.query("SYSTEM RELOAD FUNCTIONS")?;
    Ok(())
}

/// Number of the views of a node that call a function.
fn calling(site: &Site<'_>, node: usize) -> anyhow::Result<String> {
    site.query_on(
        node,
        &format!(
            "SELECT count() FROM system.tables WHERE database = '{{db}}' AND name IN ('{}') \
             AND create_table_query LIKE '%personOf(%'",
            VIEWS.join("', '")
        ),
    )
}

fn views_are_left_until_all_nodes_have_their_functions(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes without functions, and a config whose views call them
    for node in 0..site.stack.nodes().len() {
        remove_functions(site, node)?;
    }
    site.with_persons()?.set("persons", "lookup", "function");
    site.must(&["topics", "apply"])?;
    // WHEN it is applied THEN all but the views is made, and the next step is named
    let applied = site.posthouse(&["schema", "apply"])?;
    let hint = "ch1, ch2 have no function personOf: run posthouse udf install on their machines";
    ensure!(applied.code == 3 && applied.stdout.contains(hint), "{applied}");
    ensure!(site.query("SELECT count() FROM {db}.events")? == "0" && calling(site, 0)? == "0", "{applied}");
    let check = site.posthouse(&["schema", "check"])?;
    ensure!(check.code == 3 && check.stdout.contains(hint), "{check}");
    // THEN the daemon is not disturbed
    let daemon = Daemon::start(site, "check")?;
    ensure!(daemon.end()? == 0, "another exit code");
    // WHEN the functions are installed THEN the views are made, and import finds their form
    site.must(&["udf", "install"])?;
    site.must(&["schema", "apply"])?;
    site.must(&["schema", "check"])?;
    ensure!(calling(site, 0)? == "3" && calling(site, 1)? == "3", "views do not call the function");
    let url = site.stack.nodes()[0].http_url();
    let imported = site.must(&["schema", "import", "--url", &url, "--database", site.name()])?;
    ensure!(imported.stdout.contains("\nlookup = \"function\"\n"), "{imported}");
    // WHEN they are to be uninstalled THEN it is refused, because views call them
    let refused = site.posthouse(&["udf", "uninstall"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("set persons.lookup = \"join\""), "{refused}");
    // WHEN one node loses them THEN it is named, and the views stay
    remove_functions(site, 1)?;
    let check = site.posthouse(&["schema", "check"])?;
    let hint = "ch2 has no function personOf: run posthouse udf install on its machine";
    ensure!(check.code == 3 && check.stdout.matches(hint).count() == 6, "{check}");
    let applied = site.posthouse(&["schema", "apply"])?;
    ensure!(applied.code == 3 && applied.stdout.contains("0 steps done"), "{applied}");
    // WHEN the config goes back to joins THEN no function is needed
    apply_form(site, "join")?;
    let people = format!("SELECT count() FROM {{db}}.events_with_person({OF_TEAM})");
    ensure!(calling(site, 0)? == "0" && site.query_on(1, &people)? == "0", "views call the function");
    Ok(())
}
