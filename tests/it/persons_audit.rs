//! The audit: differences on one node are classified and repaired.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{Rules, on_nodes};
use posthouse_tests::site::{Outcome, Site};
use serde_json::Value;

use crate::persons_source::{LIMIT, person_database, same};

tests! {
    Shared rows_that_are_wrong_on_one_node_are_found_and_mended,
    Shared what_changes_and_changes_back_is_never_taken_for_wrong,
    Shared an_audit_without_anybody_who_copies_says_so_when_it_has_to_wait,
}

pub(crate) const PEOPLE: &str = "INSERT INTO posthog_person (id, uuid, team_id, properties)
        SELECT n, ('018f5a7e-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 1, '{\"n\": 1}' FROM generate_series(1, 50) AS n;
    INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
        SELECT 1, 'id ' || n, n FROM generate_series(1, 50) AS n;";

/// The uuid of person `number`.
fn uuid(number: u32) -> String {
    format!("018f5a7e-0000-4000-8000-{number:012}")
}

/// The JSON of a table and a node of a report.
fn of_node(report: &Value, table: usize, node: usize) -> anyhow::Result<&Value> {
    report["tables"][table]["nodes"].get(node).with_context(|| report.to_string())
}

fn counts(node: &Value) -> [u64; 4] {
    ["missing", "stale", "resurrected", "extra"].map(|sort| node[sort].as_u64().unwrap_or(u64::MAX))
}

fn report(outcome: &Outcome) -> anyhow::Result<Value> {
    serde_json::from_str(&outcome.stdout).with_context(|| outcome.to_string())
}

fn rows_that_are_wrong_on_one_node_are_found_and_mended(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN persons on every node, two of them deleted
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    person_db.admin()?.batch_execute(PEOPLE)?;
    same(site, &person_db, &daemon)?;
    person_db.admin()?.batch_execute(
        "DELETE FROM posthog_persondistinctid WHERE id > 48; DELETE FROM posthog_person WHERE id > 48",
    )?;
    site.answers("SELECT uniqExact(id) FROM {db}.person WHERE is_deleted = 1", "2", LIMIT)?;
    same(site, &person_db, &daemon)?;
    // and the repair after an initial snapshot is done, so that no other repair runs from here on
    daemon.wait("posthouse_persons_last_audit_timestamp_seconds", |at| at > 0)?;
    // WHEN later versions are written by hand on the second node: one person deleted, one changed,
    // a deleted one revived, one invented
    let (gone, changed, back, invented) = (uuid(1), uuid(2), uuid(49), uuid(99));
    site.query_on(
        1,
        &format!(
            "INSERT INTO {{db}}.person SELECT id, max(created_at), 1, if(id = '{changed}', '{{}}', any(properties)), 0, \
             id = '{gone}', max(version) + 1, now(), 0 FROM {{db}}.person \
             WHERE id IN ('{gone}', '{changed}', '{back}') GROUP BY id \
             UNION ALL SELECT '{invented}', now64(3), 1, '{{}}', 0, 0, 1, now(), 0"
        ),
    )?;
    site.query_on(
        1,
        &format!(
            "INSERT INTO {{db}}.person_distinct_id SELECT 1, distinct_id, if(distinct_id = 'id 2', '{gone}', any(person_id)), \
             distinct_id = 'id 1', max(version) + 1, now(), 0 FROM {{db}}.person_distinct_id \
             WHERE distinct_id IN ('id 1', 'id 2', 'id 50') GROUP BY distinct_id"
        ),
    )?;
    // THEN the audit finds each on that node, and no difference on the other
    let found = site.posthouse(&["persons", "audit", "--json"])?;
    ensure!(found.code == 3, "{found}");
    let said = report(&found)?;
    for table in [0, 1] {
        ensure!(counts(of_node(&said, table, 0)?) == [0; 4], "{found}");
    }
    ensure!(counts(of_node(&said, 0, 1)?) == [1, 1, 1, 1], "{found}");
    ensure!(counts(of_node(&said, 1, 1)?) == [1, 1, 1, 0], "{found}");
    let examples: BTreeMap<String, String> =
        serde_json::from_value(of_node(&said, 0, 1)?["examples"].clone())?;
    let wanted = [(gone, "missing"), (changed, "stale"), (back, "resurrected"), (invented, "extra")];
    let wanted = wanted.map(|(uuid, sort)| (format!("1:{uuid}"), sort.to_owned()));
    ensure!(examples == BTreeMap::from(wanted), "{found}");
    // WHEN it repairs THEN every node matches PostgreSQL, and the next audit finds no difference
    let repaired = site.must(&["persons", "audit", "--repair"])?;
    ensure!(repaired.stdout.contains("rows republished"), "{repaired}");
    let left = on_nodes(site, &person_db)?;
    ensure!(left.is_empty(), "{left}");
    same(site, &person_db, &daemon)?;
    // WHEN a version is beyond the range of WAL versions THEN a repair names the setting to change,
    // and changes no row
    let changed = uuid(2);
    site.query_on(
        1,
        &format!("INSERT INTO {{db}}.person SELECT '{changed}', now64(3), 1, '{{}}', 0, 0, 4000000000000000000, now(), 0"),
    )?;
    let refused = site.posthouse(&["persons", "audit", "--repair"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("persons.postgres.version_base"), "{refused}");
    Ok(())
}

fn what_changes_and_changes_back_is_never_taken_for_wrong(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN persons on every node
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    person_db.admin()?.batch_execute(PEOPLE)?;
    same(site, &person_db, &daemon)?;
    // WHEN a person constantly changes back and forth, a distinct id moves between two persons, and
    // a person comes and goes
    let coming = format!(
        "UPDATE posthog_person SET properties = '{{\"n\": 2}}' WHERE id = 1;
         UPDATE posthog_persondistinctid SET person_id = 3 WHERE id = 2;
         INSERT INTO posthog_person (id, uuid, team_id) VALUES (60, '{}', 1)",
        uuid(60)
    );
    let going = "UPDATE posthog_person SET properties = '{\"n\": 1}' WHERE id = 1;
         UPDATE posthog_persondistinctid SET person_id = 2 WHERE id = 2;
         DELETE FROM posthog_person WHERE id = 60";
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let changing = scope.spawn(|| {
            let mut client = person_db.admin()?;
            while !stop.load(Ordering::Relaxed) {
                client.batch_execute(&coming)?;
                client.batch_execute(going)?;
            }
            anyhow::Ok(())
        });
        // THEN no audit reports a difference
        let audits = (0..10).try_for_each(|_| site.must(&["persons", "audit"]).map(drop));
        stop.store(true, Ordering::Relaxed);
        changing.join().ok().context("a panic")??;
        audits
    })?;
    // and in the end every node matches PostgreSQL
    same(site, &person_db, &daemon)
}

fn an_audit_without_anybody_who_copies_says_so_when_it_has_to_wait(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN persons copied by a posthouse that is gone
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    person_db.admin()?.batch_execute(PEOPLE)?;
    same(site, &person_db, &daemon)?;
    ensure!(daemon.end()? == 0, "another exit code");
    // WHEN no row changes THEN an audit needs no running posthouse
    site.must(&["persons", "audit"])?;
    // WHEN a row changes THEN it fails with the command to start
    person_db.admin()?.batch_execute("UPDATE posthog_person SET is_identified = true WHERE id = 1")?;
    let alone = site.posthouse(&["persons", "audit"])?;
    ensure!(alone.code == 1 && alone.stderr.contains("start posthouse run"), "{alone}");
    Ok(())
}
