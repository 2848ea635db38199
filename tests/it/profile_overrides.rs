//! Events with the person of their ingestion: overrides, and their squash.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, PersonWorkload, Rules};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::events::event;
use crate::persons_letters::everywhere_consumed;
use crate::persons_source::{LIMIT, follows};
use crate::produce::{consumed, produce, produce_into};
use crate::seed;

tests! {
    Shared events_have_their_current_person_before_and_after_a_squash_that_is_killed,
    Shared distinct_ids_take_the_other_name_with_all_their_rows,
    Server every_replica_writes_the_same_persons,
}

/// Changes of persons, and events, between two comparisons.
const CHANGES: u64 = 150;
const EVENTS: usize = 400;
const ROUNDS: usize = 2;
/// Squashes that are killed before one may end.
const KILLS: usize = 2;

/// The persons of each distinct id's events, as queries with overrides give them.
const WITH_OVERRIDES: &str =
    "SELECT toInt64(events.team_id), events.distinct_id, arraySort(groupUniqArray(toString(
        if(notEmpty(overrides.distinct_id), overrides.person_id, events.person_id))))
    FROM {db}.events AS events
    LEFT JOIN
    (
        SELECT team_id, distinct_id, argMax(person_id, version) AS person_id
        FROM {db}.person_distinct_id_overrides
        GROUP BY team_id, distinct_id HAVING argMax(is_deleted, version) = 0
    ) AS overrides ON (overrides.team_id = events.team_id) AND (overrides.distinct_id = events.distinct_id)
    GROUP BY ALL FORMAT JSONCompactEachRow SETTINGS output_format_json_quote_64bit_integers = 0";
/// The same as the events alone have them.
const OF_EVENTS: &str = "SELECT toInt64(team_id), distinct_id, arraySort(groupUniqArray(toString(person_id)))
    FROM {db}.events GROUP BY ALL FORMAT JSONCompactEachRow SETTINGS output_format_json_quote_64bit_integers = 0";
pub(crate) const LIVE_OVERRIDES: &str = "SELECT count() FROM (SELECT 1 FROM {db}.person_distinct_id_overrides
    GROUP BY team_id, distinct_id HAVING argMax(is_deleted, version) = 0)";

/// Events of this replica whose person is not that of their distinct id.
const OF_SHARD: &str = "SELECT count() FROM {db}.sharded_events AS events
    INNER JOIN (SELECT * FROM {db}.person_distinct_id2 FINAL) AS ids
        ON (ids.team_id = events.team_id) AND (ids.distinct_id = events.distinct_id)
    WHERE events.person_id != ids.person_id";

/// Deleted distinct ids, and whether they have a person.
const DELETED: &str =
    "SELECT toInt64(team_id), distinct_id, person_id != toUUID('00000000-0000-0000-0000-000000000000')
    FROM {db}.person_distinct_id2 FINAL WHERE is_deleted = 1
    FORMAT JSONCompactEachRow SETTINGS output_format_json_quote_64bit_integers = 0";

/// The current persons of distinct ids, by team and distinct id.
type Mapping = BTreeMap<(i64, String), String>;

/// Produces events that carry the persons of now.
fn events_of_now(site: &Site<'_>, mapping: &Mapping, random: &mut StdRng) -> anyhow::Result<()> {
    let known: Vec<_> = mapping.iter().collect();
    let messages = (0..EVENTS).map(|number| {
        let ((team, distinct_id), person) = known.choose(random).context("no distinct id")?;
        let mut event = event(number);
        event.insert("uuid".to_owned(), json!(uuid::Uuid::from_u128(random.random()).to_string()));
        event.insert("team_id".to_owned(), json!(team));
        event.insert("distinct_id".to_owned(), json!(distinct_id));
        event.insert("person_id".to_owned(), json!(person));
        Ok(Value::Object(event).to_string().into_bytes())
    });
    let messages: Vec<Vec<u8>> = messages.collect::<anyhow::Result<_>>()?;
    produce(site, &messages.iter().map(|message| Some(message.as_slice())).collect::<Vec<_>>())?;
    consumed(site)
}

/// The distinct ids that have a person, and whose events do not all have it.
fn wrong(site: &Site<'_>, query: &str, mapping: &Mapping) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for node in 0..site.stack.nodes().len() {
        for line in site.query_on(node, query)?.lines() {
            let (team, distinct_id, persons): (i64, String, Vec<String>) = serde_json::from_str(line)?;
            let Some(person) = mapping.get(&(team, distinct_id.clone())) else { continue };
            if persons != [person.clone()] {
                wrong.push(format!("node {node}: {team}:{distinct_id} has {persons:?}, not {person}"));
            }
        }
    }
    Ok(wrong)
}

fn has_current_persons(site: &Site<'_>, query: &str, mapping: &Mapping) -> anyhow::Result<()> {
    let wrong = wrong(site, query, mapping)?;
    ensure!(wrong.is_empty(), "{} distinct ids:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Waits until all changes are before the second of now, and returns the plan of a squash.
pub(crate) fn overrides_planned(site: &Site<'_>) -> anyhow::Result<Value> {
    let overrides: u64 = site.query(LIVE_OVERRIDES)?.parse()?;
    wait_until("a plan with all overrides", LIMIT, || {
        let planned = || -> anyhow::Result<Value> {
            let plan = site.posthouse(&["persons", "squash", "--older-than", "0s", "--json"])?;
            serde_json::from_str(&plan.stdout).with_context(|| plan.to_string())
        };
        match planned() {
            Ok(plan) if plan["distinct_ids"] == overrides => ControlFlow::Break(Ok(plan)),
            Ok(plan) => ControlFlow::Continue(anyhow!("{overrides} overrides, and {plan}")),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    })
}

fn squash_with_kills(site: &Site<'_>, random: &mut StdRng) -> anyhow::Result<()> {
    // Several rounds, so that kills meet each of their steps.
    let squash = ["persons", "squash", "--apply", "--older-than", "0s", "--ids-per-round", "40"];
    for _ in 0..KILLS {
        let mut child = site.spawn(&squash)?;
        thread::sleep(Duration::from_millis(random.random_range(0..1_500)));
        child.kill()?;
        child.wait()?;
    }
    site.must(&squash).map(drop)
}

fn events_have_their_current_person_before_and_after_a_squash_that_is_killed(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN the posthog profile, and persons that come from PostgreSQL
    site.set("events", "profile", "posthog");
    let person_db = PersonDatabase::with(site.stack.postgres()?, site.name(), Rules::default())?;
    person_db.configure(site)?;
    site.apply()?;
    let daemon = Daemon::start(site, "off")?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let mut seen = BTreeSet::new();
    for round in 0..ROUNDS {
        // WHEN persons are merged, deleted and revived, and events carry the person of their time
        let workload = PersonWorkload { distinct_ids: 150, ..PersonWorkload::new(random.random(), CHANGES) };
        workload.run(&person_db, &AtomicBool::new(false))?;
        follows(site, &person_db, &daemon)?;
        // The views of one block do not write it at the same time.
        everywhere_consumed(site)?;
        let mapping = person_db.people()?.distinct_ids;
        seen.extend(mapping.keys().cloned());
        events_of_now(site, &mapping, &mut random)?;
        workload.run(&person_db, &AtomicBool::new(false))?;
        follows(site, &person_db, &daemon)?;
        // The views of one block do not write it at the same time.
        everywhere_consumed(site)?;
        let mapping = person_db.people()?.distinct_ids;
        // THEN the overrides give each event its current person, and are few
        has_current_persons(site, WITH_OVERRIDES, &mapping).with_context(|| format!("round {round}"))?;
        let overrides: usize = site.query(LIVE_OVERRIDES)?.parse()?;
        let before = wrong(site, OF_EVENTS, &mapping)?.len();
        ensure!(before > 0 && overrides > 0, "{before} wrong, {overrides} overrides");
        // THEN a plan counts what a squash writes, and changes nothing
        let planned = overrides_planned(site)?;
        let events: u64 = planned["shards"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|shard| shard["partitions"].as_array().into_iter().flatten())
            .filter_map(|partition| partition["events"].as_u64())
            .sum();
        ensure!(events > 0, "{planned}");
        ensure!(wrong(site, OF_EVENTS, &mapping)?.len() == before, "a plan has written events");
        // WHEN a squash is killed several times, and one ends
        squash_with_kills(site, &mut random)?;
        // THEN the events themselves have their current persons, and no override is left
        has_current_persons(site, OF_EVENTS, &mapping)?;
        has_current_persons(site, WITH_OVERRIDES, &mapping)?;
        site.answers(LIVE_OVERRIDES, "0", LIMIT)?;
    }
    // THEN deleted distinct ids keep their last person, if they ever had one
    for line in site.query(DELETED)?.lines() {
        let (team, distinct_id, has_person): (i64, String, u8) = serde_json::from_str(line)?;
        let had_person = seen.contains(&(team, distinct_id.clone()));
        ensure!(!had_person || has_person == 1, "{team}:{distinct_id} has lost its person");
    }
    // THEN all distinct ids can be compared too, and nothing is left to write
    let all = site.must(&["persons", "squash", "--older-than", "0s", "--all-distinct-ids"])?;
    ensure!(all.stdout.contains("0 events have another person"), "{all}");
    Ok(())
}

/// Confirmations of views that name the table.
const RENAMED: [&str; 10] = [
    "--yes-drop",
    "person_distinct_id_mv",
    "--yes-drop",
    "events_with_person",
    "--yes-drop",
    "unique_persons",
    "--yes-drop",
    "person_events",
    "--yes-drop",
    "person_distinct_ids",
];

fn content(site: &Site<'_>, table: &str) -> anyhow::Result<String> {
    site.query(&format!("SELECT count(), sum(cityHash64(*)) FROM {{db}}.{table} FINAL"))
}

fn distinct_ids_take_the_other_name_with_all_their_rows(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN persons under the documented names
    let person_db = PersonDatabase::with(site.stack.postgres()?, site.name(), Rules::default())?;
    person_db.configure(site)?;
    site.apply()?;
    let daemon = Daemon::start(site, "off")?;
    let workload = PersonWorkload::new(seed(site.name())?, 200);
    workload.run(&person_db, &AtomicBool::new(false))?;
    follows(site, &person_db, &daemon)?;
    // Changes that give no distinct id another person can still be on their way.
    daemon.end()?;
    everywhere_consumed(site)?;
    let before = content(site, "person_distinct_id")?;
    // WHEN the config names the table as the app does
    site.set("persons", "distinct_id_table", "person_distinct_id2");
    let plan = site.posthouse(&["schema", "plan"])?;
    ensure!(plan.stdout.contains("renamed from person_distinct_id"), "{plan}");
    let refused = site.posthouse(&["schema", "apply"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("--yes-drop person_distinct_id_mv"), "{refused}");
    site.must(&[&["schema", "apply"][..], &RENAMED].concat())?;
    // THEN it has its rows, the former name is a view of it, and changes follow
    ensure!(content(site, "person_distinct_id2")? == before, "other rows");
    ensure!(
        site.query(
            "SELECT engine FROM system.tables WHERE database = '{db}' AND name = 'person_distinct_id'"
        )? == "View"
    );
    let daemon = Daemon::start(site, "off")?;
    workload.run(&person_db, &AtomicBool::new(false))?;
    follows(site, &person_db, &daemon)?;
    site.must(&["schema", "check"])?;
    daemon.end()?;
    everywhere_consumed(site)?;
    // WHEN the config takes the other name back, where the view is, and changes again THEN the rows
    // follow
    let before = content(site, "person_distinct_id2")?;
    for table in ["person_distinct_id", "person_distinct_id2"] {
        site.set("persons", "distinct_id_table", table);
        site.must(&[&["schema", "apply"][..], &RENAMED].concat())?;
        ensure!(content(site, table)? == before, "other rows in {table}");
        site.must(&["schema", "check"])?;
    }
    // WHEN a table with rows has the name of the view THEN it stays, until the config accepts it
    site.query("DROP VIEW {db}.person_distinct_id")?;
    site.query("CREATE TABLE {db}.person_distinct_id (a UInt8) ENGINE = MergeTree ORDER BY a")?;
    let left = site.posthouse(&["schema", "apply", "--yes-drop", "person_distinct_id"])?;
    ensure!(left.code == 3 && left.stdout.contains("a table with rows has this name"), "{left}");
    ensure!(site.query("SELECT count() FROM {db}.person_distinct_id")? == "0", "it is another table");
    site.set("schema", "unmanaged", vec![toml::Value::from("person_distinct_id kind")]);
    site.must(&["schema", "check"])?;
    Ok(())
}

fn every_replica_writes_the_same_persons() -> anyhow::Result<()> {
    // GIVEN two shards with two replicas each, and events of distinct ids that get another person
    let stack = Stack::start(StackSpec::default().replicas(2), &Progress::Silent)?;
    let mut site = Site::new(&stack, "profile_replicas")?;
    site.set("events", "profile", "posthog");
    site.with_persons()?.apply()?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let mut mapping = Mapping::new();
    for (version, history) in [(1, "new"), (2, "changed")] {
        let versions = (0..200).map(|number| {
            let (distinct_id, person) = (format!("user-{number}"), uuid::Uuid::from_u128(random.random()).to_string());
            let message = json!({"team_id": 7, "distinct_id": distinct_id, "person_id": person, "is_deleted": 0,
                "version": version, "mapping": history});
            mapping.insert((7, distinct_id), person);
            message.to_string().into_bytes()
        });
        let versions: Vec<Vec<u8>> = versions.collect();
        let values: Vec<_> = versions.iter().map(|message| Some(message.as_slice())).collect();
        produce_into(&site, &site.person_topics().1, &values)?;
        let newest = format!("SELECT countIf(version = {version}) FROM {{db}}.person_distinct_id2 FINAL");
        site.answers(&newest, "200", LIMIT)?;
        if version == 1 {
            events_of_now(&site, &mapping, &mut random)?;
        }
    }
    // WHEN they are squashed
    overrides_planned(&site)?;
    site.must(&["persons", "squash", "--apply", "--older-than", "0s"])?;
    // THEN each replica alone has the current persons, and no override is left
    for node in 0..stack.nodes().len() {
        let wrong = site.query_on(node, OF_SHARD)?;
        ensure!(wrong == "0", "{wrong} events on node {node} have former persons");
        ensure!(site.query_on(node, LIVE_OVERRIDES)? == "0", "overrides are left on node {node}");
    }
    has_current_persons(&site, OF_EVENTS, &mapping)
}
