//! The person database and its workload: consistency, and differences from a node.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::people::{Identity, Kind, PersonDatabase, PersonWorkload, Rules, on_node};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};

use crate::seed;

tests! {
    Own workload_leaves_consistent_persons_though_postgres_is_killed,
    Own reports_differences_of_a_node,
}

fn workload_leaves_consistent_persons_though_postgres_is_killed() -> anyhow::Result<()> {
    // GIVEN a person database
    let stack = Stack::start(StackSpec::sharded(&[1]).postgres(), &Progress::Silent)?;
    let postgres = stack.postgres()?;
    let person_db = PersonDatabase::new(postgres, "lives")?;
    // WHEN the person workload runs, and PostgreSQL is killed meanwhile
    let workload = PersonWorkload::new(seed("lives")?, 3_000);
    let (stop, persons) = (AtomicBool::new(false), "SELECT count(*) FROM posthog_person");
    let tally = thread::scope(|scope| {
        let running = scope.spawn(|| workload.run(&person_db, &stop));
        let mut client = person_db.admin()?;
        while client.query_one(persons, &[])?.get::<_, i64>(0) < 20 && !running.is_finished() {
            thread::sleep(Duration::from_millis(20));
        }
        postgres.kill()?;
        postgres.start()?;
        running.join().ok().context("a panic")?
    })?;
    eprintln!("lives: {tally:?}");
    // THEN every kind of change was committed, and others were rolled back or lost
    for kind in Kind::all() {
        ensure!(tally.committed.contains_key(&kind), "no {kind:?} in {tally:?}");
    }
    ensure!(tally.rolled_back > 0 && tally.savepoints > 0 && tally.lost > 0, "{tally:?}");
    // THEN there are persons, uuids are unique, and each distinct id has its person
    let people = person_db.people()?;
    let mut client = person_db.admin()?;
    let held = "SELECT count(*), count(DISTINCT person_id) FROM posthog_persondistinctid";
    let held = client.query_one(held, &[])?;
    ensure!(held.get::<_, i64>(0) == i64::try_from(people.distinct_ids.len())?, "{people:?}");
    ensure!(people.persons.len() > 10 && held.get::<_, i64>(1) > 10, "{people:?}");
    let large = people.persons.values().filter(|person| person.properties.len() > 8_192).count();
    ensure!(large > 0, "no large properties");
    // WHEN the role of posthouse makes a publication and a slot THEN it may, if it owns the tables
    let published = "CREATE PUBLICATION mine FOR TABLE posthog_person, posthog_persondistinctid";
    let mut own = postgres.client(person_db.name())?;
    own.batch_execute(published)?;
    own.execute("SELECT pg_create_logical_replication_slot('lives', 'pgoutput')", &[])?;
    let rules = Rules { identity: Identity::Full, owned: false, ..Rules::default() };
    let other = PersonDatabase::with(postgres, "foreign", rules)?;
    let mut foreign = postgres.client(other.name())?;
    ensure!(foreign.batch_execute(published).is_err(), "a publication of another's tables");
    foreign.query("SELECT FROM posthog_person", &[])?;
    // WHEN a person database is dropped THEN its slot is gone
    drop(person_db);
    let slots = postgres.admin("postgres")?.query("SELECT FROM pg_replication_slots", &[])?;
    ensure!(slots.is_empty(), "a slot is left");
    Ok(())
}

fn reports_differences_of_a_node() -> anyhow::Result<()> {
    // GIVEN a person database in posthouse's config, and a node with the same persons, inserted by
    // hand
    let stack = Stack::start(StackSpec::sharded(&[1]).postgres(), &Progress::Silent)?;
    let mut site = Site::new(&stack, "differences")?;
    let person_db = PersonDatabase::new(stack.postgres()?, site.name())?;
    person_db.configure(&mut site)?;
    let planned = site.posthouse(&["schema", "plan"])?;
    ensure!(planned.code == 3, "a config that posthouse reads: {planned}");
    PersonWorkload::new(seed("differences")?, 300).run(&person_db, &AtomicBool::new(false))?;
    site.query("CREATE DATABASE {db}")?;
    site.query(
        "CREATE TABLE {db}.person (id UUID, created_at DateTime64(3), team_id Int64, properties String, \
         is_identified Int8, is_deleted Int8, version UInt64) ENGINE = MergeTree ORDER BY (team_id, id)",
    )?;
    site.query(
        "CREATE TABLE {db}.person_distinct_id (team_id Int64, distinct_id String, person_id UUID, \
         is_deleted Int8, version Int64) ENGINE = MergeTree ORDER BY (team_id, distinct_id)",
    )?;
    let truth = person_db.people()?;
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    for ((team, uuid), person) in &truth.persons {
        let (ms, properties) = (person.created_at_ms, quoted(&person.properties));
        let identified = u8::from(person.is_identified);
        site.query(&format!(
            "INSERT INTO {{db}}.person SELECT '{uuid}', fromUnixTimestamp64Milli({ms}), {team}, {properties}, \
             {identified}, 0, 7"
        ))?;
    }
    for ((team, distinct_id), person) in &truth.distinct_ids {
        let distinct_id = quoted(distinct_id);
        site.query(&format!(
            "INSERT INTO {{db}}.person_distinct_id SELECT {team}, {distinct_id}, '{person}', 0, 7"
        ))?;
    }
    // THEN there is no difference
    let same = truth.differences(&on_node(&site, 0)?);
    ensure!(same.is_empty(), "{same}");
    // WHEN a person is deleted, another changed, and a distinct id is invented THEN each is
    // reported
    let mut uuids = truth.persons.keys().map(|(_, uuid)| uuid);
    let (gone, changed) = (uuids.next().context("nobody")?, uuids.next().context("one person")?);
    site.query(&format!(
        "INSERT INTO {{db}}.person SELECT id, created_at, team_id, if(id = '{gone}', properties, '{{}}'), \
         is_identified, id = '{gone}', 8 FROM {{db}}.person WHERE id IN ('{gone}', '{changed}')"
    ))?;
    site.query("INSERT INTO {db}.person_distinct_id SELECT 1, 'invented', generateUUIDv4(), 0, 1")?;
    let told = truth.differences(&on_node(&site, 0)?);
    ensure!((told.missing, told.stale, told.extra) == (1, 1, 1), "{told}");
    // WHEN the deleted one returns with a later version THEN it is no longer missing
    site.query(&format!(
        "INSERT INTO {{db}}.person SELECT id, created_at, team_id, properties, is_identified, 0, 9 \
         FROM {{db}}.person WHERE id = '{gone}' AND version = 7"
    ))?;
    let told = truth.differences(&on_node(&site, 0)?);
    ensure!((told.missing, told.stale, told.extra) == (0, 1, 1), "{told}");
    Ok(())
}
