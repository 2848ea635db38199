//! Persons whose rows stay when they are deleted or merged.

use anyhow::{Context, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{Deletion, Rules};
use posthouse_tests::site::Site;
use rustix::process::{Signal, kill_process};

use crate::persons_dba::PEOPLE;
use crate::persons_source::{follows, person_database};

tests! {
    Shared follows_persons_that_are_deleted_or_merged_though_their_rows_stay,
    Shared a_batch_of_transactions_ends_with_the_state_after_the_last_one,
}

fn follows_persons_that_are_deleted_or_merged_though_their_rows_stay(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN an application that keeps the rows of deleted and merged persons, some of them from
    // before posthouse
    let person_db = person_database(site, Rules { deletion: Deletion::Soft, ..Rules::default() })?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    client.batch_execute(
        "UPDATE posthog_person SET is_deleted = true, properties = '{}' WHERE id = 1;
         UPDATE posthog_person SET merged_into_id = 3 WHERE id = 2;
         UPDATE posthog_persondistinctid SET is_deleted = true WHERE id = 4",
    )?;
    let daemon = Daemon::start(site, "off")?;
    // WHEN these are copied, and persons are deleted, merged, merged further, revived and separated
    for statement in [
        "SELECT 1",
        "UPDATE posthog_person SET is_deleted = true WHERE id = 10",
        "UPDATE posthog_persondistinctid SET is_deleted = true WHERE person_id = 10",
        "UPDATE posthog_person SET merged_into_id = 12 WHERE id = 11",
        "UPDATE posthog_person SET merged_into_id = 13 WHERE id = 12",
        "UPDATE posthog_person SET is_deleted = true WHERE id = 13",
        "UPDATE posthog_person SET is_deleted = false WHERE id = 13",
        "UPDATE posthog_person SET merged_into_id = NULL WHERE id = 2",
        "INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) VALUES (1, 'of a merged one', 11)",
        "UPDATE posthog_persondistinctid SET is_deleted = false WHERE id = 4",
        "BEGIN; UPDATE posthog_person SET merged_into_id = 21 WHERE id = 20; UPDATE posthog_person SET is_deleted = true WHERE id = 21; COMMIT",
        "UPDATE posthog_person SET uuid = gen_random_uuid() WHERE id = 13",
        // In one batch: a merge, then a distinct id of the merged person. A distinct id, then the
        // revival of its person.
        "UPDATE posthog_person SET merged_into_id = 31 WHERE id = 30;
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) VALUES (1, 'after a merge', 30)",
        "UPDATE posthog_person SET is_deleted = true WHERE id = 40",
        "BEGIN; INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) VALUES (1, 'before a revival', 40);
         UPDATE posthog_person SET is_deleted = false WHERE id = 40; COMMIT",
        "UPDATE posthog_person SET is_deleted = true, merged_into_id = 51 WHERE id = 50",
        "DELETE FROM posthog_persondistinctid WHERE person_id = 31; DELETE FROM posthog_person WHERE id = 31",
    ] {
        // THEN every node shows the remaining persons and their distinct ids
        client.batch_execute(statement)?;
        follows(site, &person_db, &daemon).with_context(|| statement.to_owned())?;
    }
    // THEN an audit agrees
    let audit = site.must(&["persons", "audit"])?;
    ensure!(audit.stdout.contains("every node matches PostgreSQL"), "{audit}");
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn a_batch_of_transactions_ends_with_the_state_after_the_last_one(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN persons that posthouse has seen alive
    let person_db = person_database(site, Rules { deletion: Deletion::Soft, ..Rules::default() })?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    follows(site, &person_db, &daemon)?;
    client.batch_execute("UPDATE posthog_person SET is_identified = true WHERE id < 100")?;
    follows(site, &person_db, &daemon)?;
    for transactions in [
        // A person is deleted and revived, and gets a distinct id meanwhile.
        &[
            "UPDATE posthog_person SET is_deleted = true WHERE id = 10",
            "INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) VALUES (1, 'meanwhile', 10)",
            "UPDATE posthog_person SET is_deleted = false WHERE id = 10",
        ][..],
        // A person is merged, and gets a distinct id afterwards.
        &[
            "UPDATE posthog_person SET merged_into_id = 21 WHERE id = 20",
            "INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) VALUES (1, 'afterwards', 20)",
        ],
        // A person is revived and merged again, and both targets go.
        &[
            "UPDATE posthog_person SET merged_into_id = NULL WHERE id = 20",
            "UPDATE posthog_person SET merged_into_id = 22 WHERE id = 20",
            "UPDATE posthog_persondistinctid SET version = 5 WHERE person_id = 20",
            "UPDATE posthog_person SET is_deleted = true WHERE id IN (21, 22)",
            "UPDATE posthog_person SET is_deleted = false WHERE id = 22",
        ],
    ] {
        // WHEN transactions commit while posthouse reads nothing, so that it reads them at once
        kill_process(daemon.pid(), Signal::STOP)?;
        let committed = transactions.iter().try_for_each(|transaction| client.batch_execute(transaction));
        kill_process(daemon.pid(), Signal::CONT)?;
        committed?;
        // THEN every node follows
        follows(site, &person_db, &daemon).with_context(|| transactions.join("; "))?;
    }
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}
