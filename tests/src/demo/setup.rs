//! Setup of the demo: servers, config, and posthouse's setup commands.

use std::fs;
use std::time::Instant;

use anyhow::{Context, ensure};
use indicatif::HumanCount;
use serde::Deserialize;

use super::screen::Screen;
use crate::site;
use crate::stack::{Engine, Node, Progress, Record, Stack};
use crate::torture::ingest;

/// Appended to the stack's config; all other keys have their defaults.
const EVENTS: &str = "
[events]
profile = \"posthog\"
person_key = true

[[events.materialized]]
name = \"mat_$current_url\"
property = \"$current_url\"
";

/// Summarizes a verb's output in one line.
type Summary = fn(&str) -> Option<String>;

/// Setup commands in the order that a new cluster needs.
const VERBS: [(&[&str], Summary); 4] = [
    (&["topics", "apply"], last_line),
    (&["schema", "apply"], last_line),
    (&["udf", "install", "--json"], installed),
    (&["udf", "check", "--json"], checked),
];

/// Running servers with topic, tables and functions.
pub(super) struct Ground {
    pub(super) stack: Stack,
    /// Addresses of the servers, and the config.
    pub(super) record: Record,
}

impl Ground {
    /// The node that runs the queries.
    pub(super) fn first(&self) -> &Node {
        // A stack without nodes fails to start.
        &self.stack.nodes()[0]
    }

    /// The node to kill: the one of the heaviest shard except the first node.
    pub(super) fn victim(&self) -> &Node {
        let others = self.stack.nodes().iter().skip(1);
        others.max_by_key(|node| node.weight()).unwrap_or_else(|| self.first())
    }

    /// Returns the binary's path, relative to the current folder if possible.
    pub(super) fn posthouse(&self) -> String {
        let Ok(path) = site::binary("posthouse") else { return "posthouse".to_owned() };
        let here = std::env::current_dir().unwrap_or_default();
        path.strip_prefix(here).unwrap_or(&path).display().to_string()
    }
}

/// Starts the servers and has `posthouse` set them up.
///
/// # Errors
/// Fails if a server doesn't start, or if a verb fails, with its whole output.
pub(super) fn prepare(screen: &Screen) -> anyhow::Result<Ground> {
    screen.heading("Real servers on this machine");
    // The kill test's stack. Merges are off, so that a duplicate row stays visible.
    let stack = Stack::start(ingest::spec().postgres(), &Progress::on_stderr())?;
    let record = Record::write(&stack)?;
    let ground = Ground { stack, record };
    screen.dim(&servers(&ground)?);

    let config = &ground.record.config;
    let text = fs::read_to_string(config)? + EVENTS;
    fs::write(config, text).with_context(|| format!("can't write {}", config.display()))?;
    screen.heading("Set up by posthouse");
    for (arguments, summary) in VERBS {
        let (begin, verb) = (Instant::now(), arguments.join(" "));
        let outcome = site::run(config, arguments)?;
        ensure!(outcome.code == 0, "posthouse {verb}: {outcome}");
        let said = summary(&outcome.stdout).with_context(|| format!("posthouse {verb} printed {outcome}"))?;
        screen.command(&format!("posthouse {verb}"), begin.elapsed(), &said);
    }
    Ok(ground)
}

fn servers(ground: &Ground) -> anyhow::Result<String> {
    let version = ground.first().query("SELECT version()")?;
    let engine = match ground.stack.engine() {
        Engine::Server { .. } => "clickhouse server",
        Engine::Library { .. } => "ClickHouse as a library that listens",
    };
    let weights: Vec<_> = ground.stack.spec().shards.iter().map(|shard| shard.weight.to_string()).collect();
    Ok(format!(
        "{engine}, {}: {} shards of weights {}; Apache Kafka; Apache ZooKeeper; PostgreSQL",
        version.trim_end(),
        weights.len(),
        weights.join(" and ")
    ))
}

fn last_line(stdout: &str) -> Option<String> {
    stdout.lines().last().map(str::to_owned)
}

fn installed(stdout: &str) -> Option<String> {
    let installed: Vec<Installed> = serde_json::from_str(stdout).ok()?;
    let nodes: Vec<&str> = installed.iter().map(|done| done.node.as_str()).collect();
    Some(format!("{} on {}", installed.first()?.release, nodes.join(" and ")))
}

fn checked(stdout: &str) -> Option<String> {
    let checked: Checked = serde_json::from_str(stdout).ok()?;
    let answers = || checked.nodes.iter().flat_map(|node| &node.compared);
    let ids: u64 = answers().map(|answer| answer.rows).sum();
    let differing: u64 = answers().map(|answer| answer.differing).sum();
    let ids = HumanCount(ids);
    Some(format!("{ids} ids compared with the server's own functions, {differing} differ"))
}

/// Part of the output of `udf install --json`.
#[derive(Deserialize)]
struct Installed {
    node: String,
    release: String,
}

/// Part of the output of `udf check --json`.
#[derive(Deserialize)]
struct Checked {
    nodes: Vec<CheckedNode>,
}

/// Comparisons on one node.
#[derive(Deserialize)]
struct CheckedNode {
    compared: Vec<Compared>,
}

/// Comparison for one list of weights.
#[derive(Deserialize)]
struct Compared {
    rows: u64,
    differing: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_summed_up_in_one_line() {
        assert_eq!(last_line("created a\n1 created, 0 existed\n").as_deref(), Some("1 created, 0 existed"));
        let answer = r#"[{"node":"ch1","release":"r1","program":"written"},{"node":"ch2","release":"r1"}]"#;
        assert_eq!(installed(answer).as_deref(), Some("r1 on ch1 and ch2"));
        let answer = r#"{"seed":1,"nodes":[{"node":"ch1","compared":[{"rows":900,"differing":0},{"rows":200,"differing":3}]}]}"#;
        assert_eq!(
            checked(answer).as_deref(),
            Some("1,100 ids compared with the server's own functions, 3 differ")
        );
        assert_eq!(installed("[]"), None);
    }
}
