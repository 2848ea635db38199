//! Faults of person sync that posthouse reports and survives.
//!
//! Also the short size of `make torture TEST=persons`.

use std::ops::ControlFlow;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, Rules};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{PASSWORD, Progress, Proxy, USER, wait_until};
use posthouse_tests::torture::persons;

use crate::persons_source::{LIMIT, person_database, same};
use crate::seed;

tests! {
    Shared a_missing_topic_and_a_wrong_password_are_said_and_mended_while_it_runs,
    Shared a_postgres_that_is_away_is_said_and_found_again,
    Shared an_idle_slot_keeps_no_wal_though_others_write,
    Own kills_lose_no_change_of_a_person,
}

const PEOPLE: &str =
    "INSERT INTO posthog_person (uuid, team_id) SELECT gen_random_uuid(), 1 FROM generate_series(1, 10)";
/// In the short size.
const ROUNDS: u32 = 3;

fn a_missing_topic_and_a_wrong_password_are_said_and_mended_while_it_runs(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN persons, a role with another password, and no topics
    let person_db = PersonDatabase::with(site.stack.postgres()?, site.name(), Rules::default())?;
    person_db.configure(site)?;
    let (role, mut client) = (format!("{}_role", person_db.name()), person_db.admin()?);
    let literal = PASSWORD.replace('\'', "''");
    client.batch_execute(PEOPLE)?;
    client.batch_execute(&format!(
        "CREATE ROLE \"{role}\" LOGIN REPLICATION IN ROLE {USER} PASSWORD 'another'"
    ))?;
    person_db.set(site, "user", role.as_str())?;
    // WHEN posthouse starts THEN it reports the wrong password, and the setting's name
    let daemon = Daemon::start(site, "off")?;
    let log = daemon.says("password authentication failed")?;
    ensure!(log.contains("persons.postgres.address") && !log.contains(PASSWORD), "{log}");
    // WHEN the role gets the right one THEN the missing topic is reported
    client.batch_execute(&format!("ALTER ROLE \"{role}\" PASSWORD '{literal}'"))?;
    daemon.says(&format!("kafka has no topic {}: add it to topics.toml", site.person_topics().0))?;
    // WHEN topics and tables are created THEN posthouse continues
    site.apply()?;
    same(site, &person_db, &daemon)
}

fn an_idle_slot_keeps_no_wal_though_others_write(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a streaming posthouse, and persons that don't change
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    // WHEN other tables are written in the same database, and in another one
    let others = "CREATE TABLE others AS SELECT n, repeat('x', 100) AS x FROM generate_series(1, 20000) AS n";
    let mut client = person_db.admin()?;
    client.batch_execute(others)?;
    let written: String = client.query_one("SELECT pg_current_wal_lsn()::text", &[])?.get(0);
    let mut elsewhere = site.stack.postgres()?.admin("postgres")?;
    elsewhere.batch_execute(&format!("{others}; DROP TABLE others"))?;
    // THEN the slot advances without a change of persons
    let passed =
        "SELECT confirmed_flush_lsn > $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $2";
    wait_until("the slot to pass what others wrote", LIMIT, || {
        match client.query_one(passed, &[&written, &person_db.name()]) {
            Ok(row) if row.get(0) => ControlFlow::Break(Ok(())),
            other => ControlFlow::Continue(anyhow!("{other:?}")),
        }
    })
}

fn a_postgres_that_is_away_is_said_and_found_again(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a streaming posthouse, and a proxy before PostgreSQL
    let person_db = person_database(site, Rules::default())?;
    let address = site.stack.postgres()?.address();
    let network = Proxy::start(address.parse().with_context(|| address.clone())?)?;
    person_db.set(site, "address", network.address().to_string())?;
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    // WHEN the proxy cuts while persons are inserted THEN that is reported
    network.cut();
    person_db.admin()?.batch_execute(PEOPLE)?;
    daemon.says(&format!("PostgreSQL does not answer at {}", network.address()))?;
    daemon.wait("posthouse_persons_leader", |leads| leads == 0)?;
    // WHEN the network is back THEN they arrive, without another snapshot
    network.restore();
    same(site, &person_db, &daemon)?;
    let log = daemon.log()?;
    ensure!(
        log.matches("taking the initial snapshot").count() == 1 && !log.contains("recreating the slot"),
        "{log}"
    );
    Ok(())
}

fn kills_lose_no_change_of_a_person() -> anyhow::Result<()> {
    let stack = persons::stack(&Progress::Silent)?;
    let report =
        persons::run(&stack, ROUNDS, seed("persons_faults")?, &|line| eprintln!("persons_faults: {line}"))?;
    eprintln!("persons_faults: {report:?}");
    ensure!(report.kills == ROUNDS && report.produced > 0, "{report:?}");
    ensure!((report.lost, report.twice) == (0, 0), "{report:?}");
    Ok(())
}
