//! Leader and standby of person sync: takeover, replay, resumed snapshots.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonWorkload, Rules};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Proxy, wait_until};

use crate::persons_source::{LIMIT, follows, person_database, same};
use crate::produce::messages;
use crate::seed;

tests! {
    Shared one_of_two_leads_and_the_other_takes_over_when_it_is_killed,
    Shared a_former_leader_exposes_no_gauge_of_a_leader,
    Shared a_transaction_that_comes_again_has_the_versions_it_had,
    Shared a_copy_that_was_killed_goes_on_where_it_was,
    Shared a_slot_that_was_dropped_is_made_anew_and_everything_is_copied_again,
}

const LEADER: &str = "posthouse_persons_leader";

fn one_of_two_leads_and_the_other_takes_over_when_it_is_killed(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two posthouse daemons, the first of them the leader, during a person workload
    let person_db = person_database(site, Rules::default())?;
    let first = Daemon::start(site, "off")?;
    first.wait(LEADER, |leads| leads == 1)?;
    let second = Daemon::start(site, "off")?;
    second.wait(LEADER, |leads| leads == 0)?;
    let workload = PersonWorkload {
        pace: Duration::from_millis(5),
        ..PersonWorkload::new(seed(site.name())?, u64::MAX)
    };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let living = scope.spawn(|| workload.run(&person_db, &stop));
        let taken = (|| {
            // THEN the second one waits
            first.wait("posthouse_persons_messages_total", |messages| messages > 100)?;
            ensure!(second.metric(LEADER)? == Some(0), "both lead");
            // and the first one measures how long its changes take
            first.wait("posthouse_persons_publish_latency_seconds_bucket{le=\"60.0\"}", |batches| {
                batches > 0
            })?;
            // WHEN the first one is killed THEN the second one takes over
            drop(first);
            second.wait(LEADER, |leads| leads == 1)?;
            second.wait("posthouse_persons_messages_total", |messages| messages > 100)
        })();
        stop.store(true, Ordering::Relaxed);
        living.join().ok().context("a panic")??;
        taken
    })?;
    // THEN no change is lost, and no row was copied a second time
    same(site, &person_db, &second)?;
    let log = second.log()?;
    ensure!(!log.contains("taking the initial snapshot") && !log.contains("recreating the slot"), "{log}");
    ensure!(second.end()? == 0, "another exit code");
    Ok(())
}

fn a_former_leader_exposes_no_gauge_of_a_leader(site: &mut Site<'_>) -> anyhow::Result<()> {
    const AUDITED: &str = "posthouse_persons_last_audit_timestamp_seconds";
    const GAUGES: [&str; 5] = [
        "posthouse_persons_slot_lag_bytes",
        "posthouse_persons_differences{kind=\"stale\"}",
        "posthouse_persons_source_faults",
        "posthouse_persons_conflicts",
        AUDITED,
    ];
    let exposed = |daemon: &Daemon| -> anyhow::Result<Vec<&str>> {
        let text = daemon.get("metrics")?;
        let has = |gauge: &&str| text.lines().any(|line| line.strip_prefix(gauge).is_some_and(is_value));
        Ok(GAUGES.into_iter().filter(has).collect())
    };
    // GIVEN a leader behind a proxy, with the audit after its snapshot, and a standby without one
    let person_db = person_database(site, Rules::default())?;
    let address = site.stack.postgres()?.address();
    let network = Proxy::start(address.parse().with_context(|| address.clone())?)?;
    person_db.set(site, "address", network.address().to_string())?;
    let first = Daemon::start(site, "off")?;
    first.wait(AUDITED, |at| at > 0)?;
    let audited = first.metric(AUDITED)?;
    ensure!(exposed(&first)? == GAUGES, "{}", first.get("metrics")?);
    person_db.set(site, "address", address)?;
    let second = Daemon::start(site, "off")?;
    second.is_ready()?;
    ensure!(exposed(&second)?.is_empty(), "{}", second.get("metrics")?);
    // WHEN the leader loses its connection THEN the standby leads, and has the gauges and the last
    // audit of the checkpoint
    network.cut();
    second.wait(LEADER, |leads| leads == 1)?;
    second.wait(AUDITED, |at| Some(at) == audited)?;
    ensure!(exposed(&second)? == GAUGES, "{}", second.get("metrics")?);
    // THEN the former leader has none, also when it can see the slot again
    let without = || {
        wait_until("the former leader to forget its gauges", LIMIT, || match exposed(&first) {
            Ok(gauges) if gauges.is_empty() => ControlFlow::Break(Ok(())),
            Ok(gauges) => ControlFlow::Continue(anyhow!("{gauges:?}")),
            Err(error) => ControlFlow::Break(Err(error)),
        })
    };
    without()?;
    network.restore();
    first.is_ready()?;
    without()?;
    ensure!(first.metric(LEADER)? == Some(0) && second.metric(LEADER)? == Some(1), "both lead, or none");
    Ok(())
}

/// Whether this is the end of a sample: a space and its value.
fn is_value(rest: &str) -> bool {
    rest.strip_prefix(' ').is_some_and(|value| value.parse::<u64>().is_ok())
}

fn a_transaction_that_comes_again_has_the_versions_it_had(site: &mut Site<'_>) -> anyhow::Result<()> {
    const PERSONS: u32 = 20;
    // GIVEN persons with a distinct id each, and one without
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(&format!(
        "INSERT INTO posthog_person (id, uuid, team_id) SELECT n, gen_random_uuid(), 1 FROM generate_series(0, {PERSONS}) AS n;
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
            SELECT 1, 'id ' || n, n FROM generate_series(1, {PERSONS}) AS n;"
    ))?;
    let mut daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    let mut again = 0;
    for person in 1..=PERSONS {
        let before: String = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[])?.get(0);
        // WHEN a transaction changes a person's uuid and its distinct id, and another person twice
        client.batch_execute(&format!(
            "BEGIN;
             UPDATE posthog_person SET uuid = gen_random_uuid() WHERE id = {person};
             UPDATE posthog_persondistinctid SET version = 1 WHERE person_id = {person};
             UPDATE posthog_person SET properties = '{{\"{person}\": 1}}' WHERE id = 0;
             UPDATE posthog_person SET properties = '{{\"{person}\": 2}}' WHERE id = 0;
             COMMIT;"
        ))?;
        follows(site, &person_db, &daemon)?;
        // and posthouse is killed, perhaps before it has acknowledged it
        drop(daemon);
        let acknowledged = format!(
            "SELECT confirmed_flush_lsn > '{before}' FROM pg_replication_slots WHERE slot_name = '{}'",
            person_db.name()
        );
        let acknowledged: bool = client.query_one(&acknowledged, &[])?.get(0);
        again += u32::from(!acknowledged);
        // and the distinct id belongs to another person when the transaction is replayed
        client.batch_execute(&format!(
            "UPDATE posthog_persondistinctid SET person_id = 0 WHERE person_id = {person}"
        ))?;
        daemon = Daemon::start(site, "off")?;
        follows(site, &person_db, &daemon)?;
        if again == 2 {
            break;
        }
    }
    ensure!(again > 0, "every transaction had been acknowledged before posthouse was killed");
    // THEN its changes had the same versions both times
    same(site, &person_db, &daemon)?;
    let versions = "SELECT properties, groupUniqArray(version) AS versions FROM {db}.person
        WHERE is_deleted = 0 AND properties != '{}' GROUP BY properties HAVING length(versions) != 1";
    for node in 0..site.stack.nodes().len() {
        let differ = site.query_on(node, versions)?;
        ensure!(differ.is_empty(), "{differ}");
    }
    Ok(())
}

fn a_copy_that_was_killed_goes_on_where_it_was(site: &mut Site<'_>) -> anyhow::Result<()> {
    const PERSONS: u64 = 60_000;
    const COPIED: &str = "posthouse_persons_copied_rows{table=\"person\"}";
    // GIVEN many persons
    let person_db = person_database(site, Rules::default())?;
    let people = format!(
        "INSERT INTO posthog_person (uuid, team_id, properties)
            SELECT gen_random_uuid(), 1, jsonb_build_object('n', n, 'text', repeat(md5(n::text), 10))
            FROM generate_series(1, {PERSONS}) AS n"
    );
    person_db.admin()?.batch_execute(&people)?;
    // WHEN posthouse is killed once the checkpoint has a part of them
    let first = Daemon::start(site, "off")?;
    let part = wait_until("a part of the copy", LIMIT, || match first.metric(COPIED) {
        Ok(Some(rows)) if rows > 0 => ControlFlow::Break(Ok(rows)),
        Ok(rows) => ControlFlow::Continue(anyhow!("{rows:?}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    drop(first);
    let (topic, _) = site.person_topics();
    let produced = messages(site, &topic)?;
    // THEN another one resumes
    let second = Daemon::start(site, "off")?;
    follows(site, &person_db, &second)?;
    let log = second.log()?;
    ensure!(!log.contains("taking the initial snapshot"), "{log}");
    let copied = second.metric(COPIED)?;
    let again = messages(site, &topic)? - PERSONS;
    ensure!(part == PERSONS || copied == Some(PERSONS), "{part} copied, then {copied:?} of {PERSONS}");
    ensure!(part == PERSONS || again < produced, "{again} of {produced} rows were copied a second time");
    same(site, &person_db, &second)
}

fn a_slot_that_was_dropped_is_made_anew_and_everything_is_copied_again(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN persons copied by a posthouse that is gone
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(
        "INSERT INTO posthog_person (id, uuid, team_id) SELECT n, gen_random_uuid(), 1 FROM generate_series(1, 20) AS n;
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
            SELECT 1, 'id ' || n, n FROM generate_series(1, 20) AS n;",
    )?;
    let first = Daemon::start(site, "off")?;
    same(site, &person_db, &first)?;
    ensure!(first.end()? == 0, "another exit code");
    // WHEN its slot is dropped, and persons change, come and go without a slot
    let drops = "SELECT pg_drop_replication_slot($1)";
    client.execute(drops, &[&person_db.name()])?;
    client.batch_execute(
        "UPDATE posthog_person SET is_identified = true WHERE id = 4;
         UPDATE posthog_persondistinctid SET person_id = 4 WHERE person_id = 3;
         DELETE FROM posthog_persondistinctid WHERE person_id < 3;
         DELETE FROM posthog_person WHERE id < 4;
         INSERT INTO posthog_person (id, uuid, team_id) VALUES (30, gen_random_uuid(), 1);",
    )?;
    // THEN another posthouse creates a new slot, logs this, and takes a new initial snapshot
    let second = Daemon::start(site, "off")?;
    let log = second.says("streaming changes")?;
    ensure!(log.contains("a new initial snapshot"), "{log}");
    // THEN every node matches PostgreSQL, without the persons that went meanwhile
    same(site, &person_db, &second)
}
