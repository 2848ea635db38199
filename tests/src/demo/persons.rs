//! Person sync of the demo: initial snapshot, merges, deletions and recreations.
//!
//! After each step, two queries are checked on every node while `posthouse run` follows PostgreSQL.
//! At the end every row of every node is compared.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use indicatif::HumanCount;
use jiff::Timestamp;
use postgres::Client;
use toml::Table;
use uuid::Uuid;

use super::beside::Beside;
use super::flow::TOPIC;
use super::queries;
use super::report;
use super::screen::Screen;
use super::setup::Ground;
use crate::events::Kind;
use crate::load::Producer;
use crate::people::PersonDatabase;
use crate::site::{self, Outcome};
use crate::stack::{Node, wait_until};

/// A separate team, also used in `queries`.
const TEAM: u32 = 2026;
/// Text appended to the topics file.
const TOPICS: &str = "
[topics.clickhouse_person]
partitions = 2

[topics.clickhouse_person_distinct_id]
partitions = 2
";
/// Events per distinct id. Each person has one distinct id.
const EVENTS_EACH: u64 = 3;
/// Number of all persons, including later deleted ones.
const PERSONS: u64 = 1_200;
/// Groups of the first type.
const COMPANIES: [&str; 3] = ["Initech", "Hooli", "Acme"];
/// Number of persons that are merged, each into the one with a number higher by this, of the same
/// company.
const MERGED: u64 = 200;
/// Limit for a change to become visible on every node.
const LIMIT: Duration = Duration::from_secs(60);

/// A change in PostgreSQL, and the expected results of the queries after it.
struct Step {
    what: &'static str,
    sql: &'static str,
    persons: u64,
    events: u64,
}

/// Persons that exist before posthouse starts. The uuid is derived from the distinct id, so a
/// recreated person has the same uuid.
const FIRST: Step = Step {
    what: "1,000 existing persons: initial snapshot",
    sql: "
INSERT INTO posthog_person (uuid, team_id, properties)
    SELECT md5('visitor-' || n)::uuid, 2026, jsonb_build_object('plan', 'free') FROM generate_series(1, 1000) AS n;
INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
    SELECT 2026, 'visitor-' || n, n FROM generate_series(1, 1000) AS n;
",
    persons: 1_000,
    events: 3_000,
};

/// Number of events with a person, of distinct persons among them, and of persons.
type Answers = [u64; 3];

/// Each step is one transaction.
const STEPS: [Step; 4] = [
    Step {
        what: "200 more, with a distinct id each",
        sql: "
INSERT INTO posthog_person (uuid, team_id, properties)
    SELECT md5('visitor-' || n)::uuid, 2026, jsonb_build_object('plan', 'free') FROM generate_series(1001, 1200) AS n;
INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
    SELECT 2026, 'visitor-' || n, n FROM generate_series(1001, 1200) AS n;
",
        persons: 1_200,
        events: 3_600,
    },
    Step {
        what: "200 log in: merged into earlier persons",
        sql: "
UPDATE posthog_persondistinctid SET person_id = person_id + 200, version = coalesce(version, 0) + 1 WHERE person_id <= 200;
UPDATE posthog_person SET is_identified = true, properties = properties || '{\"plan\": \"pro\"}', version = coalesce(version, 0) + 1
    WHERE id BETWEEN 201 AND 400;
DELETE FROM posthog_person WHERE id <= 200;
",
        persons: 1_000,
        events: 3_600,
    },
    Step {
        what: "100 deleted",
        sql: "
DELETE FROM posthog_persondistinctid WHERE person_id > 1100;
DELETE FROM posthog_person WHERE id > 1100;
",
        persons: 900,
        events: 3_300,
    },
    Step {
        what: "the same 100 created again, with their uuids",
        sql: "
INSERT INTO posthog_person (uuid, team_id, properties)
    SELECT md5('visitor-' || n)::uuid, 2026, jsonb_build_object('plan', 'free') FROM generate_series(1101, 1200) AS n;
INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
    SELECT 2026, 'visitor-' || n, person.id FROM generate_series(1101, 1200) AS n
    JOIN posthog_person AS person ON person.uuid = md5('visitor-' || n)::uuid;
",
        persons: 1_000,
        events: 3_600,
    },
];

/// PostgreSQL's database and the posthouse process that follows it. Both run until dropped,
/// posthouse first.
pub(super) struct Followed<'g> {
    _posthouse: Beside,
    _town: PersonDatabase<'g>,
}

/// Sets up person sync on the running cluster, changes persons, and compares.
///
/// # Errors
/// Fails if PostgreSQL or `posthouse` fails, or if a node returns an unexpected result.
pub(super) fn run<'g>(ground: &'g Ground, screen: &Screen) -> anyhow::Result<Followed<'g>> {
    screen.heading("Persons: PostgreSQL changes, every node follows");
    let person_db = PersonDatabase::new(ground.stack.postgres()?, "posthog")?;
    person_db.admin()?.batch_execute(FIRST.sql)?;
    configure(ground, &person_db)?;
    for arguments in [["topics", "apply"], ["schema", "apply"]] {
        let done = verb(ground, screen, &arguments, "with [persons] in the config")?;
        screen.quote(done.stdout.lines().last().unwrap_or_default());
    }
    events(ground, &mut person_db.admin()?)?;
    let begin = Instant::now();
    let posthouse = follow(ground)?;
    let began = begin.elapsed();
    let mut told = every_node_answers(ground, &FIRST)?;
    screen.command("posthouse run", began, "initial snapshot of both tables, then every change");
    screen.blank();
    screen.dim(&format!("{}\n{}", queries::PEOPLE, queries::PERSONS));
    println!("  {:<46}{:>16}{:>16}{:>16}{:>16}", "", "events", "their persons", "persons", "all nodes in");
    line(FIRST.what, None, &told, begin.elapsed());
    for step in STEPS {
        let mut client = person_db.admin()?;
        let mut transaction = client.transaction()?;
        transaction.batch_execute(step.sql)?;
        let begin = Instant::now();
        transaction.commit()?;
        let now = every_node_answers(ground, &step)?;
        line(step.what, Some(&told), &now, begin.elapsed());
        told = now;
    }
    screen.blank();
    let audit = verb(ground, screen, &["persons", "audit"], "every row of every node against PostgreSQL")?;
    screen.quote(&audit.stdout);
    ensure!(audit.stdout.contains("every node matches PostgreSQL"), "{audit}");
    squash(ground, screen)?;
    Ok(Followed { _posthouse: posthouse, _town: person_db })
}

/// Adds both topics to the topics file, and the PostgreSQL source to the config.
fn configure(ground: &Ground, person_db: &PersonDatabase<'_>) -> anyhow::Result<()> {
    let config = &ground.record.config;
    let append = |path, text: &str| -> anyhow::Result<()> {
        let mut file = OpenOptions::new().append(true).open(path)?;
        Ok(file.write_all(text.as_bytes())?)
    };
    append(config.with_file_name("topics.toml"), TOPICS)?;
    // Another posthouse on this machine may use the default address.
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let section = |key: &str, value: toml::Value| Table::from_iter([(key.to_owned(), value)]);
    let sections = Table::from_iter([
        ("persons".to_owned(), section("postgres", person_db.source().into()).into()),
        ("daemon".to_owned(), section("listen", listen.into()).into()),
    ]);
    append(config.clone(), &format!("\n{}", toml::to_string(&sections)?))
}

/// Produces events for every distinct id, with its person and a company as the app sends them, and
/// returns when they can be queried.
fn events(ground: &Ground, client: &mut Client) -> anyhow::Result<()> {
    let persons =
        "SELECT md5('visitor-' || n)::uuid::text FROM generate_series(1, $1::bigint) AS n ORDER BY n";
    let persons: Vec<String> =
        client.query(persons, &[&i64::try_from(PERSONS)?])?.iter().map(|row| row.get(0)).collect();
    let producer = Producer::new(&ground.stack.broker().address(), TOPIC)?;
    for number in 0..PERSONS * EVENTS_EACH {
        let (key, visitor) = (Uuid::new_v4().to_string(), 1 + number % PERSONS);
        let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S.%6f");
        let (person, company) =
            (&persons[usize::try_from(visitor - 1)?], COMPANIES[usize::try_from(visitor % MERGED % 3)?]);
        let payload = format!(
            r#"{{"uuid":"{key}","event":"$pageview","properties":"{{}}","timestamp":"{now}","team_id":{TEAM},"distinct_id":"visitor-{visitor}","person_id":"{person}","person_properties":"{{\"plan\":\"free\"}}","group0_properties":"{{\"name\":\"{company}\"}}"}}"#
        );
        producer.send(&key, payload.as_bytes(), Kind::New)?;
    }
    producer.flush()?;
    wait_until("events of persons to be queryable", LIMIT, || match ground.first().query(queries::VISITS) {
        Ok(count) if count.trim_end().parse() == Ok(PERSONS * EVENTS_EACH) => ControlFlow::Break(Ok(())),
        Ok(count) => ControlFlow::Continue(anyhow!("{count}")),
        Err(error) => ControlFlow::Continue(error),
    })
}

/// Shows the persons and companies that events hold, before and after a squash.
fn squash(ground: &Ground, screen: &Screen) -> anyhow::Result<()> {
    screen.blank();
    screen.dim(queries::COMPANIES);
    let companies = || -> anyhow::Result<Vec<Vec<String>>> {
        let answer = ground.first().query(queries::COMPANIES)?;
        Ok(answer.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    };
    let before = companies()?;
    let squash = ["persons", "squash", "--apply", "--older-than", "0s"];
    let done = verb(ground, screen, &squash, "current persons into events, instead of overrides")?;
    screen.quote(&done.stdout);
    println!("  {:<46}{:>16}{:>16}{:>16}", "company", "events", "their persons", "after squash");
    let mut persons = 0;
    for (before, after) in before.iter().zip(companies()?) {
        let [company, events, at_ingestion] = &before[..] else { bail!("{before:?}") };
        let now: u64 = after.get(2).context("no count")?.parse()?;
        println!("  {company:<46}{events:>16}{at_ingestion:>16}{now:>16}");
        persons += now;
    }
    ensure!(persons == PERSONS - MERGED, "{persons} persons on events, not {}", PERSONS - MERGED);
    Ok(())
}

/// Starts `posthouse run`, and returns after the initial snapshot of both tables.
fn follow(ground: &Ground) -> anyhow::Result<Beside> {
    let mut posthouse = Beside::start(&ground.record.config, &["run"])?;
    wait_until("the initial snapshot of persons", LIMIT, || match posthouse.log() {
        Ok(log) if log.contains("streaming changes") => ControlFlow::Break(Ok(())),
        Ok(log) => ControlFlow::Continue(anyhow!("{log}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    Ok(posthouse)
}

/// Waits until both queries return the step's expected counts on every node.
fn every_node_answers(ground: &Ground, step: &Step) -> anyhow::Result<Answers> {
    let wanted = [step.events, step.persons, step.persons];
    let answers = || -> anyhow::Result<Vec<Answers>> {
        let answer = |sql, node: &Node| Ok::<_, anyhow::Error>(node.query(sql)?.trim_end().to_owned());
        let one = |node| {
            let all = format!("{}\t{}", answer(queries::PEOPLE, node)?, answer(queries::PERSONS, node)?);
            report::fields(&all)
        };
        ground.stack.nodes().iter().map(one).collect()
    };
    wait_until(&format!("every node to answer {wanted:?}"), LIMIT, || match answers() {
        Ok(told) if told.iter().all(|told| *told == wanted) => ControlFlow::Break(Ok(wanted)),
        Ok(told) => ControlFlow::Continue(anyhow!("events, their persons and persons by node: {told:?}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })
}

/// Prints a step with the query results before and after it.
fn line(what: &str, before: Option<&Answers>, after: &Answers, took: Duration) {
    let change = |place: usize| {
        let after = HumanCount(after[place]);
        before.map_or_else(|| after.to_string(), |before| format!("{} → {after}", HumanCount(before[place])))
    };
    let seconds = took.as_secs_f32();
    println!("  {what:<46}{:>16}{:>16}{:>16}{seconds:>14.1} s", change(0), change(1), change(2));
}

/// Runs one verb of `posthouse`, which must exit with 0.
pub(super) fn verb(ground: &Ground, screen: &Screen, verb: &[&str], said: &str) -> anyhow::Result<Outcome> {
    let begin = Instant::now();
    let outcome = site::run(&ground.record.config, verb)?;
    let verb = verb.join(" ");
    ensure!(outcome.code == 0, "posthouse {verb}: {outcome}");
    screen.command(&format!("posthouse {verb}"), begin.elapsed(), said);
    Ok(outcome)
}
