//! The stored key of an event's distinct id, against SQL and the functions.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use posthouse_udf::snapshot::person_key;

use crate::schema::json;
use crate::seed;
use crate::udf::nasty_ids;

tests! {
    Single stored_keys_find_the_persons_of_any_ids_in_old_and_new_parts,
}

/// Two distinct ids with one key, each with its team.
pub(crate) const SHARED_KEY: [(i64, &str); 2] = [(2_135_145, "user-2496394"), (2_566_338, "user-3455836")];
/// More rows than a debug build of the functions answers quickly.
const LARGE: &str = "many blocks";
/// Rows of shards whose parts lack the column.
const LACKING: &str = "SELECT sum(rows) FROM (SELECT any(rows) AS rows FROM system.parts_columns \
    WHERE active AND database = '{db}' AND table = 'sharded_events' \
    GROUP BY name HAVING NOT has(groupArray(column), 'person_key'))";
const EXPRESSION: &str = "bitXor(sipHash64(distinct_id), sipHash64(team_id))";
/// Events with another key than the expression's, and events without one.
const WRONG_KEYS: &str = "SELECT countIf(person_key != bitXor(sipHash64(distinct_id), sipHash64(team_id))), \
    countIf(person_key = 0) FROM {db}.events";
/// Events for which the functions do not agree, and events with a person.
const WRONG_PERSONS: &str = "SELECT countIf(personOfKey(person_key) != personOf(team_id, distinct_id)), \
    countIf(personKnown(team_id, distinct_id) = 1) FROM {db}.events";

/// Stops or starts the merges of events, which write the column.
fn merges(site: &Site<'_>, verb: &str) -> anyhow::Result<()> {
    (0..site.stack.nodes().len()).try_for_each(|node| {
        site.query_on(node, &format!("SYSTEM {verb} MERGES {{db}}.sharded_events")).map(drop)
    })
}

/// Stores an event for each id of every second query, of teams of every size.
fn insert(site: &Site<'_>, seed: u64, parity: usize) -> anyhow::Result<()> {
    for (_, ids) in nasty_ids(seed).into_iter().filter(|(what, _)| *what != LARGE).skip(parity).step_by(2) {
        site.query(&format!(
            "INSERT INTO {{db}}.writable_events (uuid, event, distinct_id, team_id, timestamp)
             SELECT
                 generateUUIDv4(),
                 'seen',
                 id,
                 if(place % 3 = 0, reinterpretAsInt64(sipHash64({seed}, place)), toInt64(place % 5) - 1),
                 '2026-11-01 00:00:00'
             FROM (SELECT id, rowNumberInAllBlocks() AS place FROM ({ids}))"
        ))?;
    }
    Ok(())
}

/// Gives two thirds of the events' distinct ids a person, of which some are deleted since.
fn insert_persons(site: &Site<'_>) -> anyhow::Result<()> {
    for node in 0..site.stack.nodes().len() {
        site.query_on(
            node,
            "INSERT INTO {db}.person_distinct_id (team_id, distinct_id, person_id, is_deleted, version)
             SELECT team_id, distinct_id, reinterpretAsUUID(sipHash128(distinct_id, team_id)),
                 sipHash64(distinct_id, 1) % 5 = 0, 1
             FROM (SELECT DISTINCT team_id, distinct_id FROM {db}.events) WHERE sipHash64(distinct_id, 2) % 3 > 0",
        )?;
    }
    Ok(())
}

/// Inserts both ids of the shared key as events and as distinct ids with persons.
pub(crate) fn insert_shared_key(site: &Site<'_>) -> anyhow::Result<()> {
    for (number, (team_id, distinct_id)) in (1..).zip(SHARED_KEY) {
        site.query(&format!(
            "INSERT INTO {{db}}.writable_events (uuid, event, distinct_id, team_id, timestamp)
             VALUES (generateUUIDv4(), 'shared', '{distinct_id}', {team_id}, '2026-11-01 00:00:00')"
        ))?;
        for node in 0..site.stack.nodes().len() {
            site.query_on(
                node,
                &format!(
                    "INSERT INTO {{db}}.person_distinct_id (team_id, distinct_id, person_id, is_deleted, version)
                     VALUES ({team_id}, '{distinct_id}', '00000000-0000-0000-0000-00000000000{number}', 0, 1)"
                ),
            )?;
        }
    }
    Ok(())
}

/// Conditions of queries, which become steps of PREWHERE.
const CONDITIONS: [&str; 3] = [
    "team_id > 0 AND distinct_id LIKE '%7%'",
    "team_id < 3 AND timestamp >= '2026-11-01' AND timestamp < '2026-11-02' AND distinct_id != ''",
    "event = 'seen' AND team_id > 0 AND length(distinct_id) > 3 AND person_key % 3 = 0",
];

/// Fails unless all keys are those of the expression, and find the persons of their ids.
fn every_key_finds_its_person(site: &Site<'_>) -> anyhow::Result<()> {
    let keys = site.query(WRONG_KEYS)?;
    ensure!(keys == "0\t0", "{keys} wrong and empty keys");
    // A server that forgets the column of a former step computes other keys in old parts.
    for condition in CONDITIONS {
        let sum = |key: &str, settings: &str| {
            let condition = condition.replace("person_key", key);
            site.query(&format!(
                "SELECT count() > 0, sum({key}) FROM {{db}}.events WHERE {condition} {settings}"
            ))
        };
        let (stored, computed) =
            (sum("person_key", "")?, sum(EXPRESSION, "SETTINGS optimize_move_to_prewhere = 0")?);
        ensure!(stored == computed && stored.starts_with("1\t"), "{condition}: {stored}, not {computed}");
    }
    let persons = site.query(WRONG_PERSONS)?;
    let (wrong, known) = persons.split_once('\t').context("two numbers")?;
    ensure!(
        wrong == "0" && known.parse::<u64>()? > 1000,
        "{wrong} keys give another person, {known} have one"
    );
    Ok(())
}

fn stored_keys_find_the_persons_of_any_ids_in_old_and_new_parts(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events of any ids, stored before the column
    let seed = seed(site.name())?;
    site.with_persons()?.apply()?;
    site.must(&["udf", "install"])?;
    merges(site, "STOP")?;
    insert(site, seed, 0)?;
    // WHEN the config asks for it
    site.set("events", "person_key", true);
    let plan = site.posthouse(&["schema", "plan"])?;
    ensure!(plan.code == 3 && plan.stdout.contains("`person_key`"), "{plan}");
    site.must(&["schema", "apply", "--yes-drop", "events_with_person", "--yes-drop", "person_events"])?;
    site.must(&["schema", "check"])?;
    // THEN old parts lack the column, new ones have it, and both find the persons of their ids
    let old: u64 = site.query("SELECT count() FROM {db}.events")?.parse()?;
    insert(site, seed, 1)?;
    let new: u64 = site.query("SELECT count() FROM {db}.events")?.parse()?;
    let mut lacking = 0;
    for node in 0..site.stack.nodes().len() {
        lacking += site.query_on(node, LACKING)?.parse::<u64>()?;
    }
    ensure!(0 < lacking && lacking <= old && old < new, "{lacking} rows lack it of {old} old and {new} rows");
    insert_persons(site)?;
    site.must(&["persons", "snapshot", "build"])?;
    every_key_finds_its_person(site)?;
    // THEN our own code computes the same key
    let ids = site.query(
        "SELECT DISTINCT team_id, hex(distinct_id), person_key FROM {db}.events
         WHERE length(distinct_id) < 1000 ORDER BY person_key LIMIT 20000",
    )?;
    for id in ids.lines() {
        let [team_id, distinct_id, key] = id.split('\t').collect::<Vec<_>>()[..] else {
            anyhow::bail!("three columns are expected, not {id:?}");
        };
        let bytes =
            (0..distinct_id.len()).step_by(2).map(|at| u8::from_str_radix(&distinct_id[at..at + 2], 16));
        let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
        let ours = person_key(team_id.parse()?, &bytes);
        ensure!(ours.to_string() == key, "{id}: our own code computes {ours}");
    }
    // WHEN old parts store it THEN every answer stays
    merges(site, "START")?;
    site.must(&["schema", "materialize", "person_key"])?;
    for node in 0..site.stack.nodes().len() {
        ensure!(site.query_on(node, LACKING)? == "0", "parts lack the column on node {node}");
    }
    every_key_finds_its_person(site)?;
    two_ids_of_one_key_have_no_person(site)
}

/// Fails unless a key that two ids have gives no person, and both ids have theirs.
fn two_ids_of_one_key_have_no_person(site: &Site<'_>) -> anyhow::Result<()> {
    insert_shared_key(site)?;
    site.must(&["persons", "snapshot", "build"])?;
    let found = site.query(
        "SELECT uniqExact(person_key), uniqExact(personOf(team_id, distinct_id)), any(personOfKey(person_key)), max(personOfKey(person_key))
         FROM {db}.events WHERE event = 'shared'",
    )?;
    let nobody = "00000000-0000-0000-0000-000000000000";
    ensure!(found == format!("1\t2\t{nobody}\t{nobody}"), "{found}");
    let keys: BTreeSet<u64> =
        SHARED_KEY.iter().map(|(team_id, id)| person_key(*team_id, id.as_bytes())).collect();
    let status = json(&site.must(&["persons", "snapshot", "status", "--json"])?)?;
    ensure!(
        keys.len() == 1 && status[0]["shared_keys"].as_array().is_some_and(|keys| keys.len() == 1),
        "{status:#}"
    );
    Ok(())
}
