//! Person sync through restores, failovers and lost slots of PostgreSQL.

use std::path::Path;

use anyhow::ensure;
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, Rules};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Postgres, Progress, Stack, StackSpec};

use crate::persons_dba::{PEOPLE, is_impaired};
use crate::persons_source::{follows, person_database, same};

tests! {
    Own follows_a_database_through_restores_a_failover_and_a_lost_slot,
}

const NOT_FOLLOWED: &str = "PostgreSQL can't be followed from where posthouse left it";

fn follows_a_database_through_restores_a_failover_and_a_lost_slot() -> anyhow::Result<()> {
    // GIVEN persons on every node, and a backup of PostgreSQL's files with its slot
    let stack = Stack::start(StackSpec::default().postgres(), &Progress::Silent)?;
    let mut site = Site::new(&stack, "restored")?;
    let person_db = person_database(&mut site, Rules::default())?;
    person_db.admin()?.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(&mut site, "off")?;
    same(&site, &person_db, &daemon)?;
    let postgres = stack.postgres()?;
    let backup = tempfile::tempdir()?;
    postgres.backup(backup.path())?;
    // WHEN changes follow, a restore of the files undoes them, and other changes come
    change(&person_db)?;
    same(&site, &person_db, &daemon)?;
    postgres.restore(backup.path())?;
    let written: i64 = person_db.admin()?.query_one("SELECT count(*) FROM posthog_person", &[])?.get(0);
    ensure!(written == 200, "{written} persons after the restore");
    person_db.admin()?.batch_execute(
        "UPDATE posthog_person SET properties = '{\"after\": 1}' WHERE id BETWEEN 50 AND 60;
         INSERT INTO posthog_person (id, uuid, team_id) VALUES (2000, gen_random_uuid(), 3)",
    )?;
    // THEN posthouse recognizes the restore, raises versions above the published ones, and every
    // node follows
    daemon.says(NOT_FOLLOWED)?;
    follows(&site, &person_db, &daemon)?;
    person_db.admin()?.batch_execute("UPDATE posthog_person SET is_identified = true WHERE id < 20")?;
    same(&site, &person_db, &daemon)?;
    ensure!(daemon.end()? == 0, "another exit code");
    follows_a_restore_with_more_wal(&mut site, &person_db, postgres, backup.path())?;
    follows_a_standby_that_took_over(&mut site, &person_db, postgres, backup.path())?;
    follows_after_a_lost_slot(&mut site, &person_db)
}

/// Changes rows of [`PEOPLE`] in three transactions.
fn change(person_db: &PersonDatabase<'_>) -> anyhow::Result<()> {
    for round in 0..3 {
        person_db.admin()?.batch_execute(&format!(
            "UPDATE posthog_person SET properties = jsonb_build_object('lost', {round}) WHERE id <= 100;
             INSERT INTO posthog_person (id, uuid, team_id) SELECT {round} * 100 + n, gen_random_uuid(), 2 FROM generate_series(1000, 1050) AS n;
             DELETE FROM posthog_persondistinctid WHERE person_id = 150 + {round}; DELETE FROM posthog_person WHERE id = 150 + {round}"
        ))?;
    }
    Ok(())
}

fn follows_a_restore_with_more_wal(
    site: &mut Site<'_>,
    person_db: &PersonDatabase<'_>,
    postgres: &Postgres,
    backup: &Path,
) -> anyhow::Result<()> {
    // WHEN the backup is restored a second time, and PostgreSQL has written more WAL than before by
    // the time posthouse connects
    postgres.restore(backup)?;
    person_db.admin()?.batch_execute(
        "CREATE TABLE more AS SELECT n, repeat('x', 1000) AS x FROM generate_series(1, 40000) AS n;
         UPDATE posthog_person SET properties = '{\"again\": 1}' WHERE id BETWEEN 90 AND 110",
    )?;
    let daemon = Daemon::start(site, "off")?;
    // THEN posthouse recognizes the restore by its WAL history
    let log = daemon.says(NOT_FOLLOWED)?;
    ensure!(log.contains("has another history") || log.contains("further on"), "{log}");
    same(site, person_db, &daemon)?;
    daemon.is_ready()?;
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn follows_a_standby_that_took_over(
    site: &mut Site<'_>,
    person_db: &PersonDatabase<'_>,
    postgres: &Postgres,
    backup: &Path,
) -> anyhow::Result<()> {
    // WHEN posthouse meets a standby that lags and has no slot of posthouse
    change(person_db)?;
    postgres.restore_as_standby(backup)?;
    let slots = "SELECT count(*) FROM pg_replication_slots";
    let drop_all = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
    person_db.admin()?.query(drop_all, &[])?;
    let checked = site.posthouse(&["persons", "check"])?;
    let daemon = Daemon::start(site, "off")?;
    // THEN the check and the daemon name it, and make no slot there
    let reason = "is a standby: set persons.postgres.address to the primary";
    ensure!(checked.code == 3 && checked.stdout.contains(reason), "{checked}");
    is_impaired(&daemon, reason)?;
    let slots: i64 = person_db.admin()?.query_one(slots, &[])?.get(0);
    ensure!(slots == 0, "{slots} slots on a standby");
    // WHEN it takes over
    let promoted: bool = person_db.admin()?.query_one("SELECT pg_promote()", &[])?.get(0);
    ensure!(promoted, "the standby was not promoted");
    // THEN posthouse recognizes it, and every node follows
    daemon.says(NOT_FOLLOWED)?;
    change(person_db)?;
    same(site, person_db, &daemon)?;
    daemon.is_ready()?;
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn follows_after_a_lost_slot(site: &mut Site<'_>, person_db: &PersonDatabase<'_>) -> anyhow::Result<()> {
    // WHEN posthouse is away for longer than PostgreSQL keeps WAL for it
    person_db.admin()?.batch_execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")?;
    person_db.admin()?.batch_execute("SELECT pg_reload_conf()")?;
    person_db.admin()?.batch_execute("CREATE TABLE rest (n integer, x text)")?;
    for round in 0..3 {
        person_db.admin()?.batch_execute(&format!(
            "INSERT INTO rest SELECT n, repeat('y', 1000) FROM generate_series(1, 20000) AS n;
             UPDATE posthog_person SET properties = jsonb_build_object('unseen', {round}) WHERE id < 40"
        ))?;
        person_db.admin()?.batch_execute("SELECT pg_switch_wal()")?;
        person_db.admin()?.batch_execute("CHECKPOINT")?;
    }
    // THEN the log has the reason for the lost slot, posthouse makes a new slot, and every node
    // follows
    let daemon = Daemon::start(site, "off")?;
    daemon.says("(wal_removed)")?;
    same(site, person_db, &daemon)
}
