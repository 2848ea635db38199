//! Persons that vanish without WAL deletions: TRUNCATE, and a lost slot.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, on_node};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};

tests! {
    Own rows_of_an_emptied_table_vanish_on_every_node,
}

/// For the snapshot, the end of a session, and a repair.
const LIMIT: Duration = Duration::from_secs(90);

fn rows_of_an_emptied_table_vanish_on_every_node() -> anyhow::Result<()> {
    const PEOPLE: &str = "INSERT INTO posthog_person (uuid, team_id) SELECT gen_random_uuid(), 1 FROM generate_series(1, 300); \
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) \
         SELECT team_id, 'of ' || id, id FROM posthog_person ON CONFLICT DO NOTHING";

    // GIVEN a person database with its persons on every node
    let stack = Stack::start(StackSpec::default().postgres(), &Progress::Silent)?;
    let person_db = PersonDatabase::new(stack.postgres()?, "vanished")?;
    let mut site = Site::new(&stack, "vanished")?;
    person_db.configure(&mut site)?;
    site.apply()?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let running = Daemon::start(&mut site, "off")?;
    same(&person_db, &site, 300)?;

    // WHEN both tables are truncated, and persons are inserted in the same transaction
    client.batch_execute(&format!("BEGIN; TRUNCATE posthog_person CASCADE; {PEOPLE}; COMMIT"))?;
    // THEN every node has only the new ones
    same(&person_db, &site, 300)?;

    // WHEN persons are deleted without a slot, and others inserted
    drop(running);
    wait_until("the slot to be dropped", LIMIT, || {
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()";
        match client.execute(drop, &[]) {
            Ok(1) => ControlFlow::Break(Ok(())),
            other => ControlFlow::Continue(anyhow!("{other:?}")),
        }
    })?;
    client.batch_execute(
        "DELETE FROM posthog_persondistinctid WHERE id % 3 = 0; \
         DELETE FROM posthog_person WHERE id NOT IN (SELECT person_id FROM posthog_persondistinctid); \
         INSERT INTO posthog_person (uuid, team_id) SELECT gen_random_uuid(), 2 FROM generate_series(1, 50)",
    )?;
    // THEN a new slot is created, and every node follows nonetheless
    let running = Daemon::start(&mut site, "off")?;
    same(&person_db, &site, 250)?;
    let audit = site.posthouse(&["persons", "audit"])?;
    ensure!(audit.code == 0, "{audit}");
    drop(running);
    Ok(())
}

/// Waits until every node matches PostgreSQL. Fails unless that has this many persons.
fn same(person_db: &PersonDatabase, site: &Site<'_>, persons: usize) -> anyhow::Result<()> {
    let truth = person_db.people()?;
    ensure!(truth.persons.len() == persons, "{} persons", truth.persons.len());
    for index in 0..site.stack.nodes().len() {
        wait_until("a node to show what PostgreSQL has", LIMIT, || match on_node(site, index) {
            Ok(seen) => {
                let differences = truth.differences(&seen);
                match differences.is_empty() {
                    true => ControlFlow::Break(Ok(())),
                    false => ControlFlow::Continue(anyhow!("{differences}")),
                }
            }
            Err(error) => ControlFlow::Continue(error),
        })?;
    }
    Ok(())
}
