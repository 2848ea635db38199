//! Rights in ClickHouse: each command works with its documented rights, and names a missing one.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthouse::parts::{BASE, CLICKHOUSE_RIGHTS, CommandRights};
use posthouse_tests::secrets;
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::{NodeOptions, Progress, Stack, StackSpec};
use sha2::{Digest, Sha256};

tests! {
    Own each_command_works_with_its_rights_and_names_a_missing_one,
}

/// The database of the site.
const DATABASE: &str = "rights";
/// The password of the users of the page.
const PASSWORD: &str = "pw-of-the-page-7f3a";
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/exports/segment-tracks.parquet");
const PAGE: &str = include_str!("../../docs/reference/permissions.md");

/// A user for each right of a row, which it lacks, and then one with all rights.
fn users(row: &CommandRights) -> Vec<(String, Option<&'static str>, Vec<String>)> {
    let grant = |grant: &&str| grant.replace("DATABASE.", &format!("{DATABASE}."));
    let base = || BASE.iter().map(grant);
    let all = base().chain(row.grants.iter().map(grant)).collect();
    let lacking = row.grants.iter().enumerate().map(|(index, missing)| {
        let others = row.grants.iter().filter(|other| *other != missing).map(grant);
        (format!("{}_{index}", row.name), Some(*missing), base().chain(others).collect())
    });
    lacking.chain([(row.name.to_owned(), None, all)]).collect()
}

fn users_xml() -> String {
    let mut xml = String::new();
    for (name, _, grants) in CLICKHOUSE_RIGHTS.iter().flat_map(users) {
        let _ = write!(
            xml,
            "<{name}><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
             <quota>default</quota><grants>"
        );
        for grant in grants {
            let _ = write!(xml, "<query>GRANT {grant}</query>");
        }
        let _ = write!(xml, "</grants></{name}>");
    }
    xml
}

/// Objects that commands need, made once by a user with all rights. A command that is refused
/// leaves them as they are.
#[derive(Default)]
struct Prepared {
    /// A complete load.
    job: String,
    /// A column that old parts lack.
    column: String,
    has_functions: bool,
}

/// The command of a row, run by one user.
struct Run<'a, 's> {
    site: &'a mut Site<'s>,
    user: &'a str,
    prepared: &'a mut Prepared,
}

/// A number that no earlier run had.
fn next() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(100);
    LAST.fetch_add(1, Ordering::Relaxed)
}

impl Run<'_, '_> {
    fn admin(&mut self, arguments: &[&str]) -> anyhow::Result<Outcome> {
        self.site.set("clickhouse", "user", "default");
        let outcome = self.site.posthouse(arguments)?;
        ensure!(matches!(outcome.code, 0 | 3), "{arguments:?}: {outcome}");
        Ok(outcome)
    }

    fn user(&mut self, arguments: &[&str]) -> anyhow::Result<Outcome> {
        self.site.set("clickhouse", "user", self.user);
        self.site.posthouse(arguments)
    }

    /// Applies with the confirmations that the first run asks for.
    fn apply(&mut self) -> anyhow::Result<Outcome> {
        let first = self.user(&["schema", "apply"])?;
        let asked = first.stderr.split_once("To confirm them: posthouse ").map(|(_, asked)| asked.to_owned());
        let Some(asked) = asked else { return Ok(first) };
        self.user(&asked.split_whitespace().collect::<Vec<_>>())
    }

    /// Loads a file, unless that is done.
    fn load(&mut self) -> anyhow::Result<String> {
        if !self.prepared.job.is_empty() {
            return Ok(self.prepared.job.clone());
        }
        let team = next().to_string();
        let loaded = self.admin(&[
            "backfill",
            "run",
            FILE,
            "--mapping",
            "segment-tracks",
            "--team-id",
            &team,
            "--allow-reload",
            "--json",
        ])?;
        let loaded: serde_json::Value = serde_json::from_str(&loaded.stdout)?;
        self.prepared.job = loaded["job"].as_str().map(str::to_owned).with_context(|| loaded.to_string())?;
        Ok(self.prepared.job.clone())
    }

    /// Adds a column that the parts of the load lack, unless that is done.
    fn add_column_to_old_parts(&mut self) -> anyhow::Result<()> {
        if self.prepared.column.is_empty() {
            self.load()?;
            self.prepared.column = self.add_column();
            let user = std::mem::replace(&mut self.user, "default");
            let applied = self.apply()?;
            self.user = user;
            ensure!(applied.code == 0, "{applied}");
        }
        Ok(())
    }

    /// Installs the functions, unless that is done.
    fn install(&mut self) -> anyhow::Result<()> {
        if !self.prepared.has_functions {
            self.admin(&["udf", "install"])?;
            self.prepared.has_functions = true;
        }
        Ok(())
    }

    fn backfill(&mut self, verb: &str, more: &[&str]) -> anyhow::Result<Outcome> {
        let team = next().to_string();
        let load =
            ["backfill", verb, FILE, "--mapping", "segment-tracks", "--team-id", &team, "--allow-reload"];
        self.user(&[&load, more].concat())
    }

    /// Events whose person has changed.
    fn override_person(&mut self) -> anyhow::Result<()> {
        let id = next();
        self.site.query(&format!(
            "INSERT INTO {{db}}.person_distinct_id_overrides \
             (team_id, distinct_id, person_id, is_deleted, version, _timestamp) \
             SELECT 1, 'd{id}', generateUUIDv4(), 0, 5, now() - 200000"
        ))?;
        self.site.query(&format!(
            "INSERT INTO {{db}}.sharded_events (uuid, team_id, distinct_id, event, timestamp) \
             SELECT generateUUIDv4(), 1, 'd{id}', 'e', now() - 400000"
        ))?;
        Ok(())
    }

    /// The config gains a materialized column.
    fn add_column(&mut self) -> String {
        let name = format!("p{}", next());
        self.site.materialize(&[&name]);
        name
    }

    fn command(&mut self, row: &str) -> anyhow::Result<Outcome> {
        let url = self.site.stack.nodes()[0].http_url();
        let user = self.user;
        match row {
            "schema_plan" => self.user(&["schema", "plan"]),
            "schema_import" => {
                self.user(&["schema", "import", "--url", &url, "--user", user, "--database", DATABASE])
            }
            "schema_apply" => {
                // The last user has all rights, and leaves the schema complete.
                self.site.remove()?;
                *self.prepared = Prepared::default();
                let created = self.apply()?;
                if created.code != 0 {
                    return Ok(created);
                }
                self.add_column();
                self.apply()
            }
            "schema_materialize" => {
                self.add_column_to_old_parts()?;
                self.user(&["schema", "materialize", &format!("mat_{}", self.prepared.column)])
            }
            "udf_install" => self.user(&["udf", "install"]),
            "udf_list" => {
                self.install()?;
                self.user(&["udf", "list"])
            }
            "udf_uninstall" => {
                self.install()?;
                let removed = self.user(&["udf", "uninstall"])?;
                self.prepared.has_functions = removed.code != 0;
                Ok(removed)
            }
            "backfill_plan" => self.backfill("plan", &[]),
            "backfill_run" => self.backfill("run", &["--route", "direct"]),
            "backfill_run_distributed" => self.backfill("run", &["--route", "distributed"]),
            "backfill_status" => {
                let job = self.load()?;
                self.user(&["backfill", "status", &job])
            }
            "backfill_verify" => {
                let job = self.load()?;
                self.user(&["backfill", "verify", &job])
            }
            "backfill_undo_plan" => {
                let job = self.load()?;
                self.user(&["backfill", "undo", &job])
            }
            "backfill_undo" => {
                let job = self.load()?;
                let undo = ["backfill", "undo", &job, "--execute"];
                // Users that lack a right don't wait for loads that may still send blocks.
                match self.user == row {
                    true => self.user(&undo),
                    false => self.user(&[&undo[..], &["--recheck-after", "300ms"]].concat()),
                }
            }
            "persons_squash" => self.user(&["persons", "squash"]),
            "persons_squash_apply" => {
                self.override_person()?;
                self.user(&["persons", "squash", "--apply"])
            }
            row => anyhow::bail!("no command for the rights of {row}"),
        }
    }
}

/// The inside of an element of the page's example, for this stack.
fn example(tag: &str) -> anyhow::Result<String> {
    let (_, rest) = PAGE.split_once(&format!("    <{tag}>\n")).context("an element")?;
    let (inside, _) = rest.split_once(&format!("\n    </{tag}>")).context("an element")?;
    let hash: String = Sha256::digest(PASSWORD).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(inside
        .replace(&"0".repeat(64), &hash)
        .replace("10.0.0.0/8", "127.0.0.1")
        .replace("posthog.", &format!("{DATABASE}."))
        .replace("<posthog>", &format!("<{DATABASE}>"))
        .replace("</posthog>", &format!("</{DATABASE}>")))
}

/// Runs a statement as a user of the example.
fn query_as(site: &Site<'_>, user: &str, sql: &str) -> anyhow::Result<String> {
    let address = site.stack.nodes()[0].http_url().replace("http://", "");
    let mut stream = TcpStream::connect(&address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "POST / HTTP/1.0\r\nX-ClickHouse-User: {user}\r\nX-ClickHouse-Key: {PASSWORD}\r\n\
         Content-Length: {}\r\n\r\n{sql}",
        sql.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    Ok(body.trim_end().to_owned())
}

fn the_users_of_the_page_have_their_rights(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events and persons of two teams
    site.set("clickhouse", "user", "default");
    for team in [1, 2] {
        let columns = "(uuid, team_id, distinct_id, event, timestamp)";
        site.query(&format!(
            "INSERT INTO {{db}}.sharded_events {columns} SELECT generateUUIDv4(), {team}, 'a', 'e', now()"
        ))?;
        site.query(&format!("INSERT INTO {{db}}.person (team_id, id) SELECT {team}, generateUUIDv4()"))?;
    }
    // WHEN an analyst asks THEN it sees its team alone, and changes no row
    for table in ["events", "sharded_events", "person"] {
        let teams = format!("SELECT DISTINCT team_id FROM {DATABASE}.{table}");
        let seen = query_as(site, "analyst_of_team_1", &teams)?;
        ensure!(seen == "1", "{table}: {seen}");
        let all = site.query(&format!("SELECT uniqExact(team_id) > 1 FROM {{db}}.{table}"))?;
        ensure!(all == "1", "other users of {table} see no row");
    }
    for sql in [
        format!("SELECT count() FROM {DATABASE}.backfill_ledger"),
        format!("INSERT INTO {DATABASE}.person (team_id) VALUES (1)"),
        "SELECT 1 SETTINGS max_memory_usage = 1000000000000".to_owned(),
        "SELECT 1 SETTINGS max_execution_time = 1000".to_owned(),
        "SELECT 1 SETTINGS readonly = 0".to_owned(),
    ] {
        let refused = query_as(site, "analyst_of_team_1", &sql)?;
        ensure!(refused.starts_with("Code: "), "{sql}: {refused}");
    }
    // and an ingestion inserts, and reads no row
    let insert = format!(
        "INSERT INTO {DATABASE}.writable_events (uuid, team_id, distinct_id, event, timestamp) \
         VALUES (generateUUIDv4(), 1, 'b', 'e', now())"
    );
    let inserted = query_as(site, "ingestion", &insert)?;
    ensure!(inserted.is_empty(), "{inserted}");
    let refused = query_as(site, "ingestion", &format!("SELECT count() FROM {DATABASE}.events"))?;
    ensure!(refused.starts_with("Code: 497"), "{refused}");
    // and the sidecar's user does the work of posthouse
    std::fs::write(site.folder().join("password"), PASSWORD)?;
    site.set("clickhouse", "user", "posthouse").set("clickhouse", "password_file", "password");
    for arguments in [
        &["schema", "plan"][..],
        &["schema", "apply"],
        &["topics", "check"],
        &["udf", "install"],
        &["udf", "check"],
        &["backfill", "run", FILE, "--mapping", "segment-tracks", "--team-id", "9", "--allow-reload"],
        &["persons", "squash", "--apply"],
        &["udf", "uninstall"],
    ] {
        let outcome = site.posthouse(arguments)?;
        ensure!(matches!(outcome.code, 0 | 3), "{arguments:?}: {outcome}");
    }
    // The SQL of the page is parsed.
    let (_, rest) = PAGE.split_once("```sql\nCREATE SETTINGS PROFILE").context("the SQL of users")?;
    let (sql, _) = rest.split_once("```").context("its end")?;
    for statement in format!("CREATE SETTINGS PROFILE{sql}").split_terminator(";\n") {
        let literal = statement.replace('\\', "\\\\").replace('\'', "\\'");
        site.query(&format!("SELECT formatQuery('{literal}')")).with_context(|| statement.to_owned())?;
    }
    Ok(())
}

fn each_command_works_with_its_rights_and_names_a_missing_one() -> anyhow::Result<()> {
    // GIVEN a user with exactly the rights of each row of the page, and users that lack one of them
    secrets::register(PASSWORD);
    let nodes = NodeOptions::default().users_xml(&users_xml()).users_xml(&example("users")?);
    let nodes = nodes.profiles_xml(example("profiles")?);
    let stack = Stack::start(StackSpec::sharded(&[1]).nodes(nodes), &Progress::Lines)?;
    let mut site = Site::new(&stack, DATABASE)?;
    site.with_persons()?;
    site.set("events", "profile", "posthog");
    site.apply()?;
    let mut prepared = Prepared::default();
    let mut rows: Vec<&CommandRights> = CLICKHOUSE_RIGHTS.iter().collect();
    // Last, because an undo that failed blocks loads of its file until the last user ends it.
    rows.sort_by_key(|row| row.name == "backfill_undo");
    for row in rows {
        let begin = Instant::now();
        for grant in row.grants {
            ensure!(PAGE.contains(grant), "the page lacks {grant}");
        }
        for (user, missing, _) in users(row) {
            // WHEN the row's command runs
            let outcome = Run { site: &mut site, user: &user, prepared: &mut prepared }.command(row.name)?;
            match missing {
                // THEN it works with all rights
                None => {
                    ensure!(matches!(outcome.code, 0 | 3), "{user}: {outcome}");
                    // An import that sees no table ends with 0 as well.
                    let is_blind = outcome.stdout.contains("no Kafka table names any");
                    ensure!(!is_blind, "{user} sees no table: {outcome}");
                }
                // and a missing right is an error with the statement that grants it
                Some(missing) => {
                    // A right of a group, such as ALTER TABLE, is named as one of its members.
                    let privileges = missing.split(" ON ").next().unwrap_or_default().split(", ");
                    let mut words = privileges.filter_map(|privilege| privilege.split(' ').next());
                    ensure!(outcome.code == 1, "{user} lacks {missing}, and works: {outcome}");
                    ensure!(outcome.stderr.contains("GRANT "), "{user} lacks {missing}: {outcome}");
                    let is_named = words.any(|word| outcome.stderr.contains(&format!("GRANT {word}")));
                    ensure!(is_named, "{user} lacks {missing}: {outcome}");
                }
            }
        }
        eprintln!("secure_rights: {}: {:.1} s", row.name, begin.elapsed().as_secs_f64());
    }
    the_users_of_the_page_have_their_rights(&mut site)
}
