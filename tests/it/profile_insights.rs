//! Insights of an analytics application on two shards of the profile: the same answers as from one
//! plain table.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, Rules};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use posthouse_tests::traffic::{Traffic, TrafficEvent};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::persons_letters::everywhere_consumed;
use crate::persons_source::{follows, person_database};
use crate::produce::{consumed, produce};
use crate::profile_overrides::{LIVE_OVERRIDES, overrides_planned};
use crate::seed;

tests! {
    Shared answers_of_two_shards_equal_those_of_one_plain_table,
    Own no_answer_is_wrong_when_a_node_is_killed,
}

/// The queries, each below a line with its name.
const QUERIES: &str = include_str!("../fixtures/insights.sql");
const VISITORS: usize = 60;
const VISITS: usize = 700;
/// The team of the queries. Another one has the same distinct ids.
const TEAM: &str = "2";
/// The query that reads the persons of the messages, which a squash replaces.
const STORED_PERSONS: &str = "events: every column of every event";
/// A squash of all overrides.
const SQUASH: [&str; 5] = ["persons", "squash", "--apply", "--older-than", "0s"];
/// Kills of a node and a squash.
const KILLS: usize = 3;
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Tables of the oracle, filled from the model of the traffic. Types are those of the cluster.
const ORACLE: [&str; 3] = [
    "CREATE TABLE {db}.oracle_events ENGINE = MergeTree ORDER BY (team_id, timestamp) AS \
     SELECT *, person_id AS live_person, person_id AS overridden_person FROM {db}.events LIMIT 0",
    "CREATE TABLE {db}.oracle_persons ENGINE = MergeTree ORDER BY id AS \
     SELECT team_id, id, properties, is_identified, created_at FROM {db}.person LIMIT 0",
    "CREATE TABLE {db}.oracle_ids ENGINE = MergeTree ORDER BY distinct_id AS \
     SELECT team_id, distinct_id, person_id FROM {db}.person_distinct_id LIMIT 0",
];

/// How a query finds the person of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PersonResolution {
    /// By the live distinct ids. Events without a person are left out.
    Live,
    /// The person of the event's message, unless the distinct id got another one since.
    Overrides,
}

/// SQL that a query is completed with.
struct Fragments {
    events: String,
    plain: String,
    person: &'static str,
    persons: String,
    ids: String,
}

impl Fragments {
    /// Tables and views of the cluster.
    fn cluster(resolution: PersonResolution) -> Self {
        let newest = |table: &str| {
            format!(
                "SELECT newest.distinct_id AS distinct_id, argMax(newest.person_id, newest.version) AS person_id \
                 FROM {{db}}.{table} AS newest WHERE newest.team_id = {TEAM} \
                 GROUP BY distinct_id HAVING argMax(newest.is_deleted, newest.version) = 0"
            )
        };
        let ids = newest("person_distinct_id2");
        let (join, person) = match resolution {
            PersonResolution::Live => (format!("INNER JOIN ({ids})"), "pdi.person_id"),
            PersonResolution::Overrides => (
                format!("LEFT JOIN ({})", newest("person_distinct_id_overrides")),
                "if(notEmpty(pdi.distinct_id), pdi.person_id, e.person_id)",
            ),
        };
        Self {
            events: format!("{{db}}.events AS e {join} AS pdi ON e.distinct_id = pdi.distinct_id"),
            plain: "{db}.events AS e".to_owned(),
            person,
            persons: format!(
                "SELECT newest.id AS id, argMax(newest.properties, newest.version) AS properties, \
                 argMax(newest.is_identified, newest.version) AS is_identified, \
                 argMax(newest.created_at, newest.version) AS created_at \
                 FROM {{db}}.person AS newest WHERE newest.team_id = {TEAM} \
                 GROUP BY id HAVING argMax(newest.is_deleted, newest.version) = 0"
            ),
            ids,
        }
    }

    /// Tables of the oracle.
    fn oracle(resolution: PersonResolution) -> Self {
        let (condition, person) = match resolution {
            PersonResolution::Live => (format!("live_person != '{NOBODY}'"), "e.live_person"),
            PersonResolution::Overrides => ("1".to_owned(), "e.overridden_person"),
        };
        Self {
            events: format!("(SELECT * FROM {{db}}.oracle_events WHERE {condition}) AS e"),
            plain: "{db}.oracle_events AS e".to_owned(),
            person,
            persons: format!("SELECT * FROM {{db}}.oracle_persons WHERE team_id = {TEAM}"),
            ids: format!("SELECT * FROM {{db}}.oracle_ids WHERE team_id = {TEAM}"),
        }
    }

    fn complete(&self, query: &str) -> String {
        query
            .replace("{events}", &self.events)
            .replace("{plain}", &self.plain)
            .replace("{person}", self.person)
            .replace("{persons}", &self.persons)
            .replace("{ids}", &self.ids)
            .replace("{team}", TEAM)
    }
}

/// Names and texts of the queries.
fn queries() -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    // The first block is the file's own comment.
    let blocks = QUERIES.split("\n\n-- ").skip(1);
    let queries = blocks.map(|block| {
        let (name, query) = block.split_once('\n').context("a name and a query")?;
        Ok((name, query.trim_end().trim_end_matches(';')))
    });
    queries.collect()
}

/// Inserts rows into a table of a node.
fn insert(site: &Site<'_>, node: usize, table: &str, rows: &[impl Serialize]) -> anyhow::Result<()> {
    let lines: Vec<String> = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    site.query_on(node, &format!("INSERT INTO {{db}}.{table} FORMAT JSONEachRow\n{}", lines.join("\n")))
        .map(drop)
}

/// Applies the profile, and sends the traffic through Kafka and PostgreSQL.
fn send<'s>(site: &mut Site<'s>, traffic: &Traffic) -> anyhow::Result<(PersonDatabase<'s>, Daemon)> {
    eprintln!("{}: {} events, {:?}", site.name(), traffic.events.len(), traffic.register.changes);
    site.set("events", "profile", "posthog");
    let person_db = person_database(site, Rules::default())?;
    let mut postgres = person_db.admin()?;
    // Changes before the snapshot are unknown: events of a distinct id that came back before it
    // keep their former person.
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    let messages: Vec<Vec<u8>> = traffic.events.iter().map(TrafficEvent::message).collect();
    produce(site, &messages.iter().map(|message| Some(message.as_slice())).collect::<Vec<_>>())?;
    postgres.batch_execute(&traffic.register.transactions.join("\n"))?;
    Ok((person_db, daemon))
}

/// Waits until everything has arrived, and gives the oracle the model's rows.
fn arrived(
    site: &Site<'_>,
    traffic: &Traffic,
    (person_db, daemon): (&PersonDatabase<'_>, Daemon),
) -> anyhow::Result<()> {
    consumed(site)?;
    follows(site, person_db, &daemon)?;
    everywhere_consumed(site)?;
    ensure!(daemon.end()? == 0, "another exit code");
    for table in ORACLE {
        site.query(table)?;
    }
    insert(site, 0, "oracle_events", &traffic.oracle_events())?;
    insert(site, 0, "oracle_persons", &traffic.oracle_persons())?;
    insert(site, 0, "oracle_ids", &traffic.oracle_ids())?;
    Ok(())
}

/// A query for the cluster, and the answer of the oracle.
struct ExpectedAnswer {
    name: &'static str,
    query: String,
    wanted: String,
}

/// Asks the oracle.
fn expected(site: &Site<'_>, resolution: PersonResolution) -> anyhow::Result<Vec<ExpectedAnswer>> {
    let (cluster, oracle) = (Fragments::cluster(resolution), Fragments::oracle(resolution));
    let queries = queries()?;
    ensure!(queries.len() >= 30, "{} queries", queries.len());
    let answers = queries.into_iter().map(|(name, query)| {
        let wanted = site.query(&oracle.complete(query)).with_context(|| format!("oracle: {name}"))?;
        ensure!(!wanted.is_empty(), "{name} has no rows");
        Ok(ExpectedAnswer { name, query: cluster.complete(query), wanted })
    });
    answers.collect()
}

/// Queries whose answers are not those of the oracle.
#[derive(Debug, Default)]
struct OtherAnswers {
    wrong: Vec<String>,
    /// Queries without an answer.
    failed: Vec<String>,
}

impl OtherAnswers {
    /// Sends each query to a node.
    fn of<'e>(site: &Site<'_>, node: usize, expected: impl IntoIterator<Item = &'e ExpectedAnswer>) -> Self {
        let mut others = Self::default();
        for ExpectedAnswer { name, query, wanted } in expected {
            match site.query_on(node, query) {
                Ok(found) if &found == wanted => {}
                Ok(found) => others.wrong.push(format!("{name}: {}", difference(&found, wanted))),
                Err(error) => others.failed.push(format!("{name}: {error:#}")),
            }
        }
        others
    }

    fn expect_none(&self) -> anyhow::Result<()> {
        ensure!(self.wrong.is_empty() && self.failed.is_empty(), "{self:#?}");
        Ok(())
    }
}

/// The first lines that differ.
fn difference(found: &str, wanted: &str) -> String {
    let pair =
        found.lines().map(Some).chain(std::iter::repeat(None)).zip(wanted.lines().map(Some).chain([None]));
    let differing = pair.enumerate().find(|(_, (found, wanted))| found != wanted);
    match differing {
        Some((line, (found, wanted))) => format!("line {line}: {found:?} instead of {wanted:?}"),
        None => format!("{} lines instead of {}", found.lines().count(), wanted.lines().count()),
    }
}

fn answers_of_two_shards_equal_those_of_one_plain_table(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN the traffic of a product on two weighted shards, and on one plain table
    let traffic = Traffic::new(seed("insights")?, VISITORS, VISITS);
    let (person_db, daemon) = send(site, &traffic)?;
    arrived(site, &traffic, (&person_db, daemon))?;
    let live = expected(site, PersonResolution::Live)?;
    let overrides = expected(site, PersonResolution::Overrides)?;
    // WHEN each query is sent to a node THEN its answer is that of the plain table
    OtherAnswers::of(site, 0, &live).expect_none().context("live distinct ids")?;
    OtherAnswers::of(site, 1, &overrides).expect_none().context("overrides")?;
    // WHEN the overrides are squashed THEN all answers are the same, with no override left
    overrides_planned(site)?;
    site.must(&SQUASH)?;
    ensure!(site.query(LIVE_OVERRIDES)? == "0", "overrides are left");
    let resolved = overrides.iter().filter(|answer| answer.name != STORED_PERSONS);
    OtherAnswers::of(site, 0, resolved).expect_none().context("after a squash")?;
    // WHEN one shard knows other persons of a few distinct ids THEN most answers are wrong
    site.query_on(
        1,
        "INSERT INTO {db}.person_distinct_id2 (team_id, distinct_id, person_id, version) \
         SELECT team_id, distinct_id, generateUUIDv4(), bitShiftLeft(toUInt64(1), 60) FROM {db}.sharded_events \
         GROUP BY team_id, distinct_id ORDER BY count() DESC LIMIT 10",
    )?;
    let others = OtherAnswers::of(site, 0, live.iter().step_by(3));
    ensure!(others.wrong.len() > 5, "{others:#?}");
    Ok(())
}

fn no_answer_is_wrong_when_a_node_is_killed() -> anyhow::Result<()> {
    // GIVEN the same, with a node that is killed while it ingests
    let stack = Stack::start(StackSpec::default().postgres(), &Progress::Silent)?;
    let mut site = Site::new(&stack, "insights_killed")?;
    let seed = seed("insights_killed")?;
    let traffic = Traffic::new(seed, VISITORS, VISITS);
    let (person_db, daemon) = send(&mut site, &traffic)?;
    let node = &stack.nodes()[1];
    node.kill();
    node.start()?;
    arrived(&site, &traffic, (&person_db, daemon))?;
    // THEN all answers are right
    let live = expected(&site, PersonResolution::Live)?;
    OtherAnswers::of(&site, 0, &live).expect_none()?;
    let mut overrides = expected(&site, PersonResolution::Overrides)?;
    OtherAnswers::of(&site, 1, &overrides).expect_none().context("overrides")?;
    // WHEN the node is killed again THEN queries of events fail, and none has a part of its answer
    node.kill();
    let others = OtherAnswers::of(&site, 0, &live);
    ensure!(others.wrong.is_empty() && others.failed.len() > 20, "{others:#?}");
    // WHEN it is back THEN all answers are right
    node.start()?;
    OtherAnswers::of(&site, 0, &live).expect_none()?;
    // WHEN squashes and the node are killed THEN no answer is wrong in between
    overrides.retain(|answer| answer.name != STORED_PERSONS);
    overrides_planned(&site)?;
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..KILLS {
        let mut squash = site.spawn(&[&SQUASH[..], &["--ids-per-round", "5"]].concat())?;
        thread::sleep(Duration::from_millis(random.random_range(0..1_500)));
        node.kill();
        let others = OtherAnswers::of(&site, 0, overrides.iter().step_by(5));
        ensure!(others.wrong.is_empty(), "while the node was down: {others:#?}");
        squash.kill()?;
        squash.wait()?;
        node.start()?;
        OtherAnswers::of(&site, 0, &overrides).expect_none().context("after a killed squash")?;
    }
    // WHEN one ends THEN all answers are right without an override
    site.must(&SQUASH)?;
    ensure!(site.query(LIVE_OVERRIDES)? == "0", "overrides are left");
    OtherAnswers::of(&site, 0, &overrides).expect_none().context("after a squash")
}
