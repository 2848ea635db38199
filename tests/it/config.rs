//! `posthouse.toml`: errors in the file, unreachable nodes and brokers, passwords.
//!
//! All errors of a file are reported at once. A run against silent servers fails within its
//! timeouts.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::site::{Outcome, Site, binary, run_within};
use serde_json::Value;
use tempfile::TempDir;

tests! {
    Free every_fault_of_a_file_is_reported_at_once,
    Free a_password_in_a_url_is_refused_and_not_repeated,
    Free shows_no_secret_in_quoted_lines_or_logs,
    Free logs_one_json_object_per_line,
    Free prints_completions_and_manual_pages_without_a_config,
    Free a_missing_file_is_wrong_config,
    Free wrong_usage_is_told_from_failed_work,
    Free unreachable_nodes_are_all_named,
    Free an_unreachable_broker_is_named,
    Shared a_password_comes_from_a_file_and_is_never_shown,
}

/// A user with a password for the nodes of the shared stack.
pub(crate) const OPERATOR: &str = "<operator><password>correct horse</password>\
    <networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></operator>";

/// For a run without a responding server: three times its configured timeouts.
const LIMIT: Duration = Duration::from_secs(30);

struct File {
    folder: TempDir,
}

impl File {
    fn new(text: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("posthouse.toml"), text)?;
        std::fs::write(folder.path().join("topics.toml"), "")?;
        Ok(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("posthouse.toml")
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<Outcome> {
        run_within(&self.path(), arguments, LIMIT)
    }
}

/// A config of two nodes and one broker at these ports.
fn at_ports(nodes: [u16; 2], broker: u16) -> String {
    let mut text = format!("kafka.brokers = [\"127.0.0.1:{broker}\"]\nclickhouse.timeout = \"2s\"\n");
    for (number, port) in (1..).zip(nodes) {
        text.push_str(&format!(
            "[[shards]]\n[[shards.replicas]]\nname = \"ch{number}\"\nurl = \"http://127.0.0.1:{port}\"\n\
             address = \"127.0.0.1:900{number}\"\n"
        ));
    }
    text
}

/// A port without a listener: bound and released.
fn closed_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn every_fault_of_a_file_is_reported_at_once() -> anyhow::Result<()> {
    // GIVEN a file with an unknown key, a wrong type, a bad URL, a number out of range and a
    // duplicate node
    let file = File::new(
        r#"databas = "x"
replicated = "yes"
[kafka]
brokers = ["127.0.0.1:9092"]
[events]
consumers = 0
[[shards]]
[[shards.replicas]]
name = "ch1"
url = "ftp://127.0.0.1:8123"
address = "127.0.0.1:9000"
[[shards]]
[[shards.replicas]]
name = "ch1"
url = "http://127.0.0.1:8124"
address = "127.0.0.1:9001"
"#,
    )?;
    for verb in [["schema", "plan"], ["topics", "apply"], ["udf", "check"]] {
        // WHEN any command is run
        let outcome = file.run(&verb)?;
        // THEN it only names each fault with its line
        ensure!(outcome.code == 2 && outcome.stdout.is_empty(), "{outcome}");
        for fault in [
            "posthouse.toml has 5 faults",
            "error: line 1: databas\n",
            "1 | databas …\n  | ^^^^^^^ is an unknown key, did you mean database?",
            "error: line 2: replicated\n",
            "2 | replicated = \"yes\"\n  |              ^^^^^ give true or false",
            "posthouse.toml:2:14\n",
            "error: line 6: events.consumers\n",
            "6 | consumers = 0\n",
            "error: line 10: shards[1].replicas[1].url\n",
            "10 | url = \"ftp://127.0.0.1:8123\"\n",
            "error: line 14: shards[2].replicas[1].name\n",
            "14 | name = \"ch1\"\n",
        ] {
            ensure!(outcome.stderr.contains(fault), "no {fault:?} in: {outcome}");
        }
    }
    Ok(())
}

fn a_password_in_a_url_is_refused_and_not_repeated() -> anyhow::Result<()> {
    // GIVEN a URL with a password
    let text =
        at_ports([8123, 8124], 9092).replace("http://127.0.0.1:8124", "http://u:hunter2@127.0.0.1:8124");
    // WHEN the file is read
    let outcome = File::new(&text)?.run(&["schema", "plan"])?;
    // THEN it is refused, without the password
    ensure!(outcome.code == 2 && outcome.stderr.contains("shards[2].replicas[1].url"), "{outcome}");
    ensure!(!outcome.to_string().contains("hunter2"), "the password is shown: {outcome}");
    Ok(())
}

/// Runs posthouse with environment variables of secrets.
fn with_secrets(file: &File, arguments: &[&str], format: &str) -> anyhow::Result<String> {
    let mut command = Command::new(binary("posthouse")?);
    for variable in
        ["POSTHOUSE_CLICKHOUSE_PASSWORD", "POSTHOUSE_KAFKA_PASSWORD", "POSTHOUSE_POSTGRES_PASSWORD"]
    {
        command.env(variable, "hunter2");
    }
    command.env("POSTHOUSE_LOG_FORMAT", format).arg("--config").arg(file.path()).args(arguments);
    let output = command.stdin(Stdio::null()).output()?;
    Ok([output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

fn shows_no_secret_in_quoted_lines_or_logs() -> anyhow::Result<()> {
    // GIVEN a config with users, whose servers are not reachable
    let closed = closed_port()?;
    let servers = at_ports([closed, 1], closed);
    let file = File::new(&format!(
        "kafka.user = \"posthouse\"\nclickhouse.user = \"operator\"\n{servers}\
         [persons.postgres]\naddress = \"127.0.0.1:{closed}\"\ndatabase = \"a\"\nuser = \"b\"\n"
    ))?;
    for format in ["text", "json"] {
        for command in
            [&["persons", "check", "-vv"][..], &["schema", "plan", "-vv"], &["topics", "plan", "-vv"]]
        {
            // WHEN every event is logged THEN no line has a password
            let text = with_secrets(&file, command, format)?;
            ensure!(text.contains("127.0.0.1"), "{command:?}: {text}");
            ensure!(!text.contains("hunter2"), "{command:?}: {text}");
        }
    }
    // GIVEN faults beside passwords in the file
    for text in [
        "clickhouse = { pasword = \"hunter2\", user = 5 }\n",
        "clickhouse.password = \"hunter2\"\n",
        "clickhouse.pasword = hunter2\n",
        "[clickhouse]\npasword = \"\"\"\nhunter2 \\q\n\"\"\"\n",
        "[clickhouse]\nuser = \"a\" pasword = \"hunter2\"\n",
    ] {
        // WHEN the file is read THEN they are not shown
        let shown = with_secrets(&File::new(text)?, &["schema", "plan"], "text")?;
        ensure!(shown.contains("fault") && !shown.contains("hunter2"), "{text}: {shown}");
    }
    Ok(())
}

fn logs_one_json_object_per_line() -> anyhow::Result<()> {
    // GIVEN a config without servers, with a former key
    let closed = closed_port()?;
    let text = at_ports([closed, 1], closed);
    let text = text.replace("clickhouse.timeout = \"2s\"", "clickhouse.timeout_s = 2");
    // WHEN a command fails
    let outcome = File::new(&text)?.run(&["topics", "plan", "-v", "--log-format", "json"])?;
    // THEN every line of stderr is an object with the same keys, and the last one is the error
    ensure!(outcome.code == 1, "{outcome}");
    let mut events = Vec::new();
    for line in outcome.stderr.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| outcome.to_string())?;
        ensure!(["timestamp", "level", "message"].iter().all(|key| event[key].is_string()), "{event}");
        events.push(event);
    }
    let warned = events.iter().any(|event| event["level"] == "WARN" && event["config"].is_string());
    ensure!(warned, "no warning about the former key: {outcome}");
    ensure!(events.last().is_some_and(|event| event["exit_code"] == 1), "{outcome}");
    // WHEN the config has faults THEN the error is such a line too
    let faulty = File::new("databse = 1\n")?.run(&["schema", "plan", "--log-format", "json"])?;
    let event: Value = serde_json::from_str(&faulty.stderr).with_context(|| faulty.to_string())?;
    ensure!(
        event["message"].as_str().is_some_and(|message| message.contains("line 1: databse: ")),
        "{event}"
    );
    Ok(())
}

fn prints_completions_and_manual_pages_without_a_config() -> anyhow::Result<()> {
    // GIVEN no config
    let folder = tempfile::tempdir()?;
    let absent = folder.path().join("absent.toml");
    let pages = folder.path().join("man1");
    let run = |arguments: &[&str]| run_within(&absent, arguments, LIMIT);
    // WHEN completions and pages are printed THEN they have every command
    for (arguments, word) in [
        (&["completions", "bash"][..], "backfill"),
        (&["completions", "zsh"], "--log-format"),
        (&["man"], ".TH posthouse 1"),
        (&["man", &pages.display().to_string()], "pages written"),
    ] {
        let outcome = run(arguments)?;
        ensure!(outcome.code == 0 && outcome.stdout.contains(word), "{arguments:?}: {outcome}");
        ensure!(outcome.stderr.is_empty(), "{arguments:?}: {outcome}");
    }
    ensure!(pages.join("posthouse-topics-reset.1").is_file(), "no page of a command");
    // WHEN the shell is unknown THEN the known ones are named
    let unknown = run(&["completions", "tcsh"])?;
    ensure!(unknown.code == 2 && unknown.stderr.contains("fish"), "{unknown}");
    Ok(())
}

fn a_missing_file_is_wrong_config() -> anyhow::Result<()> {
    // GIVEN no config, and a config whose topics file is missing
    let folder = tempfile::tempdir()?;
    let absent = folder.path().join("absent.toml");
    // WHEN they are read
    let config = run_within(&absent, &["schema", "plan"], LIMIT)?;
    let file = File::new(&format!("kafka.topics_file = \"absent.toml\"\n{}", at_ports([8123, 8124], 9092)))?;
    let topics = file.run(&["topics", "plan"])?;
    // THEN each is named, with a hint
    for (outcome, option) in [(config, "--config"), (topics, "kafka.topics_file")] {
        ensure!(outcome.code == 2, "{outcome}");
        ensure!(outcome.stderr.contains("absent.toml") && outcome.stderr.contains(option), "{outcome}");
    }
    Ok(())
}

fn wrong_usage_is_told_from_failed_work() -> anyhow::Result<()> {
    let file = File::new(&at_ports([8123, 8124], 9092))?;
    // WHEN the command line is wrong THEN the exit code is 2, with a hint at the right one
    for (line, said) in [
        (&["schema", "frobnicate"][..], "frobnicate"),
        (&["schema", "apply", "--dry"], "--dry-run"),
        (&["topics"], "Usage"),
        (&[], "Usage"),
    ] {
        let outcome = file.run(line)?;
        ensure!(outcome.code == 2 && outcome.stderr.contains(said), "{line:?}: {outcome}");
    }
    // WHEN it names an unknown node THEN the exit code is 1, with the known nodes
    let outcome = file.run(&["schema", "render", "--node", "ch9"])?;
    ensure!(outcome.code == 1 && outcome.stderr.contains("ch1, ch2"), "{outcome}");
    Ok(())
}

fn unreachable_nodes_are_all_named() -> anyhow::Result<()> {
    // GIVEN a node at a closed port, and one that accepts connections and never answers
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let (closed, silent_port) = (closed_port()?, silent.local_addr()?.port());
    let file = File::new(&at_ports([closed, silent_port], 9092))?;
    for verb in [&["schema", "plan"][..], &["schema", "check"], &["schema", "apply"], &["udf", "check"]] {
        // WHEN a command needs them
        let outcome = file.run(verb)?;
        // THEN it fails in time and names both
        ensure!(outcome.code == 1 && outcome.stdout.is_empty(), "{verb:?}: {outcome}");
        for address in
            [format!("ch1 is unreachable at http://127.0.0.1:{closed}"), format!("127.0.0.1:{silent_port}")]
        {
            ensure!(outcome.stderr.contains(&address), "{verb:?}, no {address}: {outcome}");
        }
    }
    Ok(())
}

fn an_unreachable_broker_is_named() -> anyhow::Result<()> {
    // GIVEN a broker at a closed port
    let closed = closed_port()?;
    let file = File::new(&at_ports([8123, 8124], closed))?;
    for verb in [&["topics", "plan"][..], &["topics", "apply"]] {
        // WHEN a command needs it
        let outcome = file.run(verb)?;
        // THEN it fails in time and names it
        ensure!(outcome.code == 1 && outcome.stdout.is_empty(), "{verb:?}: {outcome}");
        ensure!(outcome.stderr.contains(&format!("127.0.0.1:{closed}")), "{verb:?}: {outcome}");
    }
    Ok(())
}

fn a_password_comes_from_a_file_and_is_never_shown(site: &mut Site<'_>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let password = folder.path().join("password");
    let path = password.display().to_string();
    site.set("clickhouse", "user", "operator").set("clickhouse", "password_file", path);
    // GIVEN the right password WHEN the schema is compared THEN the nodes answer
    std::fs::write(&password, "correct horse\n")?;
    let right = site.posthouse(&["schema", "plan"])?;
    ensure!(right.code == 3, "{right}");
    // GIVEN a wrong one THEN the user and the source of the password are named, and neither
    // password is shown
    std::fs::write(&password, "battery staple\n")?;
    let wrong = site.posthouse(&["schema", "plan"])?;
    ensure!(wrong.code == 1 && wrong.stderr.contains("clickhouse.password_file"), "{wrong}");
    ensure!(wrong.stderr.contains("operator"), "{wrong}");
    for outcome in [right, wrong] {
        let text = outcome.to_string();
        ensure!(!text.contains("correct horse") && !text.contains("battery staple"), "{text}");
    }
    Ok(())
}
