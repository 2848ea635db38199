//! Persons and distinct ids: versions, deletions and views on every node.
//!
//! Every node has all of them, the latest version counts, and the views match a model.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::produce::{consumed_by, produce_into};
use crate::schema::literal;
use crate::seed;

tests! {
    Shared the_latest_version_of_a_person_counts_on_every_node_in_whatever_order_it_came,
    Shared a_person_that_was_deleted_comes_back_with_a_greater_version,
}

const TEAMS: [i64; 3] = [2, 7, -1];
const PERSONS: usize = 300;
/// Values of a property, as JSON and as the argument of `persons_where`.
const PLANS: [(&str, &str); 5] = [
    ("\"free\"", "free"),
    ("\"Überflug \\\"1\\\"\"", "Überflug \"1\""),
    ("42", "42"),
    ("null", ""),
    ("{\"a\":[1]}", "{\"a\":[1]}"),
];
/// Texts that any step between Kafka and disk might corrupt.
const TEXTS: [&str; 5] =
    ["plain", "\\u0000 and \\ud83d\\ude00", "'; DROP TABLE x --", "\\\\ \\\" \\n", "日本語 🦔 é"];

/// One version of a person.
#[derive(Debug, Clone)]
struct Version {
    team: i64,
    id: String,
    version: u64,
    deleted: bool,
    identified: bool,
    created: String,
    properties: String,
    plan: &'static str,
}

impl Version {
    fn message(&self) -> Vec<u8> {
        let message = json!({"id": self.id, "created_at": self.created, "team_id": self.team, "properties": self.properties,
            "is_identified": u8::from(self.identified), "is_deleted": u8::from(self.deleted), "version": self.version});
        message.to_string().into_bytes()
    }
}

pub(crate) fn uuid(random: &mut StdRng) -> String {
    let hex = format!("{:032x}", random.random::<u128>());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Up to six versions of each person, in random order, some persons in several teams, some versions
/// twice.
fn versions(random: &mut StdRng) -> anyhow::Result<Vec<Version>> {
    let mut versions = Vec::new();
    for _ in 0..PERSONS {
        let (id, team) = (uuid(random), *TEAMS.choose(random).context("a team")?);
        let teams = if random.random_bool(0.1) { TEAMS.to_vec() } else { vec![team] };
        for team in teams {
            let numbers: BTreeSet<u64> = (0..random.random_range(1..=6))
                .map(|_| random.random::<u64>() >> random.random_range(1..60))
                .collect();
            for version in numbers {
                let &(plan, name) = PLANS.choose(random).context("a plan")?;
                let text = TEXTS.choose(random).context("a text")?;
                let created = format!(
                    "2026-{:02}-10 10:42:06.{:03}000",
                    random.random_range(1..=12),
                    random.random_range(0..1000)
                );
                let properties = format!("{{\"plan\": {plan}, \"text\": \"{text}\"}}");
                let (deleted, identified) = (random.random_bool(0.2), random.random());
                versions.push(Version {
                    team,
                    id: id.clone(),
                    version,
                    deleted,
                    identified,
                    created,
                    properties,
                    plan: name,
                });
            }
        }
    }
    let again: Vec<Version> = versions.sample(random, 50).cloned().collect();
    versions.extend(again);
    versions.shuffle(random);
    Ok(versions)
}

/// Stops merges, so that none removes a version.
pub(crate) fn stop_merges(site: &Site<'_>) -> anyhow::Result<()> {
    for node in 0..site.stack.nodes().len() {
        let tables = site.query_on(
            node,
            "SELECT name FROM system.tables WHERE database = '{db}' AND engine LIKE '%MergeTree' \
             AND name IN ('person', 'person_distinct_id', 'person_distinct_id2')",
        )?;
        for table in tables.lines() {
            site.query_on(node, &format!("SYSTEM STOP MERGES {{db}}.{table}"))?;
        }
    }
    Ok(())
}

/// Produces messages into the topic of persons or of distinct ids, in a few parts, and waits for
/// every node.
pub(crate) fn put(site: &Site<'_>, distinct_ids: bool, messages: &[Vec<u8>]) -> anyhow::Result<()> {
    let (person, distinct_id) = site.person_topics();
    let (topic, kind) = if distinct_ids { (distinct_id, "_distinct_id") } else { (person, "") };
    for part in messages.chunks(messages.len().div_ceil(4).max(1)) {
        let values: Vec<_> = part.iter().map(|message| Some(message.as_slice())).collect();
        produce_into(site, &topic, &values)?;
        for node in site.stack.nodes() {
            consumed_by(site, &format!("{}_persons{kind}_{}", site.name(), node.name()), &topic)?;
        }
    }
    let letters = site.query("SELECT error, left(raw_message, 300) FROM {db}.person_dead_letter")?;
    ensure!(letters.is_empty(), "dead letters: {letters}");
    Ok(())
}

/// A query's rows as JSON, in order.
pub(crate) fn rows(site: &Site<'_>, node: usize, sql: &str) -> anyhow::Result<Vec<Value>> {
    let settings = "FORMAT JSONCompactEachRow SETTINGS output_format_json_quote_64bit_integers = 0, \
        output_format_json_escape_forward_slashes = 0";
    let rows = site.query_on(node, &format!("{sql} {settings}"))?;
    rows.lines().map(|row| Ok(serde_json::from_str(row)?)).collect()
}

const PERSON: &str = "toString(id) AS person, toString(created_at), hex(properties), is_identified, version";

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

fn the_latest_version_of_a_person_counts_on_every_node_in_whatever_order_it_came(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN tables without merges
    site.with_persons()?.apply()?;
    stop_merges(site)?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let versions = versions(&mut random)?;
    // WHEN versions of persons come in random order, some twice
    put(site, false, &versions.iter().map(Version::message).collect::<Vec<_>>())?;
    let mut latest: BTreeMap<(i64, &str), &Version> = BTreeMap::new();
    for version in &versions {
        let held = latest.entry((version.team, &version.id)).or_insert(version);
        if version.version > held.version {
            *held = version;
        }
    }
    for node in 0..site.stack.nodes().len() {
        // THEN every node has old versions beside new ones, so that the views have a choice (a
        // block keeps its own latest version)
        let stored: usize =
            site.query_on(node, "SELECT uniqExact(team_id, id, version) FROM {db}.person")?.parse()?;
        ensure!(stored > latest.len(), "{stored} versions of {} persons on node {node}", latest.len());
        for team in TEAMS {
            // THEN its view of a team has the latest version of each person, unless that is a
            // deletion
            let live = || latest.iter().filter(|((of, _), version)| *of == team && !version.deleted);
            let row = |version: &Version| {
                let created = &version.created[..23];
                json!([
                    version.id,
                    created,
                    hex(&version.properties),
                    u8::from(version.identified),
                    version.version
                ])
            };
            let wanted: Vec<Value> = live().map(|(_, version)| row(version)).collect();
            let found = rows(
                site,
                node,
                &format!("SELECT {PERSON} FROM {{db}}.persons(team_id = {team}) ORDER BY person"),
            )?;
            ensure!(found == wanted, "team {team} on node {node}: {found:?} are not {wanted:?}");
            // THEN the filtered view has persons that match now, not persons that matched once
            for (_, plan) in PLANS {
                let wanted: Vec<Value> = live()
                    .filter(|(_, version)| !plan.is_empty() && version.plan == plan)
                    .map(|(_, version)| row(version))
                    .collect();
                let view =
                    format!("persons_where(team_id = {team}, property = 'plan', value = {})", literal(plan));
                let found = rows(site, node, &format!("SELECT {PERSON} FROM {{db}}.{view} ORDER BY person"))?;
                ensure!(found == wanted, "{view} on node {node}: {found:?} are not {wanted:?}");
            }
        }
    }
    // THEN a team is found by the primary key
    let plan = site.query("EXPLAIN indexes = 1 SELECT * FROM {db}.persons(team_id = 7)")?;
    ensure!(plan.contains("team_id in [7, 7]"), "{plan}");
    Ok(())
}

fn a_person_that_was_deleted_comes_back_with_a_greater_version(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a person and a distinct id
    site.with_persons()?.apply()?;
    stop_merges(site)?;
    let id = uuid(&mut StdRng::seed_from_u64(seed(site.name())?));
    let person = |version: u64, deleted: bool| {
        let live = json!({"id": id, "team_id": 2, "version": version, "is_deleted": 0, "is_identified": 1,
            "created_at": "2026-11-01 10:42:06.502000", "properties": "{}"});
        let gone = json!({"id": id, "team_id": 2, "version": version, "is_deleted": 1});
        if deleted { gone } else { live }.to_string().into_bytes()
    };
    let distinct_id = |version: u64, deleted: bool| {
        let message = json!({"distinct_id": "d", "person_id": id, "team_id": 2, "version": version, "is_deleted": u8::from(deleted)});
        message.to_string().into_bytes()
    };
    for (version, deleted, wanted) in [(5, false, "1"), (105, true, "0"), (7, false, "0"), (106, false, "1")]
    {
        // WHEN they are deleted by a bare tombstone, an old version comes late, and they are
        // created with a greater version
        put(site, false, &[person(version, deleted)])?;
        put(site, true, &[distinct_id(version, deleted)])?;
        // THEN every node shows them, or does not
        for node in 0..site.stack.nodes().len() {
            for view in ["persons", "person_distinct_ids"] {
                let found =
                    site.query_on(node, &format!("SELECT count() FROM {{db}}.{view}(team_id = 2)"))?;
                ensure!(found == wanted, "{view} has {found} after version {version} on node {node}");
            }
        }
    }
    let gone = site.query(
        "SELECT toString(created_at), properties, is_identified FROM {db}.person WHERE is_deleted = 1",
    )?;
    ensure!(gone == "1970-01-01 00:00:00.000\t\t0", "a tombstone became {gone}");
    Ok(())
}
