//! Rights in ClickHouse: each command works with its documented rights, and names a missing one.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use posthouse::parts::{BASE, CLICKHOUSE_RIGHTS, CommandRights};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, Rules};
use posthouse_tests::secrets;
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::{NodeOptions, Progress, Stack, StackSpec, wait_until};
use sha2::{Digest, Sha256};

tests! {
    Own each_command_works_with_its_rights_and_names_a_missing_one,
}

/// The database of the site.
const DATABASE: &str = "rights";
/// The database of another consumer of the events.
const OTHER: &str = "other_rights";
/// That consumer.
const OTHER_CONSUMER: &str = "other_rights.kafka_other";
/// The named collection with the brokers.
const BROKERS: &str = "brokers_of_rights";
/// For the persons of a user to arrive.
const LIMIT: Duration = Duration::from_secs(60);
/// The password of the users of the page.
const PASSWORD: &str = "pw-of-the-page-7f3a";
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/exports/segment-tracks.parquet");
const PAGE: &str = include_str!("../../docs/reference/permissions.md");

/// The right that a user of a row's command lacks.
#[derive(Clone, Copy)]
enum Lacks {
    /// The command fails without it.
    Right(&'static str),
    /// The command does less without it.
    Detail(&'static str),
    Nothing,
}

/// The right with the names of this test.
fn named(right: &str) -> String {
    right
        .replace("DATABASE.", &format!("{DATABASE}."))
        .replace("OTHER.", &format!("{OTHER}."))
        .replace("ON BROKERS", &format!("ON {BROKERS}"))
}

/// Users of a row's command with their grants: for each right one that lacks it, then one with
/// exactly the rights that the command needs, and one that also has those for details.
fn users(row: &CommandRights) -> Vec<(String, Lacks, Vec<String>)> {
    let details: Vec<&'static str> = row.optional.iter().map(|(right, _)| *right).collect();
    let held = |details: &[&'static str], missing: &str| -> Vec<String> {
        let all = BASE.iter().chain(row.grants).chain(details);
        all.filter(|right| **right != missing).map(|right| named(right)).collect()
    };
    let lacking = row.grants.iter().enumerate();
    let lacking = lacking
        .map(|(index, &right)| (format!("{}_{index}", row.name), Lacks::Right(right), held(&[], right)));
    // With one detail, the user with exactly the rights lacks it.
    let without = details.iter().enumerate().filter(|_| details.len() > 1).map(|(index, &right)| {
        (format!("{}_without_{index}", row.name), Lacks::Detail(right), held(&details, right))
    });
    let first = details.first().copied().map_or(Lacks::Nothing, Lacks::Detail);
    let exact = (row.name.to_owned(), first, held(&[], ""));
    let all = (format!("{}_all", row.name), Lacks::Nothing, held(&details, ""));
    lacking.chain(without).chain([exact]).chain((!details.is_empty()).then_some(all)).collect()
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
    has_other_consumer: bool,
    /// A running posthouse, for rows of persons in flight.
    daemon: Option<Daemon>,
}

/// The command of a row, run by one user.
struct Run<'a, 's> {
    site: &'a mut Site<'s>,
    persons: &'a PersonDatabase<'s>,
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

    /// Leaves the events to another consumer. It has no broker, so its group has no members.
    fn leave_to_other_consumer(&mut self) -> anyhow::Result<()> {
        if !self.prepared.has_other_consumer {
            for statement in [
                format!("CREATE DATABASE {OTHER}"),
                format!(
                    "CREATE TABLE {OTHER_CONSUMER} (uuid UUID, event String, distinct_id String) ENGINE = Kafka \
                     SETTINGS kafka_broker_list = '127.0.0.1:1', kafka_topic_list = '{{db}}', \
                     kafka_group_name = '{{db}}', kafka_format = 'JSONEachRow'"
                ),
                format!(
                    "CREATE MATERIALIZED VIEW {OTHER}.other_mv TO {{db}}.writable_events \
                     AS SELECT uuid, event, distinct_id FROM {OTHER_CONSUMER}"
                ),
            ] {
                self.site.query(&statement)?;
            }
            self.prepared.has_other_consumer = true;
        }
        for own in ["kafka_events", "events_mv", "events_dead_letter_mv"] {
            self.site.query(&format!("DROP TABLE IF EXISTS {{db}}.{own} SYNC"))?;
        }
        self.site.query(&format!("ATTACH TABLE IF NOT EXISTS {OTHER_CONSUMER}"))?;
        Ok(())
    }

    /// Takes over from another consumer, and goes back to it.
    fn adopt_and_hand_back(&mut self) -> anyhow::Result<Outcome> {
        self.leave_to_other_consumer()?;
        let adopted = self.user(&["schema", "apply", "--adopt", OTHER_CONSUMER])?;
        if adopted.code != 0 {
            return Ok(adopted);
        }
        self.site.set("events", "consumer", "none");
        let back = self.user(&["schema", "apply", "--hand-back", OTHER_CONSUMER]);
        self.site.set("events", "consumer", "own");
        let back = back?;
        if back.code == 0 {
            self.site.query(&format!("DROP DATABASE {OTHER} SYNC"))?;
            self.prepared.has_other_consumer = false;
            self.admin(&["schema", "apply"])?;
        }
        Ok(back)
    }

    /// Applies consumers that take their brokers from a named collection. After success, the others
    /// are restored.
    fn apply_collection(&mut self) -> anyhow::Result<Outcome> {
        const APPLY: [&str; 8] = [
            "schema",
            "apply",
            "--yes-drop",
            "kafka_events",
            "--yes-drop",
            "kafka_person",
            "--yes-drop",
            "kafka_person_distinct_id",
        ];
        let brokers = self.site.brokers();
        self.site.query(&format!(
            "CREATE NAMED COLLECTION IF NOT EXISTS {BROKERS} AS kafka_broker_list = '{brokers}'"
        ))?;
        self.site.set("kafka", "named_collection", BROKERS);
        let applied = self.user(&APPLY);
        let kafka = self.site.config_mut().get_mut("kafka").and_then(toml::Value::as_table_mut);
        kafka.context("[kafka]")?.remove("named_collection");
        let applied = applied?;
        if applied.code == 0 {
            self.admin(&APPLY)?;
        }
        Ok(applied)
    }

    /// Runs posthouse until the user's person and the person index are on the node, or a right is
    /// denied. It goes on in the first case.
    fn run(&mut self) -> anyhow::Result<Outcome> {
        self.install()?;
        self.persons.admin()?.batch_execute(&format!(
            "WITH person AS (INSERT INTO posthog_person (uuid, team_id) VALUES (gen_random_uuid(), 1) RETURNING id) \
             INSERT INTO posthog_persondistinctid (person_id, distinct_id, team_id) SELECT id, '{}', 1 FROM person",
            self.user
        ))?;
        self.site.set("clickhouse", "user", self.user).set("persons", "index", "keep");
        let daemon = Daemon::start(self.site, "off")?;
        self.site.set("persons", "index", "off");
        let arrived =
            format!("SELECT count() FROM {{db}}.person_distinct_id2 WHERE distinct_id = '{}'", self.user);
        let mut code = 0;
        wait_until("persons and their index, or a denied right", LIMIT, || {
            let looked = || -> anyhow::Result<_> {
                let index = daemon.metric("posthouse_person_index_fresh_timestamp_seconds{node=\"ch1\"}")?;
                Ok((daemon.log()?, self.site.query(&arrived)? != "0" && index.is_some_and(|at| at > 0)))
            };
            let (log, is_there) = match looked() {
                Ok(looked) => looked,
                Err(error) => return ControlFlow::Break(Err(error)),
            };
            code = i32::from(log.contains("GRANT "));
            match is_there || code == 1 {
                true => ControlFlow::Break(Ok(())),
                false => ControlFlow::Continue(anyhow!("{log}")),
            }
        })?;
        let stderr = daemon.log()?;
        match code {
            0 => self.prepared.daemon = Some(daemon),
            _ => _ = daemon.end()?,
        }
        Ok(Outcome { command: "run".to_owned(), code, stdout: String::new(), stderr })
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
            "schema_apply_distributed" => {
                self.site.query("DROP TABLE IF EXISTS {db}.writable_events SYNC")?;
                self.site.query(
                    "CREATE TABLE {db}.writable_events (uuid UUID) \
                     ENGINE = Distributed('posthog', '{db}', 'sharded_events', rand())",
                )?;
                self.user(&["schema", "apply", "--yes-drop", "writable_events"])
            }
            "schema_apply_collection" => self.apply_collection(),
            "schema_adopt" => self.adopt_and_hand_back(),
            "schema_materialize" => {
                self.add_column_to_old_parts()?;
                self.user(&["schema", "materialize", &format!("mat_{}", self.prepared.column)])
            }
            "topics_plan" => {
                for command in [["topics", "import"], ["topics", "apply"], ["schema", "unused-fields"]] {
                    let outcome = self.user(&command)?;
                    ensure!(matches!(outcome.code, 0 | 3), "{command:?}: {outcome}");
                }
                self.user(&["topics", "plan"])
            }
            "topics_groups" => self.user(&["topics", "groups"]),
            "topics_check" => self.user(&["topics", "check"]),
            "topics_reset_plan" => self.user(&["topics", "reset", DATABASE, "--to", "latest"]),
            "topics_reset" => self.user(&["topics", "reset", DATABASE, "--to", "latest", "--execute"]),
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
            "udf_check" => {
                self.install()?;
                self.user(&["udf", "check"])
            }
            "backfill_plan" => self.backfill("plan", &[]),
            "backfill_run" => self.backfill("run", &["--route", "direct"]),
            "backfill_run_distributed" => self.backfill("run", &["--route", "distributed"]),
            "backfill_status" => {
                let job = self.load()?;
                self.user(&["backfill", "status", &job])
            }
            "backfill_cancel" => {
                // A job that has begun, and has stored no row.
                let job = format!("job{}", next());
                self.site.query(&format!(
                    "INSERT INTO {{db}}.sharded_backfill_files (job, file, location, weights, rows, bytes) \
                     VALUES ('{job}', '{job}', '{job}', [1], 10, 10)"
                ))?;
                self.user(&["backfill", "cancel", &job])
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
            "persons_check" => self.user(&["persons", "check"]),
            "persons_snapshot_build" => self.user(&["persons", "snapshot", "build"]),
            "persons_snapshot_verify" => self.user(&["persons", "snapshot", "verify"]),
            "persons_run" => self.run(),
            "persons_audit" => {
                // The repair republishes the missing rows, and waits for them.
                self.site.query("TRUNCATE TABLE {db}.person")?;
                let audited = self.user(&["persons", "audit", "--repair"])?;
                if let Some(daemon) = self.prepared.daemon.take_if(|_| self.user == row) {
                    daemon.end()?;
                }
                Ok(audited)
            }
            "persons_squash" => self.user(&["persons", "squash"]),
            "persons_squash_all" => self.user(&["persons", "squash", "--all-distinct-ids"]),
            "persons_squash_apply" => {
                self.override_person()?;
                self.user(&["persons", "squash", "--apply"])
            }
            row => anyhow::bail!("no command for the rights of {row}"),
        }
    }
}

/// Each privilege with its object, of rights such as `SELECT, INSERT ON a.b, READ ON c`.
fn privileges(rights: &str) -> Vec<(&str, &str)> {
    let (mut all, mut open) = (Vec::new(), Vec::new());
    for part in rights.split(", ") {
        let (privilege, object) = part.split_once(" ON ").unwrap_or((part, ""));
        open.push(privilege);
        if !object.is_empty() {
            all.extend(open.drain(..).map(|privilege| (privilege, object)));
        }
    }
    all
}

/// Whether a privilege on an object includes another one. The server names a group such as ALTER
/// TABLE as one of its members.
fn includes(whole: (&str, &str), part: (&str, &str)) -> bool {
    let is_same = whole.0 == part.0 || (whole.0 == "ALTER TABLE" && part.0.starts_with("ALTER "));
    let is_within = match whole.1.strip_suffix('*') {
        Some(prefix) => part.1.starts_with(prefix),
        None => part.1 == whole.1,
    };
    is_same && is_within
}

/// Fails unless a text has a statement that the server parses and that gives the right, or a part
/// of it.
fn names(site: &Site<'_>, text: &str, right: &str) -> anyhow::Result<()> {
    let right = named(right);
    let wholes = privileges(&right);
    let gives = |part: (&str, &str)| wholes.iter().any(|whole| includes(*whole, part));
    let mut statements = text.split("GRANT ").skip(1).filter_map(|rest| Some(rest.split_once(" TO ")?.0));
    let statement = statements.find(|statement| privileges(statement).into_iter().any(gives));
    let statement = statement.with_context(|| format!("no statement gives {right}: {text}"))?;
    site.query(&format!("SELECT formatQuery('GRANT {statement} TO posthouse')")).map(drop)
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
    let stack = Stack::start(StackSpec::sharded(&[1]).nodes(nodes).postgres(), &Progress::Lines)?;
    let mut site = Site::new(&stack, DATABASE)?;
    let persons = PersonDatabase::with(stack.postgres()?, DATABASE, Rules::default())?;
    persons.configure(&mut site)?;
    site.set("events", "profile", "posthog");
    site.apply()?;
    // A server has this table, and the engine lacks it. This one has no offsets.
    site.query(
        "CREATE TABLE IF NOT EXISTS system.zookeeper (path String, name String, value String) ENGINE = Memory",
    )?;
    eprintln!("NOT RUN: the rights of replicated tables and of system.part_log, which this engine lacks");
    let mut prepared = Prepared::default();
    let mut rows: Vec<&CommandRights> = CLICKHOUSE_RIGHTS.iter().collect();
    // Last, because an undo that failed blocks loads of its file until the last user ends it.
    rows.sort_by_key(|row| row.name == "backfill_undo");
    for row in rows {
        let begin = Instant::now();
        for grant in row.grants.iter().chain(row.optional.iter().map(|(right, _)| right)) {
            ensure!(PAGE.contains(grant), "the page lacks {grant}");
        }
        for (user, lacks, _) in users(row) {
            // WHEN the row's command runs
            let outcome = Run { site: &mut site, persons: &persons, user: &user, prepared: &mut prepared }
                .command(row.name)?;
            let text = outcome.to_string();
            match lacks {
                // THEN a missing right is an error with the statement that grants it
                Lacks::Right(right) => {
                    ensure!(outcome.code == 1, "{user} lacks {right}, and works: {outcome}");
                    names(&site, &text, right).with_context(|| user.clone())?;
                }
                // and without a right for details the command works, and names it
                Lacks::Detail(right) => {
                    ensure!(matches!(outcome.code, 0 | 3), "{user}: {outcome}");
                    names(&site, &text, right).with_context(|| user.clone())?;
                }
                // and with all rights it works, and asks for none
                Lacks::Nothing => {
                    ensure!(matches!(outcome.code, 0 | 3), "{user}: {outcome}");
                    // An import that sees no table ends with 0 as well.
                    let is_blind = outcome.stdout.contains("no Kafka table names any");
                    ensure!(!is_blind, "{user} sees no table: {outcome}");
                    let is_asked = text.contains("GRANT ") && !row.optional.is_empty();
                    ensure!(!is_asked, "{user} has all rights: {outcome}");
                }
            }
        }
        eprintln!("secure_rights: {}: {:.1} s", row.name, begin.elapsed().as_secs_f64());
    }
    the_users_of_the_page_have_their_rights(&mut site)
}
