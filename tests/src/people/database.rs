//! Person database of a test: the application's two tables and posthouse's requirements.

use anyhow::Context;
use postgres::Client;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use toml::{Table, Value};

use super::truth::{self, DistinctIds, People, Persons};
use crate::site::Site;
use crate::stack::{PASSWORD, Postgres, USER};

/// Bytes of a name kept unchanged. PostgreSQL truncates names above 63 bytes, and refuses them for
/// slots.
const NAME_BYTES: usize = 48;

/// Columns of `posthog_person`.
const PERSON: &str = "
    uuid uuid NOT NULL,
    team_id integer NOT NULL,
    properties jsonb NOT NULL DEFAULT '{}',
    is_identified boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    version bigint NULL,
    is_deleted boolean NOT NULL DEFAULT false,
    merged_into_id bigint NULL";

/// Returns the DDL of the application's tables.
fn tables(layout: Layout) -> String {
    let (person, reference) = match layout {
        Layout::Plain => (
            format!("CREATE TABLE posthog_person (id bigserial PRIMARY KEY, {PERSON});"),
            "FOREIGN KEY (person_id) REFERENCES posthog_person (id)",
        ),
        Layout::Partitioned => {
            let partition = |number: usize| {
                format!(
                    "CREATE TABLE posthog_person_p{number} PARTITION OF posthog_person \
                     FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number});"
                )
            };
            let partitions: String = (0..PARTITIONS).map(partition).collect();
            (
                format!(
                    "CREATE TABLE posthog_person (id bigserial, {PERSON}, PRIMARY KEY (team_id, id)) PARTITION BY HASH (team_id);
                     {partitions} CREATE INDEX ON posthog_person (id);"
                ),
                "FOREIGN KEY (team_id, person_id) REFERENCES posthog_person (team_id, id)",
            )
        }
    };
    format!(
        "{person}
         CREATE INDEX ON posthog_person (team_id, uuid);
         CREATE INDEX ON posthog_person (merged_into_id);
         CREATE TABLE posthog_persondistinctid (
            id bigserial PRIMARY KEY,
            team_id integer NOT NULL,
            distinct_id text NOT NULL,
            person_id bigint NOT NULL,
            version bigint NULL,
            is_deleted boolean NOT NULL DEFAULT false,
            CONSTRAINT posthog_persondistinctid_person_id_fkey {reference} DEFERRABLE INITIALLY DEFERRED,
            UNIQUE (team_id, distinct_id)
         );
         CREATE INDEX ON posthog_persondistinctid (person_id);"
    )
}

/// A person database. Dropping it removes the database and its slots.
#[derive(Debug)]
pub struct PersonDatabase<'s> {
    postgres: &'s Postgres,
    name: String,
    rules: Rules,
    // Holds the file with the password.
    folder: TempDir,
}

/// Columns of a deleted row in the WAL (replica identity).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The columns of an index: ClickHouse's key columns.
    Index,
    /// All columns.
    Full,
    /// The primary key. It lacks key columns, so posthouse refuses such a table.
    Default,
}

/// Effect of a deletion or merge on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The row is deleted.
    Hard,
    /// The row stays and is marked, as in the application since 2026-07.
    Soft,
}

/// Storage of persons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In one table.
    Plain,
    /// In partitions by team, as in the application since 2025-11, but fewer.
    Partitioned,
}

/// Partitions of [`Layout::Partitioned`].
const PARTITIONS: usize = 4;

/// Setup of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub layout: Layout,
    pub identity: Identity,
    pub deletion: Deletion,
    /// Encoding of the database.
    pub encoding: &'static str,
    /// Whether posthouse's role owns the tables and so may create a publication of them. It may
    /// read them in any case.
    pub owned: bool,
}

impl Rules {
    /// Returns the rules of a seed: every layout with every identity that posthouse accepts, and
    /// either kind of deletion.
    pub fn of(seed: u64) -> Self {
        let layout = if seed & 1 == 0 { Layout::Plain } else { Layout::Partitioned };
        let identity = if seed & 2 == 0 { Identity::Index } else { Identity::Full };
        let deletion = if seed & 4 == 0 { Deletion::Hard } else { Deletion::Soft };
        Self { layout, identity, deletion, ..Self::default() }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            layout: Layout::Plain,
            identity: Identity::Index,
            deletion: Deletion::Hard,
            encoding: "UTF8",
            owned: true,
        }
    }
}

impl<'s> PersonDatabase<'s> {
    /// Creates a database called `name` (shortened if too long) with empty tables.
    ///
    /// # Errors
    /// Fails if the database can't be created.
    pub fn new(postgres: &'s Postgres, name: &str) -> anyhow::Result<Self> {
        Self::with(postgres, name, Rules::default())
    }

    /// Like [`PersonDatabase::new`], with other rules.
    ///
    /// # Errors
    /// Fails if the database can't be created.
    pub fn with(postgres: &'s Postgres, name: &str, rules: Rules) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("password"), PASSWORD)?;
        let database = Self { postgres, name: short(name), rules, folder };
        postgres.admin("postgres")?.batch_execute(&format!(
            "CREATE DATABASE \"{}\" ENCODING '{}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
            database.name, rules.encoding
        ))?;
        let mut client = database.admin()?;
        client.batch_execute(&tables(rules.layout))?;
        client.batch_execute(&identities(rules))?;
        client.batch_execute(&rights(&database.name, rules.owned))?;
        Ok(database)
    }

    /// Name of the database, the slot and the publication.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }

    pub fn postgres(&self) -> &'s Postgres {
        self.postgres
    }

    /// Connects as superuser.
    ///
    /// # Errors
    /// Fails if the connection is refused.
    pub fn admin(&self) -> anyhow::Result<Client> {
        self.postgres.admin(&self.name)
    }

    /// Points a site at this database, with separate topics, group, slot and publication. Takes
    /// effect with the next run of `posthouse`.
    ///
    /// # Errors
    /// Fails if the site's topics file can't be written.
    pub fn configure(&self, site: &mut Site<'_>) -> anyhow::Result<()> {
        site.with_persons()?.set("persons", "postgres", self.source());
        Ok(())
    }

    /// Returns the config section for this database, with a separate slot and publication.
    pub fn source(&self) -> Table {
        let mut source = Table::new();
        let password_file = self.folder.path().join("password").display().to_string();
        for (key, value) in [
            ("address", self.postgres.address()),
            ("database", self.name.clone()),
            ("user", USER.to_owned()),
            ("password_file", password_file),
            ("slot", self.name.clone()),
            ("publication", self.name.clone()),
            ("state_topic", format!("{}_state", self.name)),
        ] {
            source.insert(key.to_owned(), value.into());
        }
        if self.rules.deletion == Deletion::Soft {
            for (section, keys) in
                [("person", ["is_deleted", "merged_into_id"].as_slice()), ("distinct_id", &["is_deleted"])]
            {
                let keys: Table = keys.iter().map(|key| ((*key).to_owned(), (*key).into())).collect();
                source.insert(section.to_owned(), keys.into());
            }
        }
        source
    }

    /// Sets a key of `[persons.postgres]` of a configured site.
    ///
    /// # Errors
    /// Fails if the site is not configured.
    pub fn set(&self, site: &mut Site<'_>, key: &str, value: impl Into<Value>) -> anyhow::Result<()> {
        let persons = site.config_mut().get_mut("persons").and_then(Value::as_table_mut);
        let source = persons.and_then(|persons| persons.get_mut("postgres")?.as_table_mut());
        source.context("the site is not configured")?.insert(key.to_owned(), value.into());
        Ok(())
    }

    /// Returns the expected rows: both tables in one PostgreSQL snapshot.
    ///
    /// # Errors
    /// Fails if PostgreSQL doesn't answer.
    pub fn people(&self) -> anyhow::Result<People> {
        truth::in_postgres(&mut self.admin()?)
    }

    /// Returns the persons of [`PersonDatabase::people`].
    ///
    /// # Errors
    /// Fails if PostgreSQL doesn't answer.
    pub fn persons(&self) -> anyhow::Result<Persons> {
        Ok(self.people()?.persons)
    }

    /// Returns the distinct ids of [`PersonDatabase::people`].
    ///
    /// # Errors
    /// Fails if PostgreSQL doesn't answer.
    pub fn distinct_ids(&self) -> anyhow::Result<DistinctIds> {
        Ok(self.people()?.distinct_ids)
    }

    /// Drops the database and its slots, and closes their connections. Dropping the handle does the
    /// same.
    ///
    /// # Errors
    /// Fails if PostgreSQL doesn't answer.
    pub fn remove(&self) -> anyhow::Result<()> {
        let mut client = self.postgres.admin("postgres")?;
        // A slot stays active until its reader has ended, so this waits up to 10 s.
        let ends = "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots \
            WHERE database = $1 AND active";
        client.query(ends, &[&self.name])?;
        let drops =
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1";
        client.query(drops, &[&self.name])?;
        client.batch_execute(&format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name))?;
        Ok(())
    }
}

impl Drop for PersonDatabase<'_> {
    fn drop(&mut self) {
        if !self.postgres.is_running() {
            return;
        }
        if let Err(error) = self.remove() {
            eprintln!("cannot drop database {} in PostgreSQL: {error:#}", self.name);
        }
    }
}

/// Returns the name itself, or its start and a digest.
fn short(name: &str) -> String {
    if name.len() <= NAME_BYTES {
        return name.to_owned();
    }
    let digest = Sha256::digest(name);
    let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}_{digest}", name.get(..NAME_BYTES).unwrap_or("persons"))
}

fn identities(rules: Rules) -> String {
    let persons: Vec<String> = match rules.layout {
        Layout::Plain => vec!["posthog_person".to_owned()],
        // Partitions don't inherit the parent's replica identity.
        Layout::Partitioned => (0..PARTITIONS).map(|number| format!("posthog_person_p{number}")).collect(),
    };
    let of = |(table, columns): (&str, &str)| match rules.identity {
        Identity::Index => format!(
            "CREATE UNIQUE INDEX {table}_identity ON {table} ({columns});
             ALTER TABLE {table} REPLICA IDENTITY USING INDEX {table}_identity;"
        ),
        Identity::Full => format!("ALTER TABLE {table} REPLICA IDENTITY FULL;"),
        Identity::Default => String::new(),
    };
    let persons = persons.iter().map(|table| of((table, "id, uuid, team_id")));
    persons.chain([of(("posthog_persondistinctid", "id, team_id, distinct_id"))]).collect()
}

fn rights(database: &str, owned: bool) -> String {
    if owned {
        format!(
            "GRANT CREATE ON DATABASE \"{database}\" TO {USER};
             ALTER TABLE posthog_person OWNER TO {USER};
             ALTER TABLE posthog_persondistinctid OWNER TO {USER};"
        )
    } else {
        format!("GRANT SELECT ON posthog_person, posthog_persondistinctid TO {USER}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stay_different_and_fit() {
        let long = "persons_".repeat(10);
        let (one, other) = (short(&long), short(&format!("{long}x")));
        assert!(one != other && one.len() <= 63 && one.starts_with("persons_"), "{one} {other}");
        assert_eq!(short("persons_all"), "persons_all");
    }
}
