//! Shards that a query of `events` asks, under the recommended profile.

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use posthouse_udf::shard::{Weights, shard_key};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::schema::literal;
use crate::seed;

tests! {
    Shared a_query_of_one_distinct_id_asks_its_shard_alone,
    Shared answers_are_those_of_all_shards,
    Shared a_view_picks_shards_for_every_user_if_the_config_says_so,
}

/// The weights of the shared stack.
const WEIGHTS: [u32; 2] = [1, 3];
const IDS_OF_A_SHARD: usize = 4;
const ROWS: usize = 150;
const ROUNDS: usize = 3;
const ALL_SHARDS: &str = "SETTINGS optimize_skip_unused_shards = 0";
const ALWAYS: &str = "since = '2000-01-01', until = '2100-01-01'";
const PERSON: &str = "00000000-0000-0000-0000-000000000001";

/// Queries that name the distinct ids `{a}`, `{b}` and `{c}`.
const QUERIES: &[&str] = &[
    "SELECT count(), uniqExact(uuid), sum(_offset) FROM {db}.events WHERE distinct_id = {a}",
    "SELECT event, count() AS n FROM {db}.events WHERE distinct_id IN ({a}, {b}, {c}) GROUP BY event ORDER BY event",
    "SELECT distinct_id, count() FROM {db}.events WHERE distinct_id IN ({a}, {b}, {c}) GROUP BY distinct_id ORDER BY distinct_id",
    "SELECT distinct_id, count() FROM {db}.events GROUP BY distinct_id ORDER BY distinct_id LIMIT 5",
    "SELECT DISTINCT distinct_id FROM {db}.events ORDER BY distinct_id",
    "SELECT count() FROM {db}.events WHERE (distinct_id = {a} AND event = 'event-1') OR (distinct_id = {b} AND event != 'event-1')",
    "SELECT count() FROM {db}.events WHERE distinct_id = {a} AND distinct_id = {b}",
    "SELECT count() FROM {db}.events WHERE distinct_id NOT IN ({a}, {b})",
    "SELECT count() FROM {db}.events WHERE NOT (distinct_id = {a})",
    "SELECT distinct_id IN ({a}, {b}) AS named, count() FROM {db}.events GROUP BY named ORDER BY named",
    "SELECT distinct_id IN ({a}, {b}) AS named, uuid FROM {db}.events WHERE distinct_id IN ({a}, {b}, {c}) ORDER BY uuid",
    "SELECT countIf(distinct_id = {a}), countIf(distinct_id IN ({b}, {c})) FROM {db}.events",
    "SELECT l.distinct_id, count() FROM {db}.events AS l INNER JOIN {db}.events AS r USING (event) WHERE l.distinct_id = {a} GROUP BY l.distinct_id",
    "SELECT r.distinct_id, count() FROM {db}.events AS l INNER JOIN {db}.events AS r USING (event) WHERE l.distinct_id = {a} GROUP BY r.distinct_id ORDER BY 1",
    "SELECT r.distinct_id, count() FROM {db}.events AS l LEFT JOIN {db}.events AS r USING (event) WHERE r.distinct_id = {a} GROUP BY r.distinct_id ORDER BY 1",
    "SELECT count() FROM {db}.events AS l INNER JOIN {db}.events AS r ON l.event = r.event WHERE r.distinct_id = {a}",
    "SELECT upper(r.event), uniqExact(l.uuid) FROM {db}.events AS l INNER JOIN {db}.events AS r ON l.distinct_id = r.distinct_id GROUP BY upper(r.event) ORDER BY 1",
    "SELECT r.distinct_id, uniqExact(l.uuid) FROM {db}.events AS l LEFT JOIN {db}.events AS r ON l.distinct_id = r.distinct_id AND l.event > 'event-4' GROUP BY r.distinct_id ORDER BY 1",
    "SELECT count() FROM {db}.events_with_person(team_id = 7, {always}) WHERE distinct_id IN ({a}, {b})",
];

/// Applies the schema, and inserts random events. Returns their distinct ids as SQL literals, some
/// of them without any event.
fn events(site: &mut Site<'_>, random: &mut StdRng) -> anyhow::Result<Vec<(String, u32)>> {
    site.with_persons()?.apply()?;
    let chooser = Weights::new(&WEIGHTS)?;
    let placed = |id: String| (literal(&id), chooser.shard_of(shard_key(id.as_bytes())));
    let mut ids: Vec<(String, u32)> = ["", "it's", "é\\n"].map(str::to_owned).map(placed).into();
    for shard in [1, 2].repeat(IDS_OF_A_SHARD) {
        let mut random_ids = std::iter::repeat_with(|| placed(format!("user-{}", random.random::<u32>())));
        ids.extend(random_ids.find(|(_, of)| *of == shard));
    }
    // The last id of each shard has no event.
    let with_events = ids.len() - 2;
    let rows: Vec<String> = (0..ROWS)
        .map(|number| {
            let (id, _) = &ids[random.random_range(0..with_events)];
            let (name, minute) = (random.random_range(0..8), random.random_range(0..60));
            format!("(generateUUIDv4(), 'event-{name}', {id}, 7, '2026-11-01 00:{minute:02}:00', {number})")
        })
        .collect();
    site.query(&format!(
        "INSERT INTO {{db}}.writable_events (uuid, event, distinct_id, team_id, timestamp, _offset) VALUES {}",
        rows.join(", ")
    ))?;
    Ok(ids)
}

/// The shards of a plan of the first node: its own, if the plan reads parts, and the second, if it
/// reads from remote. A shard without any part for the query is asked too.
fn asked(plan: &str) -> Vec<u32> {
    let own = plan.contains("ReadFromMergeTree") || plan.contains("ReadFromPreparedSource");
    let shards = [(own, 1), (plan.contains("ReadFromRemote"), 2)];
    shards.into_iter().filter_map(|(is_asked, shard)| is_asked.then_some(shard)).collect()
}

fn a_query_of_one_distinct_id_asks_its_shard_alone(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events of random distinct ids on two weighted shards
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let ids = events(site, &mut random)?;
    // The server reads an empty id as the function empty, which names no shard.
    for (id, shard) in ids.iter().filter(|(id, _)| id != "''") {
        for query in [
            format!(
                "SELECT event, count() FROM {{db}}.events WHERE distinct_id = {id} AND team_id = 7 GROUP BY event"
            ),
            format!("SELECT uuid FROM {{db}}.events PREWHERE distinct_id IN ({id})"),
            format!(
                "SELECT event FROM {{db}}.events_with_person(team_id = 7, {ALWAYS}) WHERE distinct_id = {id}"
            ),
        ] {
            // WHEN a query names one of them THEN it asks the shard that the rule gives alone
            let plan = site.query(&format!("EXPLAIN {query}"))?;
            ensure!(asked(&plan) == [*shard], "{query} asks {:?}, not {shard}: {plan}", asked(&plan));
            // WHEN the setting is off THEN it asks every shard
            let plan = site.query(&format!("EXPLAIN {query} {ALL_SHARDS}"))?;
            ensure!(asked(&plan) == [1, 2], "{query} {ALL_SHARDS} asks {:?}: {plan}", asked(&plan));
        }
    }
    // WHEN ids of both shards, or no id, are named THEN it asks both
    let of = |wanted: u32| ids.iter().rfind(|(_, shard)| *shard == wanted).context("an id of each shard");
    let ((one, _), (other, _)) = (of(1)?, of(2)?);
    for filter in [
        format!("distinct_id IN ({one}, {other})"),
        format!("distinct_id = {one} OR distinct_id = {other}"),
        format!("distinct_id = {one} OR event = 'event-1'"),
        "team_id = 7".to_owned(),
    ] {
        let plan = site.query(&format!("EXPLAIN SELECT count() FROM {{db}}.events WHERE {filter}"))?;
        ensure!(asked(&plan) == [1, 2], "{filter} asks {:?}: {plan}", asked(&plan));
    }
    rows_on_a_wrong_shard_are_missed(site, other)
}

fn answers_are_those_of_all_shards(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events of random distinct ids, of which a query names some
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let ids = events(site, &mut random)?;
    for _ in 0..ROUNDS {
        let named: Vec<&str> = ids.sample(&mut random, 3).map(|(id, _)| id.as_str()).collect();
        for query in QUERIES {
            let query = ["{a}", "{b}", "{c}"]
                .iter()
                .zip(&named)
                .fold((*query).to_owned(), |query, (place, id)| query.replace(place, id))
                .replace("{always}", ALWAYS);
            // WHEN it is asked with and without the setting THEN both answers are the same
            let (picked, all) = (site.query(&query)?, site.query(&format!("{query} {ALL_SHARDS}"))?);
            ensure!(picked == all, "{query} answers\n{picked}\nand from all shards\n{all}");
        }
    }
    subqueries_run_where_their_rows_are(site, &ids)
}

fn a_view_picks_shards_for_every_user_if_the_config_says_so(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a view that picks shards, and events of random distinct ids
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    site.set("events", "views_skip_unused_shards", true);
    let ids = events(site, &mut random)?;
    for (id, shard) in ids.iter().filter(|(id, _)| id != "''") {
        // WHEN a user without the setting asks for one id THEN its shard alone is asked
        let view = format!("{{db}}.events_with_person(team_id = 7, {ALWAYS}) WHERE distinct_id = {id}");
        let of_person = format!(
            "{{db}}.person_events(team_id = 7, person_id = '{PERSON}', {ALWAYS}) WHERE distinct_id = {id}"
        );
        for view in [&view, &of_person] {
            let plan = site.query(&format!("EXPLAIN SELECT event FROM {view} {ALL_SHARDS}"))?;
            ensure!(asked(&plan) == [*shard], "{id} asks {:?}, not {shard}: {plan}", asked(&plan));
        }
        // THEN the answer is that of the table
        let count = |from: &str| site.query(&format!("SELECT count() FROM {from} {ALL_SHARDS}"));
        let table = format!("{{db}}.events WHERE team_id = 7 AND distinct_id = {id}");
        let (viewed, stored) = (count(&view)?, count(&table)?);
        ensure!(viewed == stored, "{id} has {viewed} events in the view, and {stored} in the table");
    }
    // THEN the schema has no difference
    site.must(&["schema", "plan"])?;
    Ok(())
}

/// Fails unless a row of `id` on a wrong shard is missed by queries that pick their shards, and by
/// no others.
fn rows_on_a_wrong_shard_are_missed(site: &Site<'_>, id: &str) -> anyhow::Result<()> {
    // GIVEN an event of the second shard's distinct id on the first
    site.query(&format!(
        "INSERT INTO {{db}}.sharded_events (uuid, event, distinct_id, timestamp) VALUES (generateUUIDv4(), 'astray', {id}, '2026-11-01 00:00:00')"
    ))?;
    // WHEN it is queried by its distinct id THEN it is missed, unless all shards are asked
    let query = format!("SELECT count() FROM {{db}}.events WHERE distinct_id = {id} AND event = 'astray'");
    ensure!(site.query(&query)? == "0", "{}", site.query(&query)?);
    let all = site.query(&format!("{query} {ALL_SHARDS}"))?;
    ensure!(all == "1", "{all}");
    // WHEN distinct ids are grouped THEN the id's rows of both shards are one group
    let twice = site.query("SELECT count() - uniqExact(distinct_id) FROM (SELECT distinct_id, count() FROM {db}.events GROUP BY distinct_id)")?;
    ensure!(twice == "0", "{twice} groups are there twice");
    Ok(())
}

/// Fails unless subqueries of events see the rows of all shards, and those of persons each shard's
/// copy.
fn subqueries_run_where_their_rows_are(site: &Site<'_>, ids: &[(String, u32)]) -> anyhow::Result<()> {
    // GIVEN persons of some distinct ids on every node
    let of_person: Vec<&str> = ids.iter().step_by(3).map(|(id, _)| id.as_str()).collect();
    let rows: Vec<String> = of_person
        .iter()
        .map(|id| format!("(7, {id}, '00000000-0000-0000-0000-000000000001', 0, 1)"))
        .collect();
    for node in 0..site.stack.nodes().len() {
        site.query_on(
            node,
            &format!("INSERT INTO {{db}}.person_distinct_id (team_id, distinct_id, person_id, is_deleted, version) VALUES {}", rows.join(", ")),
        )?;
    }
    let (id, _) = &ids[0];
    // WHEN a subquery reads events THEN each shard's rows are compared with those of all shards
    let names =
        site.query(&format!("SELECT groupUniqArray(event) FROM {{db}}.events WHERE distinct_id = {id}"))?;
    let expected = site.query(&format!("SELECT count() FROM {{db}}.events WHERE has({names}, event)"))?;
    let query = format!(
        "SELECT count() FROM {{db}}.events WHERE event IN (SELECT event FROM {{db}}.events WHERE distinct_id = {id})"
    );
    ensure!(
        site.query(&query)? == expected && expected != "0",
        "{} instead of {expected}",
        site.query(&query)?
    );
    // WHEN the mode is another THEN it is refused, or each shard knows its own rows alone
    let denied = site.query(&format!("{query} SETTINGS distributed_product_mode = 'deny'"));
    ensure!(denied.as_ref().is_err_and(|error| format!("{error:#}").contains("Code: 288")), "{denied:?}");
    let local = site.query(&format!("{query} SETTINGS distributed_product_mode = 'local'"))?;
    ensure!(local.parse::<u64>()? < expected.parse()?, "local: {local}, all: {expected}");
    // WHEN a subquery reads persons THEN each shard reads its own copy
    let expected = site.query(&format!(
        "SELECT count() FROM {{db}}.events WHERE distinct_id IN ({})",
        of_person.join(", ")
    ))?;
    for (operator, table) in [
        ("IN", "person_distinct_id"),
        ("GLOBAL IN", "person_distinct_id"),
        // The server sends no parameters of a view to the shards.
        ("GLOBAL IN", "person_distinct_ids(team_id = 7)"),
    ] {
        let found = site.query(&format!(
            "SELECT count() FROM {{db}}.events WHERE distinct_id {operator} \
             (SELECT distinct_id FROM {{db}}.{table} WHERE person_id = '00000000-0000-0000-0000-000000000001')"
        ))?;
        ensure!(found == expected && found != "0", "{operator} {table}: {found} instead of {expected}");
    }
    Ok(())
}
