//! A test's site on a stack: database, topic and consumer group.
//!
//! All three have the site's name, and the `posthouse` binary creates them.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tempfile::TempDir;
use toml::{Table, Value};

use crate::load::Produced;
use crate::secrets;
use crate::stack::{Broker, Stack, wait_until};

/// Partitions of a site's topic: two for each of two nodes.
const PARTITIONS: i64 = 4;
/// Partitions of each person topic. With two, versions of a person arrive through either, in any
/// order.
const PERSON_PARTITIONS: i64 = 2;
/// Limit for one run of `posthouse`. It exceeds all of posthouse's own timeouts, so that a hanging
/// run fails its test.
const RUN_LIMIT: Duration = Duration::from_secs(180);
/// Time without another row, after all messages are stored, in which late copies would come.
const SETTLED: Duration = Duration::from_secs(2);

/// A database, a topic and a group on a stack, with a `posthouse.toml` that names them.
pub struct Site<'s> {
    /// The stack that runs the servers.
    pub stack: &'s Stack,
    name: String,
    folder: TempDir,
    config: Table,
}

/// Result of a `posthouse` run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The arguments, or what was done instead of a command.
    pub command: String,
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    pub stdout: String,
    /// Its log, written to stderr.
    pub stderr: String,
}

/// Stored rows on all shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Rows in `sharded_events` of all shards.
    pub rows: u64,
    /// Distinct events among them.
    pub events: u64,
    /// Rows in `sharded_events_dead_letter` of all shards.
    pub dead_rows: u64,
    /// Distinct topic partitions and offsets among them.
    pub dead: u64,
}

impl<'s> Site<'s> {
    /// Creates a site called `name` (an identifier), with a topics file next to its config. Applies
    /// no changes yet.
    ///
    /// # Errors
    /// Fails if the files can't be written.
    pub fn new(stack: &'s Stack, name: &str) -> anyhow::Result<Self> {
        let mut config: Table = toml::from_str(&stack.posthouse_toml()?)?;
        config.insert("database".to_owned(), name.into());
        let mut site = Self { stack, name: name.to_owned(), folder: tempfile::tempdir()?, config };
        site.set("events", "topic", name);
        site.set("events", "group", name);
        site.write_topics(PARTITIONS)?;
        Ok(site)
    }

    /// Sets a key of a config section. Takes effect with the next run of `posthouse`.
    pub fn set(&mut self, section: &str, key: &str, value: impl Into<Value>) -> &mut Self {
        let table = self.config.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(table) = table {
            table.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Configures materialized columns for properties, each named `mat_` plus the property.
    pub fn materialize(&mut self, properties: &[&str]) -> &mut Self {
        let column = |property: &&str| {
            let mut column = Table::new();
            column.insert("name".to_owned(), format!("mat_{property}").into());
            column.insert("property".to_owned(), (*property).into());
            Value::Table(column)
        };
        self.set("events", "materialized", properties.iter().map(column).collect::<Vec<_>>())
    }

    /// Enables persons, with separate topics and group: `NAME_person`, `NAME_person_distinct_id`,
    /// `NAME_persons`. A node has one person index for all sites, so only tests of it want one.
    ///
    /// # Errors
    /// Fails if the topics file can't be written.
    pub fn with_persons(&mut self) -> anyhow::Result<&mut Self> {
        let (person, distinct_id) = self.person_topics();
        self.set("persons", "topic", person);
        self.set("persons", "distinct_id_topic", distinct_id);
        self.set("persons", "group", format!("{}_persons", self.name));
        self.set("persons", "index", "off");
        self.write_topics(PARTITIONS)?;
        Ok(self)
    }

    /// Returns the topics of persons and of distinct ids.
    pub fn person_topics(&self) -> (String, String) {
        (format!("{}_person", self.name), format!("{}_person_distinct_id", self.name))
    }

    /// Rewrites the topics file. The topics of persons, if enabled, always have two partitions.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub fn write_topics(&self, partitions: i64) -> anyhow::Result<()> {
        let mut text = format!(
            "[defaults]\nreplication_factor = 1\n\n[topics.{}]\npartitions = {partitions}\n",
            self.name
        );
        if self.config.contains_key("persons") {
            let (person, distinct_id) = self.person_topics();
            for topic in [person, distinct_id] {
                text += &format!("\n[topics.{topic}]\npartitions = {PERSON_PARTITIONS}\n");
            }
        }
        Ok(std::fs::write(self.folder.path().join("topics.toml"), text)?)
    }

    /// Name of the database, topic and group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Folder of the config and the topics file.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the current config for direct changes.
    pub fn config_mut(&mut self) -> &mut Table {
        &mut self.config
    }

    /// Runs `posthouse` with this site's config.
    ///
    /// # Errors
    /// Fails if the binary is missing or doesn't start.
    pub fn posthouse(&self, arguments: &[&str]) -> anyhow::Result<Outcome> {
        run(&self.write_config()?, arguments)
    }

    /// Writes the current config to its file.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub fn write_config(&self) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join("posthouse.toml");
        // Renamed into place, because another thread may start a command with it.
        let mut file = tempfile::NamedTempFile::new_in(self.folder.path())?;
        file.write_all(toml::to_string(&self.config)?.as_bytes())?;
        file.persist(&path)?;
        Ok(path)
    }

    /// Starts `posthouse` with this site's config in the background. Its output is discarded.
    ///
    /// # Errors
    /// Fails if the binary is missing or doesn't start.
    pub fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        spawn(&self.write_config()?, arguments, Stdio::null())
    }

    /// Runs `posthouse` and expects exit code 0.
    ///
    /// # Errors
    /// Fails on another exit code, with the whole output.
    pub fn must(&self, arguments: &[&str]) -> anyhow::Result<Outcome> {
        let outcome = self.posthouse(arguments)?;
        ensure!(outcome.code == 0, "posthouse {}: {outcome}", arguments.join(" "));
        Ok(outcome)
    }

    /// Applies topics and schema.
    ///
    /// # Errors
    /// Fails if one of them fails.
    pub fn apply(&self) -> anyhow::Result<()> {
        self.must(&["topics", "apply"])?;
        self.must(&["schema", "apply"])?;
        Ok(())
    }

    /// Returns the addresses of the brokers.
    pub fn brokers(&self) -> String {
        self.stack.brokers().iter().map(Broker::address).collect::<Vec<_>>().join(",")
    }

    /// Runs a query on the first node with `{db}` replaced by the database. Returns the answer
    /// without its last line break.
    ///
    /// # Errors
    /// Returns the node's error.
    pub fn query(&self, sql: &str) -> anyhow::Result<String> {
        self.query_on(0, sql)
    }

    /// Like [`Site::query`], on the node at `index`.
    ///
    /// # Errors
    /// Returns the node's error.
    pub fn query_on(&self, index: usize, sql: &str) -> anyhow::Result<String> {
        let node = self.stack.nodes().get(index).with_context(|| format!("there is no node {index}"))?;
        Ok(node.query(&sql.replace("{db}", &self.name))?.trim_end_matches('\n').to_owned())
    }

    /// Waits until a query on the first node returns `wanted`.
    ///
    /// # Errors
    /// Fails after `limit`, with the last answer.
    pub fn answers(&self, sql: &str, wanted: &str, limit: Duration) -> anyhow::Result<()> {
        wait_until(&format!("{sql} to answer {wanted}"), limit, || match self.query(sql) {
            Ok(answer) if answer == wanted => ControlFlow::Break(Ok(())),
            Ok(answer) => ControlFlow::Continue(anyhow!("{answer}")),
            Err(error) => ControlFlow::Continue(error),
        })
    }

    /// Counts the stored rows of all shards.
    ///
    /// # Errors
    /// Fails if a node doesn't answer.
    pub fn stored(&self) -> anyhow::Result<Stored> {
        // Both numbers of a table are of one scan. Of two, the later one would count rows that came
        // between them.
        let answer = self.query(
            "SELECT * FROM (SELECT count(), uniqExact(uuid) FROM {db}.events) AS events, \
             (SELECT count(), uniqExact(partition, offset) FROM {db}.events_dead_letter) AS dead",
        )?;
        let numbers: Vec<u64> = answer.split('\t').map(str::parse).collect::<Result<_, _>>()?;
        let [rows, events, dead_rows, dead] = numbers[..] else {
            return Err(anyhow!("expected four numbers, found {answer}"));
        };
        Ok(Stored { rows, events, dead_rows, dead })
    }

    /// Waits until all produced messages are stored and [`SETTLED`] has passed without another row.
    /// The wait also ends if the counts don't change for `quiet`, so that lost messages can be
    /// counted.
    ///
    /// # Errors
    /// Fails after `limit`.
    pub fn drained(&self, produced: Produced, quiet: Duration, limit: Duration) -> anyhow::Result<Stored> {
        let mut last = (Stored::default(), std::time::Instant::now());
        wait_until("all messages to be stored", limit, || match self.stored() {
            Ok(stored) => {
                if stored != last.0 {
                    last = (stored, std::time::Instant::now());
                }
                let all = stored.events >= produced.events && stored.dead >= produced.broken;
                if last.1.elapsed() > if all { SETTLED } else { quiet } {
                    return ControlFlow::Break(Ok(stored));
                }
                std::thread::sleep(Duration::from_millis(200));
                ControlFlow::Continue(anyhow!("{stored:?} of {produced:?}"))
            }
            Err(error) => ControlFlow::Continue(error),
        })
    }

    /// Searches definitions of tables, ledgers, and the files of the site for secrets.
    ///
    /// # Errors
    /// Fails if a node doesn't answer.
    pub fn search_secrets(&self) -> anyhow::Result<()> {
        for index in 0..self.stack.nodes().len() {
            let tables =
                "SELECT name, create_table_query FROM system.tables WHERE database = '{db}' FORMAT TSVRaw";
            secrets::search("the definitions of tables", &self.query_on(index, tables)?);
            for ledger in ["sharded_backfill_files", "sharded_backfill_ledger"] {
                let exists = format!("EXISTS {{db}}.{ledger}");
                if self.query_on(index, &exists)? == "1" {
                    let rows = format!("SELECT * FROM {{db}}.{ledger} FORMAT TSVRaw");
                    secrets::search(ledger, &self.query_on(index, &rows)?);
                }
            }
        }
        secrets::search_files(self.folder())
    }

    /// Removes the database from every node, consumers first.
    ///
    /// # Errors
    /// Fails if a node doesn't answer.
    pub fn remove(&self) -> anyhow::Result<()> {
        for index in 0..self.stack.nodes().len() {
            for consumer in ["kafka_events", "kafka_person", "kafka_person_distinct_id"] {
                self.query_on(index, &format!("DROP TABLE IF EXISTS {{db}}.{consumer} SYNC"))?;
            }
            self.query_on(index, "DROP DATABASE IF EXISTS {db} SYNC")?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: exit code {}\n{}{}", self.command, self.code, self.stdout, self.stderr)
    }
}

/// Runs the `posthouse` binary built next to this executable.
///
/// # Errors
/// Fails if the binary is missing, doesn't start or hangs.
pub fn run(config: &Path, arguments: &[&str]) -> anyhow::Result<Outcome> {
    run_within(config, arguments, RUN_LIMIT)
}

/// Like [`run`], but kills it after `limit`.
///
/// # Errors
/// Fails if the binary is missing, doesn't start or doesn't end in time.
pub fn run_within(config: &Path, arguments: &[&str], limit: Duration) -> anyhow::Result<Outcome> {
    let mut command = Command::new(binary("posthouse")?);
    command.arg("--config").arg(config).args(arguments);
    output_within(&mut command, limit).with_context(|| format!("posthouse {}", arguments.join(" ")))
}

/// Runs a line of a shell in the site's folder, where `posthouse` is the one built next to this
/// executable and reads the site's config.
///
/// # Errors
/// Fails if the binary is missing, or the line doesn't end in time.
pub fn shell(site: &Site<'_>, line: &str) -> anyhow::Result<Outcome> {
    site.write_config()?;
    let folder = binary("posthouse")?.parent().context("a folder of binaries")?.to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&others)))?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).current_dir(site.folder()).env("PATH", path).env_remove("POSTHOUSE_CONFIG");
    output_within(&mut command, RUN_LIMIT).with_context(|| line.to_owned())
}

/// Runs a command to its end, but kills it after `limit`.
fn output_within(command: &mut Command, limit: Duration) -> anyhow::Result<Outcome> {
    // Files instead of pipes, so that no reader is needed while it runs.
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command.spawn()?;
    let ended = wait_until("the end of a command", limit, || match child.try_wait() {
        Ok(Some(status)) => ControlFlow::Break(Ok(status)),
        Ok(None) => ControlFlow::Continue(anyhow!("it still runs")),
        Err(error) => ControlFlow::Break(Err(error.into())),
    });
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let (stdout, stderr) = (whole(&mut stdout)?, whole(&mut stderr)?);
    let said: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let origin = said.join(" ");
    secrets::search(&format!("stdout of {origin}"), &stdout);
    secrets::search(&format!("stderr of {origin}"), &stderr);
    let status = ended.with_context(|| format!("{stdout}{stderr}"))?;
    Ok(Outcome { command: origin, code: status.code().unwrap_or(-1), stdout, stderr })
}

/// Starts `posthouse` in the background. Its stdout is discarded, its log goes to `stderr`.
///
/// # Errors
/// Fails if the binary is missing or doesn't start.
pub fn spawn(config: &Path, arguments: &[&str], stderr: impl Into<Stdio>) -> anyhow::Result<Child> {
    let mut command = Command::new(binary("posthouse")?);
    command.arg("--config").arg(config).args(arguments);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn()?)
}

/// Reads a whole file from its start.
///
/// # Errors
/// Fails if the file can't be read.
pub fn whole(file: &mut File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    secrets::search("a log", &text);
    Ok(text)
}

/// Finds a binary of this workspace, built next to the running executable, which may be a test in
/// `deps`.
///
/// # Errors
/// Fails if the binary is missing.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let places = this.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| {
        format!("no {name} beside {}: build it with `cargo build --workspace`", this.display())
    })
}
