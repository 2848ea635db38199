//! Person sync under a DBA's changes of its source.
//!
//! Covers partitions, row policies, table swaps and imports. Either the nodes match
//! PostgreSQL, or posthouse reports the fix.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{Identity, PersonDatabase, Rules};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{USER, wait_until};
use serde_json::Value;

use crate::persons_source::{LIMIT, follows, person_database, same};

tests! {
    Shared copies_an_import_that_changes_each_row_twice_and_one_row_forty_thousand_times,
    Shared asks_for_the_identity_of_partitions_and_follows_them_when_they_come_and_go,
    Shared names_a_swapped_table_and_repairs_once_it_is_published,
    Shared refuses_hidden_rows_and_deletes_nothing_for_them,
    Shared counts_deletions_without_a_key_and_repairs_them,
    Shared deletes_no_large_part_of_a_table_unasked,
    Shared follows_persons_that_come_after_their_distinct_ids_and_go_before_them,
    Shared keeps_a_person_whose_twin_is_deleted,
    Shared keeps_a_person_whose_twin_is_deleted_with_the_application_s_versions,
    Shared follows_a_publication_with_capital_letters_and_rows_without_a_time,
    Shared follows_a_database_in_another_encoding,
    Shared follows_by_a_role_with_settings_of_its_own,
    Shared keeps_values_at_the_ends_of_their_types,
    Shared follows_rewrites_of_its_tables,
    Shared follows_every_way_to_change_a_row,
    Shared refuses_a_slot_of_prepared_transactions,
}

/// Statements that make 200 persons, each with a distinct id.
pub(crate) const PEOPLE: &str = "INSERT INTO posthog_person (id, uuid, team_id, properties)
        SELECT n, gen_random_uuid(), n % 5 + 1, jsonb_build_object('n', n) FROM generate_series(1, 200) AS n;
    INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
        SELECT team_id, 'd' || id, id FROM posthog_person;";

/// The daemon isn't ready, for the reason `text`, and counts a fault of the source.
pub(crate) fn is_impaired(daemon: &Daemon, text: &str) -> anyhow::Result<()> {
    daemon.is_not_ready(text)?;
    daemon.wait("posthouse_persons_source_faults", |faults| faults > 0)
}

/// Runs `persons check` and returns its JSON. Fails on another exit code than `code`.
fn check(site: &Site<'_>, code: i32) -> anyhow::Result<Value> {
    let checked = site.posthouse(&["persons", "check", "--json"])?;
    ensure!(checked.code == code, "{checked}");
    serde_json::from_str(&checked.stdout).with_context(|| checked.to_string())
}

/// The statements of the check's script.
fn script(checked: &Value) -> Vec<String> {
    let requirements = checked["requirements"].as_array().into_iter().flatten();
    let statements = requirements.flat_map(|requirement| requirement["fix"].as_array().into_iter().flatten());
    statements.filter_map(|statement| statement.as_str().map(str::to_owned)).collect()
}

/// Runs the script as a DBA would, one statement at a time.
fn run_script(person_db: &PersonDatabase<'_>, site: &Site<'_>) -> anyhow::Result<()> {
    let mut client = person_db.admin()?;
    let statements = script(&check(site, 3)?);
    ensure!(!statements.is_empty(), "nothing to run");
    for statement in statements {
        client.batch_execute(&statement).with_context(|| statement.clone())?;
    }
    check(site, 0).map(drop)
}

fn copies_an_import_that_changes_each_row_twice_and_one_row_forty_thousand_times(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a streaming posthouse
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    // WHEN one transaction makes 40,000 persons and changes each, and another changes one row more
    // often than versions can count
    let mut client = person_db.admin()?;
    client.batch_execute(
        "DO $$ DECLARE p bigint; BEGIN FOR i IN 1..40000 LOOP
            INSERT INTO posthog_person (uuid, team_id) VALUES (gen_random_uuid(), 1) RETURNING id INTO p;
            UPDATE posthog_person SET properties = jsonb_build_object('n', i) WHERE id = p;
         END LOOP; END $$",
    )?;
    client.batch_execute(
        "DO $$ BEGIN FOR i IN 1..40000 LOOP
            UPDATE posthog_person SET properties = jsonb_build_object('i', i) WHERE id = 1;
            UPDATE posthog_person SET is_identified = true WHERE id = 2 AND i = 39000;
         END LOOP; DELETE FROM posthog_person WHERE id = 3; END $$",
    )?;
    // WHEN one row is larger than the limit for bytes in flight
    client.batch_execute(
        "UPDATE posthog_person SET properties = jsonb_build_object('x', repeat('x', 70000000)) WHERE id = 5",
    )?;
    client.batch_execute("UPDATE posthog_person SET is_identified = true WHERE id = 4")?;
    site.answers("SELECT max(length(properties)) > 70000000 FROM {db}.person", "1", LIMIT)?;
    client.batch_execute("UPDATE posthog_person SET properties = '{}' WHERE id = 5")?;
    // THEN all of them and all later changes arrive, and the log names the row
    same(site, &person_db, &daemon)?;
    daemon.says("more often than versions count").map(drop)
}

/// The application's table of persons in its form since 2025-11, with fewer partitions.
fn partitioned(person_db: &PersonDatabase<'_>) -> anyhow::Result<()> {
    let mut client = person_db.admin()?;
    client.batch_execute(
        "DROP TABLE posthog_persondistinctid, posthog_person;
         CREATE TABLE posthog_person (
            id bigint GENERATED BY DEFAULT AS IDENTITY, created_at timestamptz NOT NULL DEFAULT now(),
            properties jsonb NOT NULL DEFAULT '{}', is_identified boolean NOT NULL DEFAULT false,
            uuid uuid NOT NULL DEFAULT gen_random_uuid(), version bigint, team_id integer NOT NULL,
            is_deleted boolean NOT NULL DEFAULT false, merged_into_id bigint,
            PRIMARY KEY (team_id, id)) PARTITION BY LIST (team_id);
         CREATE UNIQUE INDEX ON posthog_person (team_id, uuid);
         CREATE TABLE posthog_person_p1 PARTITION OF posthog_person FOR VALUES IN (1, 2, 3);
         CREATE TABLE posthog_person_p2 PARTITION OF posthog_person FOR VALUES IN (4, 5);
         CREATE TABLE posthog_persondistinctid (
            id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, distinct_id varchar(400) NOT NULL, version bigint,
            person_id bigint NOT NULL, team_id integer NOT NULL, is_deleted boolean NOT NULL DEFAULT false);
         CREATE INDEX ON posthog_persondistinctid (person_id);
         CREATE UNIQUE INDEX ON posthog_persondistinctid (team_id, distinct_id);",
    )?;
    let user = posthouse_tests::stack::USER;
    client.batch_execute(&format!(
        "ALTER TABLE posthog_person OWNER TO {user}; ALTER TABLE posthog_persondistinctid OWNER TO {user}"
    ))?;
    Ok(())
}

fn asks_for_the_identity_of_partitions_and_follows_them_when_they_come_and_go(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a partitioned table with a replica identity on the parent only
    let person_db = person_database(site, Rules { identity: Identity::Default, ..Rules::default() })?;
    partitioned(&person_db)?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    client.batch_execute("ALTER TABLE posthog_person REPLICA IDENTITY FULL")?;
    // WHEN posthouse starts THEN it names the partitions and publishes no row
    let daemon = Daemon::start(site, "off")?;
    let log = daemon.says("deletions of 2 of 2 partitions do not have uuid")?;
    ensure!(log.contains("posthog_person_p1, posthog_person_p2"), "{log}");
    // WHEN the check's script is run THEN deletions arrive
    run_script(&person_db, site)?;
    same(site, &person_db, &daemon)?;
    client.batch_execute(
        "DELETE FROM posthog_persondistinctid WHERE person_id % 2 = 0; DELETE FROM posthog_person WHERE id % 2 = 0",
    )?;
    same(site, &person_db, &daemon)?;
    // WHEN a partition without an identity is added THEN it is named, and with an identity its rows
    // match PostgreSQL
    client.batch_execute(
        "CREATE TABLE posthog_person_p3 PARTITION OF posthog_person FOR VALUES IN (6);
         INSERT INTO posthog_person (id, team_id) SELECT n, 6 FROM generate_series(1000, 1009) AS n",
    )?;
    client.batch_execute("DELETE FROM posthog_person WHERE id IN (1001, 1002)")?;
    is_impaired(&daemon, "posthog_person_p3")?;
    run_script(&person_db, site)?;
    same(site, &person_db, &daemon)?;
    daemon.is_ready()?;
    // WHEN partitions are detached, truncated and attached with other rows, none of which is in the
    // WAL
    client.batch_execute(
        "ALTER TABLE posthog_person DETACH PARTITION posthog_person_p3; TRUNCATE posthog_person_p2;
         UPDATE posthog_person_p3 SET is_identified = true;",
    )?;
    // THEN every node follows
    same(site, &person_db, &daemon)?;
    client
        .batch_execute("ALTER TABLE posthog_person ATTACH PARTITION posthog_person_p3 FOR VALUES IN (6)")?;
    same(site, &person_db, &daemon)
}

fn names_a_swapped_table_and_repairs_once_it_is_published(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a streaming posthouse
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    // WHEN another table takes over a table's name, as in a migration, and is changed
    client.batch_execute(
        "BEGIN;
         CREATE TABLE posthog_person_new (LIKE posthog_person INCLUDING ALL);
         INSERT INTO posthog_person_new SELECT * FROM posthog_person WHERE id > 10;
         ALTER TABLE posthog_persondistinctid DROP CONSTRAINT posthog_persondistinctid_person_id_fkey;
         ALTER TABLE posthog_person RENAME TO posthog_person_old;
         ALTER TABLE posthog_person_new RENAME TO posthog_person;
         GRANT SELECT ON posthog_person TO PUBLIC;
         COMMIT;
         DELETE FROM posthog_person WHERE id < 20;
         UPDATE posthog_person SET is_identified = true WHERE id < 40;",
    )?;
    // THEN posthouse reports that the publication lacks it
    is_impaired(&daemon, "does not have table public.posthog_person")?;
    // WHEN posthouse restarts meanwhile, and the script is run THEN every node has the new table's
    // rows
    ensure!(daemon.end()? == 0, "another exit code");
    let daemon = Daemon::start(site, "off")?;
    daemon.says("does not have table public.posthog_person")?;
    run_script(&person_db, site)?;
    same(site, &person_db, &daemon)?;
    // WHEN the publication is dropped THEN that is a fault, and the missed changes are repaired
    client.batch_execute(&format!("DROP PUBLICATION \"{}\"", person_db.name()))?;
    client.batch_execute(
        "UPDATE posthog_person SET is_identified = true; DELETE FROM posthog_person WHERE id = 23",
    )?;
    daemon.says("no longer exists, but the slot does")?;
    run_script(&person_db, site)?;
    same(site, &person_db, &daemon)?;
    // WHEN a table leaves the publication and returns between two checks THEN the missed changes
    // are repaired too
    client.batch_execute(&format!("ALTER PUBLICATION \"{}\" DROP TABLE posthog_person", person_db.name()))?;
    client.batch_execute("DELETE FROM posthog_person WHERE id = 22")?;
    client.batch_execute(&format!("ALTER PUBLICATION \"{}\" ADD TABLE posthog_person", person_db.name()))?;
    same(site, &person_db, &daemon)?;
    client.batch_execute("DELETE FROM posthog_person WHERE id = 21")?;
    same(site, &person_db, &daemon)?;
    daemon.is_ready().map(drop)
}

fn refuses_hidden_rows_and_deletes_nothing_for_them(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a table with a policy that hides rows from posthouse, owned by another role
    let person_db = person_database(site, Rules { owned: false, ..Rules::default() })?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    client.batch_execute("ALTER TABLE posthog_person ENABLE ROW LEVEL SECURITY")?;
    client.batch_execute(&format!(
        "CREATE PUBLICATION \"{}\" FOR TABLE posthog_person, posthog_persondistinctid",
        person_db.name()
    ))?;
    // WHEN posthouse starts THEN it refuses, and the log has the statement that fixes it
    let daemon = Daemon::start(site, "off")?;
    let log = daemon.says("would hide rows")?;
    ensure!(log.contains("BYPASSRLS;"), "{log}");
    client.batch_execute("ALTER TABLE posthog_person DISABLE ROW LEVEL SECURITY")?;
    same(site, &person_db, &daemon)?;
    // WHEN rows are hidden while it streams THEN that is a fault, and no audit takes them for
    // deleted
    client.batch_execute("ALTER TABLE posthog_person ENABLE ROW LEVEL SECURITY")?;
    is_impaired(&daemon, "would hide rows")?;
    let audit = site.posthouse(&["persons", "audit", "--repair"])?;
    ensure!(audit.code == 1 && audit.stderr.contains("row-level security"), "{audit}");
    client.batch_execute("UPDATE posthog_person SET is_identified = true WHERE id < 10")?;
    client.batch_execute("ALTER TABLE posthog_person DISABLE ROW LEVEL SECURITY")?;
    same(site, &person_db, &daemon)
}

fn counts_deletions_without_a_key_and_repairs_them(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a streaming posthouse
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    // WHEN the identity is removed, rows are deleted and get other keys, and the identity is
    // restored
    client.batch_execute(
        "ALTER TABLE posthog_person REPLICA IDENTITY DEFAULT; ALTER TABLE posthog_persondistinctid REPLICA IDENTITY DEFAULT",
    )?;
    client.batch_execute(
        "DELETE FROM posthog_persondistinctid WHERE person_id <= 100; DELETE FROM posthog_person WHERE id <= 100;
         UPDATE posthog_person SET uuid = gen_random_uuid() WHERE id = 150",
    )?;
    // THEN these changes are counted, and the loss is logged as an error
    daemon.wait("posthouse_persons_keyless_changes_total", |changes| changes == 200)?;
    daemon.says("changes came without the columns that identify the row")?;
    is_impaired(&daemon, "deletions do not have")?;
    run_script(&person_db, site)?;
    // THEN every node follows without a command
    same(site, &person_db, &daemon)
}

fn deletes_no_large_part_of_a_table_unasked(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN 4,000 persons on every node
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(
        "INSERT INTO posthog_person (uuid, team_id) SELECT gen_random_uuid(), 1 FROM generate_series(1, 4000)",
    )?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    ensure!(daemon.end()? == 0, "another exit code");
    // WHEN half of them are deleted, some are changed, and the slot is advanced past these changes
    client.batch_execute(
        "DELETE FROM posthog_person WHERE id % 2 = 0; UPDATE posthog_person SET is_identified = true WHERE id < 100",
    )?;
    let advanced = wait_until("the slot to be free", LIMIT, || {
        let advance = "SELECT pg_replication_slot_advance($1::text::name, pg_current_wal_lsn())::text";
        match client.query(advance, &[&person_db.name()]) {
            Ok(_) => ControlFlow::Break(Ok(())),
            Err(error) => ControlFlow::Continue(error.into()),
        }
    });
    advanced?;
    let daemon = Daemon::start(site, "off")?;
    // THEN a new initial snapshot deletes no rows, and an error names the command that does
    daemon.says("PostgreSQL can't be followed from where posthouse left it")?;
    let log = daemon.says("a repair would delete 2000 of 4000 rows of person on node ")?;
    ensure!(log.contains("persons audit --repair --yes-delete"), "{log}");
    site.answers(
        "SELECT count() FROM (SELECT id FROM {db}.person GROUP BY id HAVING argMax(is_deleted, version) = 0)",
        "4000",
        LIMIT,
    )?;
    site.answers(
        "SELECT countIf(i = 1) FROM (SELECT argMax(is_identified, version) AS i FROM {db}.person GROUP BY id)",
        "50",
        LIMIT,
    )?;
    let refused = site.posthouse(&["persons", "audit", "--repair"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("--yes-delete"), "{refused}");
    // WHEN it is confirmed THEN every node matches PostgreSQL
    site.must(&["persons", "audit", "--repair", "--yes-delete"])?;
    same(site, &person_db, &daemon)
}

fn follows_persons_that_come_after_their_distinct_ids_and_go_before_them(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN tables without a foreign key, and a streaming posthouse
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(
        "ALTER TABLE posthog_persondistinctid DROP CONSTRAINT posthog_persondistinctid_person_id_fkey",
    )?;
    client.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    // WHEN persons go before their distinct ids, distinct ids come before their person, and a
    // person is replaced
    for statement in [
        "DELETE FROM posthog_person WHERE id = 1",
        "INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) VALUES (1, 'early', 300), (1, 'late', 1)",
        "INSERT INTO posthog_person (id, uuid, team_id) VALUES (300, gen_random_uuid(), 1)",
        "BEGIN; DELETE FROM posthog_person WHERE id = 2;
         INSERT INTO posthog_person (id, uuid, team_id) VALUES (2, gen_random_uuid(), 3); COMMIT",
        "DELETE FROM posthog_person WHERE id = 3",
        "INSERT INTO posthog_person (id, uuid, team_id) VALUES (3, gen_random_uuid(), 4)",
        "ALTER TABLE posthog_persondistinctid ALTER person_id DROP NOT NULL",
        "UPDATE posthog_persondistinctid SET person_id = NULL WHERE person_id = 4",
        "DELETE FROM posthog_person WHERE id = 5",
        "UPDATE posthog_persondistinctid SET version = 7 WHERE person_id = 5",
    ] {
        client.batch_execute(statement)?;
        // THEN every node follows at once, without an audit
        follows(site, &person_db, &daemon)?;
    }
    same(site, &person_db, &daemon)
}

fn keeps_a_person_whose_twin_is_deleted(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two rows of one team and uuid, and a streaming posthouse
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    client.batch_execute(
        "INSERT INTO posthog_person (id, uuid, team_id, properties)
            SELECT 500, uuid, team_id, '{\"twin\": 1}' FROM posthog_person WHERE id = 7",
    )?;
    let live = "SELECT argMax(is_deleted, version) FROM {db}.person WHERE properties LIKE '%twin%' OR properties = '{\"n\": 7}'";
    site.answers("SELECT count() > 0 FROM {db}.person WHERE properties LIKE '%twin%'", "1", LIMIT)?;
    // THEN an audit counts them as duplicates, and neither as a difference
    let audit: Value = serde_json::from_str(&site.must(&["persons", "audit", "--json"])?.stdout)?;
    ensure!(audit["tables"][0]["duplicates"] == 1, "{audit:#}");
    // WHEN one of them is deleted THEN the other one stays
    client.batch_execute("DELETE FROM posthog_person WHERE id = 500")?;
    same(site, &person_db, &daemon)?;
    site.answers(live, "0", LIMIT)
}

fn keeps_a_person_whose_twin_is_deleted_with_the_application_s_versions(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN two persons with one uuid, and versions from the application's column
    let rules = Rules { identity: Identity::Full, ..Rules::default() };
    let person_db = PersonDatabase::with(site.stack.postgres()?, site.name(), rules)?;
    person_db.configure(site)?;
    person_db.set(site, "version", "column")?;
    site.apply()?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    client.batch_execute(
        "INSERT INTO posthog_person (id, uuid, team_id, properties)
            SELECT 500, uuid, team_id, '{\"twin\": 1}' FROM posthog_person WHERE id = 7",
    )?;
    site.answers("SELECT count() > 0 FROM {db}.person WHERE properties LIKE '%twin%'", "1", LIMIT)?;
    // WHEN one of them is deleted, and so is a person without a twin THEN only the latter is gone
    client.batch_execute(
        "DELETE FROM posthog_person WHERE id = 500;
         DELETE FROM posthog_persondistinctid WHERE id = 9; DELETE FROM posthog_person WHERE id = 9",
    )?;
    let live = "SELECT count() FROM (SELECT id FROM {db}.person GROUP BY team_id, id HAVING argMax(is_deleted, version) = 0)";
    site.answers(live, "199", LIMIT)?;
    client.batch_execute("UPDATE posthog_person SET is_identified = true, version = 1 WHERE id = 7")?;
    same(site, &person_db, &daemon)
}

fn follows_a_publication_with_capital_letters_and_rows_without_a_time(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a publication with capital letters in its name, and a person without a timestamp
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    client.batch_execute("ALTER TABLE posthog_person ALTER created_at DROP NOT NULL")?;
    client.batch_execute(
        "CREATE PUBLICATION \"UpperCase\" FOR TABLE posthog_person, posthog_persondistinctid;
         INSERT INTO posthog_person (id, uuid, team_id) VALUES (900, gen_random_uuid(), 1)",
    )?;
    person_db.set(site, "publication", "UpperCase")?;
    // WHEN posthouse runs THEN changes are followed
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    client.batch_execute("UPDATE posthog_person SET is_identified = true")?;
    same(site, &person_db, &daemon)?;
    // THEN a row without a timestamp is the same on both sides
    client.batch_execute("UPDATE posthog_person SET created_at = NULL WHERE id = 8")?;
    let stored = "SELECT count() FROM (SELECT argMax(created_at, version) AS t FROM {db}.person GROUP BY id HAVING t = toDateTime64(0, 3, 'UTC'))";
    site.answers(stored, "1", LIMIT)?;
    site.must(&["persons", "audit"]).map(drop)
}

fn follows_a_database_in_another_encoding(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a database in another encoding than UTF-8, with letters outside ASCII
    let person_db = person_database(site, Rules { encoding: "LATIN1", ..Rules::default() })?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    client.batch_execute("UPDATE posthog_persondistinctid SET distinct_id = 'é' || id WHERE id < 50")?;
    // WHEN it is copied and changed THEN every node has the same rows, and an audit confirms it
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    client.batch_execute(
        "UPDATE posthog_person SET properties = '{\"né\": \"ß\"}' WHERE id < 20;
         UPDATE posthog_persondistinctid SET distinct_id = 'ü' || id WHERE id BETWEEN 40 AND 60",
    )?;
    same(site, &person_db, &daemon)?;
    // WHEN a node has extra rows, some with keys that this encoding can't express
    site.query_on(
        1,
        "INSERT INTO {db}.person_distinct_id (team_id, distinct_id, person_id, is_deleted, version)
         SELECT 1, arrayJoin(['𝕏', 'ж1', 'gone', '名前']), generateUUIDv4(), 0, 1",
    )?;
    // THEN a repair removes them
    site.must(&["persons", "audit", "--repair"])?;
    same(site, &person_db, &daemon)
}

fn follows_by_a_role_with_settings_of_its_own(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a role whose settings change the parsing of statements, the format of values and the
    // lifetime of sessions
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let settings = [
        "idle_session_timeout = '1s'",
        "idle_in_transaction_session_timeout = '1s'",
        "statement_timeout = '1ms'",
        "standard_conforming_strings = off",
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "search_path = pg_catalog",
        "client_encoding = 'LATIN1'",
        "datestyle = 'German, DMY'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'Asia/Kathmandu'",
        "bytea_output = 'escape'",
        "extra_float_digits = 0",
        "row_security = on",
    ];
    let database = person_db.name();
    client.batch_execute(&format!(
        "CREATE PUBLICATION \"{database}\" FOR TABLE posthog_person, posthog_persondistinctid"
    ))?;
    for setting in settings {
        client.batch_execute(&format!("ALTER ROLE {USER} IN DATABASE {database} SET {setting}"))?;
    }
    // WHEN posthouse copies, waits longer than these sessions live, and follows changes with texts
    // that other settings would misread
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    std::thread::sleep(Duration::from_secs(3));
    client.batch_execute(
        r#"UPDATE posthog_persondistinctid SET distinct_id = 'back\slash''s \' || id WHERE id < 20;
           UPDATE posthog_person SET properties = '{"𝕏": "\u00e9"}', created_at = '2026-03-04 05:06:07.89' WHERE id < 20;
           DELETE FROM posthog_persondistinctid WHERE id = 20"#,
    )?;
    same(site, &person_db, &daemon)?;
    // THEN every node follows, and a repair finds these keys too
    site.query_on(1, "TRUNCATE TABLE {db}.person_distinct_id SYNC")?;
    site.must(&["persons", "audit", "--repair"])?;
    same(site, &person_db, &daemon)
}

fn keeps_values_at_the_ends_of_their_types(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN rows at the limits of every type, half of them older than posthouse
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(
        r#"INSERT INTO posthog_person (id, uuid, team_id, created_at, properties, is_identified) VALUES
            (9007199254740993, gen_random_uuid(), 1, 'infinity', '{}', true),
            (-9223372036854775808, gen_random_uuid(), 2147483647, '-infinity', '{"a": null}', false),
            (9223372036854775807, gen_random_uuid(), -2147483648, '0044-03-15 12:00:00 BC', 'null', true),
            (-1, gen_random_uuid(), 0, '1969-12-31 23:59:59.999999+00', '[]', false),
            (100, gen_random_uuid(), 1, '1899-12-31 23:59:59.999999+00', '"text"', false),
            (101, gen_random_uuid(), 1, '1900-01-01 00:00:00+00', '1e400', false)"#,
    )?;
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    // WHEN more rows come, with distinct ids of every kind of text
    client.batch_execute(
        r#"INSERT INTO posthog_person (id, uuid, team_id, created_at, properties, is_identified) VALUES
            (102, gen_random_uuid(), 1, '2299-12-31 23:59:59.9999+00', '{"é\u2028": "\ud83d\ude80"}', false),
            (103, gen_random_uuid(), 1, '2300-01-01 00:00:00+00', '{"n": 123456789012345678901234567890.5}', false),
            (104, gen_random_uuid(), 1, '1883-11-18 12:03:58.1234-07:52:58', '{"q": "\\\\u0000 \\\\ \" \b\f\n\r\t"}', false),
            (105, gen_random_uuid(), 1, '2026-03-29 02:30:00 Europe/Berlin', '{"": {"": [[], {}, null, true, -0.0]}}', false),
            (106, gen_random_uuid(), 1, '2026-11-28 12:00:00.123456', '{"tab\there": "</script> -- ; ''"}', false);
        INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) VALUES
            (1, '', 9007199254740993), (2147483647, 'a:b:c', -9223372036854775808), (-2147483648, ':', 9223372036854775807),
            (0, ' lead and trail ', -1), (1, E'tab\tnew\nline\rback\\slash', 100), (1, '''quote"double', 101),
            (1, repeat('𝕏', 400), 102), (1, E'\u0001\u007f\u0085\u2028\ufeff\ufffe', 103), (1, '{"json": "like"}', 104),
            (1, '\N', 105), (1, 'NULL', 106), (1, '%s{{ x }}{% raw %}$1', 106), (1, E'e\u0301', 100), (1, 'é', 101);
        UPDATE posthog_person SET properties = properties || '{"more": 1}' WHERE jsonb_typeof(properties) = 'object';
        UPDATE posthog_persondistinctid SET person_id = 101 WHERE distinct_id = '\N';
        DELETE FROM posthog_persondistinctid WHERE distinct_id IN ('', E'e\u0301')"#,
    )?;
    // THEN every node has the same rows, byte for byte
    same(site, &person_db, &daemon)
}

fn follows_rewrites_of_its_tables(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a streaming posthouse, and rows in TOAST storage
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    client.batch_execute(
        "UPDATE posthog_person SET properties = jsonb_build_object('t', repeat(md5(id::text), 200))",
    )?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    // WHEN tables and indexes are rewritten, columns are added, dropped and retyped, and rows
    // change in between
    for statement in [
        "VACUUM FULL posthog_person",
        "CLUSTER posthog_person USING posthog_person_pkey",
        "UPDATE posthog_person SET is_identified = true WHERE id % 3 = 0",
        "ALTER TABLE posthog_persondistinctid ALTER COLUMN distinct_id TYPE varchar(400)",
        "UPDATE posthog_persondistinctid SET person_id = 1 WHERE id % 7 = 0",
        "ALTER TABLE posthog_person ADD COLUMN g text GENERATED ALWAYS AS (properties ->> 't') STORED",
        "UPDATE posthog_person SET is_identified = false WHERE id % 5 = 0",
        "REINDEX TABLE posthog_person",
        "REINDEX INDEX CONCURRENTLY posthog_person_identity",
        "ALTER TABLE posthog_person DROP COLUMN g",
        "ALTER TABLE posthog_person ALTER COLUMN team_id TYPE bigint",
        "DELETE FROM posthog_persondistinctid WHERE id % 11 = 0",
        "UPDATE posthog_person SET id = id + 1000000 WHERE id BETWEEN 140 AND 195
            AND NOT EXISTS (SELECT FROM posthog_persondistinctid AS d WHERE d.person_id = posthog_person.id)",
        "DELETE FROM posthog_person AS p
            WHERE NOT EXISTS (SELECT FROM posthog_persondistinctid AS d WHERE d.person_id = p.id)",
    ] {
        client.batch_execute(statement).context(statement)?;
    }
    // THEN every node follows
    same(site, &person_db, &daemon)
}

fn follows_every_way_to_change_a_row(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a streaming posthouse
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    // WHEN rows change by MERGE, ON CONFLICT, a trigger, WITH and savepoints, and get other keys
    // and teams
    for statements in [
        "MERGE INTO posthog_person AS p USING (SELECT n FROM generate_series(195, 210) AS n) AS s ON p.id = s.n
            WHEN MATCHED AND s.n = 196 THEN DO NOTHING
            WHEN MATCHED THEN UPDATE SET is_identified = true
            WHEN NOT MATCHED THEN INSERT (id, uuid, team_id) VALUES (s.n, gen_random_uuid(), 1)",
        "INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
            VALUES (2, 'd1', 2), (3, 'd2', 2), (1, 'd201', 201) ON CONFLICT (team_id, distinct_id) DO UPDATE SET person_id = 2",
        "CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.version IS NULL THEN
                UPDATE posthog_person SET version = 1, properties = '{\"trigger\": 1}' WHERE id = NEW.id;
            END IF;
            RETURN NULL; END $$;
         CREATE TRIGGER twice AFTER UPDATE ON posthog_person FOR EACH ROW EXECUTE FUNCTION twice();
         UPDATE posthog_person SET is_identified = NOT is_identified",
        "WITH gone AS (DELETE FROM posthog_persondistinctid WHERE person_id BETWEEN 10 AND 20 RETURNING *)
            INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
            SELECT team_id, distinct_id || ' again', person_id FROM gone",
        "BEGIN; SAVEPOINT a; DELETE FROM posthog_persondistinctid WHERE person_id = 30; ROLLBACK TO a;
         UPDATE posthog_person SET properties = '{\"kept\": 1}' WHERE id = 30; SAVEPOINT b;
         UPDATE posthog_person SET properties = '{\"lost\": 1}' WHERE id = 31; ROLLBACK TO b; RELEASE a; COMMIT",
        "UPDATE posthog_person SET uuid = gen_random_uuid() WHERE id BETWEEN 40 AND 45",
        "UPDATE posthog_person SET team_id = 2 WHERE id = 46;
         UPDATE posthog_persondistinctid SET team_id = 2, distinct_id = 'moved team' WHERE person_id = 46",
    ] {
        client.batch_execute(statements).context(statements)?;
    }
    // THEN every node matches PostgreSQL
    same(site, &person_db, &daemon)
}

fn refuses_a_slot_of_prepared_transactions(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a slot made with two_phase
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    client.execute(
        "SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput', false, true)",
        &[&person_db.name()],
    )?;
    // WHEN posthouse starts THEN it refuses the slot, and continues once the script has dropped it
    let daemon = Daemon::start(site, "off")?;
    daemon.says("was created with two_phase")?;
    run_script(&person_db, site)?;
    same(site, &person_db, &daemon)
}
