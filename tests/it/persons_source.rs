//! From PostgreSQL to every node: initial snapshot, then changes.
//!
//! No row is lost or stale between the two.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{Deletion, Identity, Layout, PersonDatabase, PersonWorkload, Rules, on_nodes};
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;
use serde_json::Value;

use crate::persons::stop_merges;
use crate::seed;

tests! {
    Shared rows_are_copied_and_their_changes_follow_to_every_node,
    Shared a_history_that_goes_on_during_the_copy_and_an_audit_leaves_no_seam,
    Shared with_whole_rows_as_identity_every_change_arrives,
    Shared follows_a_random_history_in_partitions,
    Shared a_distinct_id_may_be_written_before_its_person,
    Shared a_distinct_id_finds_its_person_however_few_are_remembered,
}

/// For changes in flight to arrive: many times the usual duration.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A person database in posthouse's config, with topics, and tables without merges.
pub(crate) fn person_database<'s>(site: &mut Site<'s>, rules: Rules) -> anyhow::Result<PersonDatabase<'s>> {
    let person_db = PersonDatabase::with(site.stack.postgres()?, site.name(), rules)?;
    person_db.configure(site)?;
    site.apply()?;
    stop_merges(site)?;
    Ok(person_db)
}

/// Waits until every node matches PostgreSQL. Then fails unless an audit agrees.
pub(crate) fn same(site: &Site<'_>, person_db: &PersonDatabase<'_>, daemon: &Daemon) -> anyhow::Result<()> {
    follows(site, person_db, daemon)?;
    let audit = site.must(&["persons", "audit", "--json"])?;
    let report: Value = serde_json::from_str(&audit.stdout)?;
    for (table, rows) in
        report["tables"].as_array().context("no tables")?.iter().zip(["person", "person_distinct_id"])
    {
        let of_nodes = table["nodes"].as_array().context("no nodes")?;
        let nodes = site.stack.nodes().len();
        ensure!(table["table"] == rows && of_nodes.len() == nodes, "{audit}");
        ensure!(of_nodes.iter().all(|node| node["rows"] == table["rows"]), "{audit}");
    }
    Ok(())
}

/// Waits until every node matches PostgreSQL, by plain argMax.
pub(crate) fn follows(
    site: &Site<'_>,
    person_db: &PersonDatabase<'_>,
    daemon: &Daemon,
) -> anyhow::Result<()> {
    let waited =
        wait_until("every node to show what PostgreSQL has", LIMIT, || match on_nodes(site, person_db) {
            Ok(left) if left.is_empty() => ControlFlow::Break(Ok(())),
            Ok(left) => ControlFlow::Continue(anyhow!("{left}")),
            Err(error) => ControlFlow::Break(Err(error)),
        });
    waited.with_context(|| daemon.log().unwrap_or_default())
}

fn live(person_db: &PersonDatabase<'_>, name: &str, changes: u64) -> anyhow::Result<()> {
    PersonWorkload::new(seed(name)?, changes).run(person_db, &AtomicBool::new(false)).map(drop)
}

fn rows_are_copied_and_their_changes_follow_to_every_node(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN persons that are older than posthouse
    let person_db = person_database(site, Rules::default())?;
    live(&person_db, site.name(), 300)?;
    // WHEN it starts THEN every node has them
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    // WHEN the workload continues THEN every node follows
    live(&person_db, site.name(), 300)?;
    same(site, &person_db, &daemon)?;
    // WHEN a person is deleted THEN a tombstone hides it
    let uuid = "018f5a7e-0000-4000-8000-000000000001";
    let mut client = person_db.admin()?;
    let insert = format!(
        "INSERT INTO posthog_person (uuid, team_id, properties, version) VALUES ('{uuid}', 9, '{{\"n\": 1}}', 0)"
    );
    client.batch_execute(&insert)?;
    follows(site, &person_db, &daemon)?;
    client.batch_execute("DELETE FROM posthog_person WHERE team_id = 9")?;
    let last = format!("SELECT argMax(is_deleted, version) FROM {{db}}.person WHERE id = '{uuid}'");
    site.answers(&last, "1", LIMIT)?;
    same(site, &person_db, &daemon)?;
    // WHEN it is inserted with the same uuid, and a version that restarts at 0, THEN it is visible
    client.batch_execute(&insert)?;
    site.answers("SELECT toString(id) FROM {db}.persons(team_id = 9)", uuid, LIMIT)?;
    same(site, &person_db, &daemon)?;
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn a_history_that_goes_on_during_the_copy_and_an_audit_leaves_no_seam(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN many unchanging persons, so that a snapshot takes a while
    let person_db = person_database(site, Rules::default())?;
    person_db.admin()?.batch_execute(
        "INSERT INTO posthog_person (uuid, team_id, properties)
            SELECT gen_random_uuid(), 5, jsonb_build_object('n', n) FROM generate_series(1, 30000) AS n;
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
            SELECT team_id, uuid::text, id FROM posthog_person;",
    )?;
    live(&person_db, site.name(), 300)?;
    // WHEN others change during the snapshot, and audits run meanwhile
    let workload =
        PersonWorkload { pace: Duration::from_millis(5), ..PersonWorkload::new(seed(site.name())?, 2_000) };
    let daemon = thread::scope(|scope| {
        let living = scope.spawn(|| workload.run(&person_db, &AtomicBool::new(false)));
        let daemon = Daemon::start(site, "off")?;
        daemon.says("streaming changes")?;
        while !living.is_finished() {
            // THEN no audit takes changes in flight for differences
            site.must(&["persons", "audit"]).with_context(|| daemon.log().unwrap_or_default())?;
        }
        living.join().ok().context("a panic")??;
        anyhow::Ok(daemon)
    })?;
    // THEN no row is missing, stale or extra
    same(site, &person_db, &daemon)
}

fn with_whole_rows_as_identity_every_change_arrives(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN REPLICA IDENTITY FULL, and properties in TOAST storage
    let person_db = person_database(site, Rules { identity: Identity::Full, ..Rules::default() })?;
    live(&person_db, site.name(), 200)?;
    let daemon = Daemon::start(site, "off")?;
    // WHEN persons change THEN every node follows
    live(&person_db, site.name(), 500)?;
    same(site, &person_db, &daemon)
}

fn follows_a_random_history_in_partitions(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN persons in partitions, with rows that stay after a deletion or merge
    let rules = Rules { layout: Layout::Partitioned, deletion: Deletion::Soft, ..Rules::default() };
    let person_db = person_database(site, rules)?;
    live(&person_db, site.name(), 200)?;
    let daemon = Daemon::start(site, "off")?;
    // WHEN persons change THEN every node follows
    live(&person_db, site.name(), 500)?;
    same(site, &person_db, &daemon)
}

fn a_distinct_id_may_be_written_before_its_person(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a streaming posthouse
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    // WHEN a transaction writes a distinct id before its person, as a deferred foreign key allows
    person_db.admin()?.batch_execute(
        "BEGIN;
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) VALUES (1, 'early', 77);
         INSERT INTO posthog_person (id, uuid, team_id) VALUES (77, gen_random_uuid(), 1);
         COMMIT;",
    )?;
    // THEN it belongs to that person
    same(site, &person_db, &daemon)
}

fn a_distinct_id_finds_its_person_however_few_are_remembered(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a posthouse with a cache for one person, and the first person in it
    let person_db = person_database(site, Rules::default())?;
    person_db.set(site, "cached_persons", 1)?;
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    let mut client = person_db.admin()?;
    client
        .batch_execute("INSERT INTO posthog_person (id, uuid, team_id) VALUES (1, gen_random_uuid(), 1)")?;
    follows(site, &person_db, &daemon)?;
    // WHEN a transaction makes another person, and distinct ids of both
    client.batch_execute(
        "BEGIN;
         INSERT INTO posthog_person (id, uuid, team_id) VALUES (2, gen_random_uuid(), 1);
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) VALUES (1, 'a', 1), (1, 'b', 2), (1, 'c', 1);
         COMMIT;",
    )?;
    // THEN each has its person
    same(site, &person_db, &daemon)
}
