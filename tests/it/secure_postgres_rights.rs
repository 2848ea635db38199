//! Rights of posthouse's role in PostgreSQL.
//!
//! With exactly these it works, and each that is missing is named.

use anyhow::ensure;
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, Rules};
use posthouse_tests::site::Site;
use posthouse_tests::stack::PASSWORD;

use crate::persons_dba::PEOPLE;
use crate::persons_source::{person_database, same};

tests! {
    Shared works_with_the_least_rights_and_names_each_that_is_missing,
}

/// A right: how it is taken away, and the statement by which posthouse asks for it.
struct Right {
    taken: String,
    asked: String,
}

fn works_with_the_least_rights_and_names_each_that_is_missing(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a role with the rights of docs/reference/permissions.md and no other, not even those of
    // everybody
    let person_db = person_database(site, Rules { owned: false, ..Rules::default() })?;
    let (database, mut client) = (person_db.name().to_owned(), person_db.admin()?);
    client.batch_execute(PEOPLE)?;
    let role = format!("{database}_least");
    let password = PASSWORD.replace('\'', "''");
    client.batch_execute(&format!(
        "REVOKE ALL ON DATABASE \"{database}\" FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;
         CREATE ROLE \"{role}\" LOGIN REPLICATION PASSWORD '{password}';
         GRANT CONNECT ON DATABASE \"{database}\" TO \"{role}\"; GRANT USAGE ON SCHEMA public TO \"{role}\";
         GRANT SELECT ON posthog_person, posthog_persondistinctid TO \"{role}\";
         CREATE PUBLICATION \"{database}\" FOR TABLE posthog_person, posthog_persondistinctid
             WITH (publish_via_partition_root = true)"
    ))?;
    person_db.set(site, "user", role.as_str())?;
    // WHEN posthouse copies, follows and audits THEN it can
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    client.batch_execute("UPDATE posthog_person SET is_identified = true WHERE id < 50")?;
    same(site, &person_db, &daemon)?;
    ensure!(daemon.end()? == 0, "another exit code");
    // WHEN one of them is missing THEN it is named, and the statement gives it back
    let right = |taken: String, asked: String| Right { taken, asked };
    for right in [
        right(format!("ALTER ROLE \"{role}\" NOLOGIN"), format!("ALTER ROLE \"{role}\" LOGIN;")),
        right(
            format!("REVOKE CONNECT ON DATABASE \"{database}\" FROM \"{role}\""),
            format!("GRANT CONNECT ON DATABASE \"{database}\" TO \"{role}\";"),
        ),
        right(format!("ALTER ROLE \"{role}\" NOREPLICATION"), format!("ALTER ROLE \"{role}\" REPLICATION;")),
        right(
            format!("REVOKE USAGE ON SCHEMA public FROM \"{role}\""),
            format!("GRANT USAGE ON SCHEMA \"public\" TO \"{role}\";"),
        ),
        right(
            format!("REVOKE SELECT ON posthog_person FROM \"{role}\""),
            format!("GRANT SELECT ON \"public\".\"posthog_person\" TO \"{role}\";"),
        ),
        right(
            format!("REVOKE SELECT ON posthog_persondistinctid FROM \"{role}\""),
            format!("GRANT SELECT ON \"public\".\"posthog_persondistinctid\" TO \"{role}\";"),
        ),
        right(
            "ALTER TABLE posthog_person ENABLE ROW LEVEL SECURITY".to_owned(),
            format!("ALTER ROLE \"{role}\" BYPASSRLS;"),
        ),
    ] {
        is_named(site, &person_db, &right)?;
    }
    Ok(())
}

fn is_named(site: &Site<'_>, person_db: &PersonDatabase<'_>, right: &Right) -> anyhow::Result<()> {
    let Right { taken, asked } = right;
    person_db.admin()?.batch_execute(taken)?;
    let without = site.posthouse(&["persons", "check"])?;
    ensure!(without.code != 0, "{taken}: {without}");
    let said = format!("{}{}", without.stdout, without.stderr);
    ensure!(said.contains(asked.as_str()), "{taken}, without {asked}: {without}");
    person_db.admin()?.batch_execute(asked)?;
    let with = site.posthouse(&["persons", "check"])?;
    ensure!(with.code == 0, "{asked}: {with}");
    Ok(())
}
