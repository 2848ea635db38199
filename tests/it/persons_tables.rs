//! Invalid or changed tables of the person source: errors, and recovery.

use anyhow::{Context, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{Identity, Rules};
use posthouse_tests::site::Site;

use crate::persons_source::{LIMIT, person_database, same};

tests! {
    Shared a_table_whose_deletions_tell_too_little_is_refused_with_what_mends_it,
    Shared columns_may_come_and_those_that_go_stop_the_copy_until_they_are_back,
    Shared versions_come_from_the_application_where_the_config_says_so,
}

const PEOPLE: &str = "INSERT INTO posthog_person (id, uuid, team_id, version)
        SELECT n, gen_random_uuid(), 1, 0 FROM generate_series(1, 10) AS n;
    INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id, version)
        SELECT 1, 'id ' || n, n, 0 FROM generate_series(1, 10) AS n;";

fn a_table_whose_deletions_tell_too_little_is_refused_with_what_mends_it(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN tables whose deletions have the primary key only
    let person_db = person_database(site, Rules { identity: Identity::Default, ..Rules::default() })?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    // WHEN posthouse starts
    let daemon = Daemon::start(site, "off")?;
    // THEN it logs the statements to run for both tables
    let log =
        daemon.says("ALTER TABLE \"public\".\"posthog_persondistinctid\" REPLICA IDENTITY USING INDEX")?;
    // An event of the log is one line.
    let log = log.replace("\\n", "\n");
    let statements: Vec<&str> = log.lines().map(str::trim).filter(|line| line.ends_with(';')).collect();
    ensure!(statements.len() >= 4, "{log}");
    // WHEN they are run one by one
    for statement in &statements[..4] {
        client.batch_execute(statement).with_context(|| (*statement).to_owned())?;
    }
    // THEN it continues without a restart, and deletions arrive
    same(site, &person_db, &daemon)?;
    client.batch_execute(
        "DELETE FROM posthog_persondistinctid WHERE id < 4; DELETE FROM posthog_person WHERE id < 4",
    )?;
    same(site, &person_db, &daemon)
}

fn columns_may_come_and_those_that_go_stop_the_copy_until_they_are_back(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a streaming posthouse
    let person_db = person_database(site, Rules::default())?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    // WHEN a column is added THEN it is ignored
    client.batch_execute(
        "ALTER TABLE posthog_person ADD COLUMN extra text DEFAULT 'x';
         UPDATE posthog_person SET extra = 'y', properties = '{\"extra\": 1}'",
    )?;
    same(site, &person_db, &daemon)?;
    // WHEN a column is renamed THEN it is named with its table
    client.batch_execute(
        "ALTER TABLE posthog_person RENAME COLUMN is_identified TO known; UPDATE posthog_person SET known = true",
    )?;
    daemon.says("table public.posthog_person has no column is_identified")?;
    // WHEN the name is restored THEN posthouse continues without a restart, although earlier
    // changes lack the column
    client.batch_execute("ALTER TABLE posthog_person RENAME COLUMN known TO is_identified")?;
    client.batch_execute("UPDATE posthog_person SET properties = '{\"back\": 1}' WHERE id = 1")?;
    same(site, &person_db, &daemon)?;
    // WHEN a column gets an unsupported type THEN column, table and the right type are named
    client.batch_execute(
        "ALTER TABLE posthog_person ALTER COLUMN is_identified DROP DEFAULT,
            ALTER COLUMN is_identified TYPE integer USING is_identified::integer;
         UPDATE posthog_person SET is_identified = 1 - is_identified",
    )?;
    daemon.says("column is_identified of table public.posthog_person has an unsupported type")?;
    // WHEN its type is boolean as before THEN posthouse continues without a restart
    client.batch_execute(
        "ALTER TABLE posthog_person ALTER COLUMN is_identified TYPE boolean USING is_identified = 1;
         UPDATE posthog_person SET properties = '{\"back\": 2}'",
    )?;
    same(site, &person_db, &daemon)
}

fn versions_come_from_the_application_where_the_config_says_so(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a config with versions from the column, and tables whose deletions lack it
    let person_db = person_database(site, Rules::default())?;
    person_db.set(site, "version", "column")?;
    let mut client = person_db.admin()?;
    client.batch_execute(PEOPLE)?;
    let daemon = Daemon::start(site, "off")?;
    // THEN they are refused
    daemon.says("table public.posthog_person: deletions do not have version")?;
    // WHEN deletions have it THEN all rows are copied and followed
    client.batch_execute(
        "ALTER TABLE posthog_person REPLICA IDENTITY FULL; ALTER TABLE posthog_persondistinctid REPLICA IDENTITY FULL;",
    )?;
    same(site, &person_db, &daemon)?;
    client.batch_execute(
        "UPDATE posthog_person SET is_identified = true, version = 41 WHERE id = 1;
         UPDATE posthog_persondistinctid SET person_id = 1, version = 7 WHERE id = 2;
         DELETE FROM posthog_persondistinctid WHERE id = 3;
         DELETE FROM posthog_person WHERE id = 3;",
    )?;
    same(site, &person_db, &daemon)?;
    // THEN versions are the application's, and a deletion counts as the next one
    let latest = "SELECT groupArray((v, d)) FROM (SELECT max(version) AS v, argMax(is_deleted, version) AS d \
        FROM {db}.person GROUP BY id HAVING v > 0 OR d = 1 ORDER BY v)";
    site.answers(latest, "[(1,1),(41,0)]", LIMIT)?;
    let latest = "SELECT max(version), argMax(is_deleted, version) FROM {db}.person_distinct_id WHERE distinct_id = 'id 2'";
    site.answers(latest, "7\t0", LIMIT)
}
