//! `stack`: starts, lists and stops dev stacks.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use clap::{Parser, Subcommand};
use posthouse_tests::stack::{
    self, Engine, Found, Progress, Record, ShardSpec, Stack, StackSpec, wait_until, watch_signals,
};
use rustix::process::{Pid, Signal, kill_process};

/// Limit for a stack to stop: its nodes, its brokers and its Keeper one after the other, each with
/// a separate time limit.
const DOWN_LIMIT: Duration = Duration::from_secs(90);

/// Run real ClickHouse, Apache Kafka and Apache ZooKeeper on free loopback ports, without
/// containers.
#[derive(Parser)]
#[command(
    name = "stack",
    version,
    after_help = "\
Examples:
  stack up                              two shards of weights 1 and 3
  stack up --shards 1                   one ClickHouse node
  stack up --shards 1,1 --replicas 2    two shards of two replicas
  stack up --postgres                   PostgreSQL as well
  stack status                          running stacks with their addresses
  stack down                            stop it from another shell

Environment:
  POSTHOUSE_CACHE      downloads (default: $XDG_CACHE_HOME/posthouse or ~/.cache/posthouse)
  POSTHOUSE_SCRATCH    folder of scratch folders (default: the folder for temporary files)
  CLICKHOUSE_BINARY    a clickhouse binary to run the nodes with (default: the one on PATH, else libchdb)"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a stack and keep it running until Ctrl-C, SIGTERM or `stack down`
    Up {
        /// Weights of the shards
        #[arg(long, value_delimiter = ',', default_value = "1,3")]
        shards: Vec<NonZeroU32>,
        /// Replicas of every shard
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
        replicas: u8,
        /// Apache Kafka brokers
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
        brokers: u8,
        /// Start a PostgreSQL server too
        #[arg(long)]
        postgres: bool,
    },
    /// Stop a stack started by `stack up`
    Down {
        /// Name of the stack's scratch folder, as shown by `stack status`
        name: Option<String>,
        /// Stop every stack
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Show running stacks
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Up { shards, replicas, brokers, postgres } => {
            let shards =
                shards.iter().map(|weight| ShardSpec { weight: weight.get(), replicas: replicas.into() });
            up(StackSpec {
                shards: shards.collect(),
                brokers: brokers.into(),
                postgres,
                ..StackSpec::default()
            })
        }
        Verb::Down { name, all } => down(name.as_deref(), all),
        Verb::Status { json } => status(json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn up(spec: StackSpec) -> anyhow::Result<()> {
    let signals = watch_signals()?;
    let stack = Stack::start(spec, &Progress::on_stderr())?;
    let record = Record::write(&stack)?;
    print!("{}", welcome(&stack, &record));
    // The sender lives as long as the process.
    signals.recv()?;
    eprintln!("stack: stopping; a second signal kills it");
    drop(stack);
    eprintln!("stack: stopped");
    Ok(())
}

fn welcome(stack: &Stack, record: &Record) -> String {
    let engine = match stack.engine() {
        Engine::Server { path } => format!("clickhouse server, {}", path.display()),
        Engine::Library { .. } => "libchdb: Replicated tables are read-only, no ON CLUSTER; \
            put a clickhouse binary on PATH for all features"
            .into(),
    };
    let config = record.config.display();
    let url = stack.nodes().first().map(stack::Node::http_url).unwrap_or_default();
    format!(
        "\n{}\n  engine   {engine}\n  scratch  {}\n  config   {config}\n\n  \
         curl {url} --data-binary \"SELECT * FROM system.clusters FORMAT PrettyCompact\"\n  \
         posthouse --config {config} topics apply\n  posthouse --config {config} schema apply\n\n\
         Ctrl-C stops it, or `stack down` in another shell.\n",
        record.table(),
        stack.dir().display(),
    )
}

fn status(json: bool) -> anyhow::Result<()> {
    let living = stack::list().into_iter().filter(|found| found.alive).collect::<Vec<_>>();
    let records = living.iter().map(|found| (found, Record::read(&found.path))).collect::<Vec<_>>();
    if json {
        let stacks = records.iter().map(|(found, record)| {
            let (scratch, pid) = (&found.path, found.pid);
            serde_json::json!({ "name": name(scratch), "scratch": scratch, "pid": pid, "up": record })
        });
        println!("{}", serde_json::to_string_pretty(&stacks.collect::<Vec<_>>())?);
        return Ok(());
    }
    if records.is_empty() {
        println!("no stack runs; start one with `stack up`");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for (found, record) in records {
        let pid = found.pid.unwrap_or_default();
        match record {
            Some(record) => {
                let minutes = now.saturating_sub(record.since_unix_s) / 60;
                println!("{}  process {pid}, up for {minutes} min", name(&found.path));
                println!("{}  config  {}", record.table(), record.config.display());
            }
            None => println!("{}  process {pid}: starting, or run by a test", name(&found.path)),
        }
    }
    Ok(())
}

fn down(wanted: Option<&str>, all: bool) -> anyhow::Result<()> {
    let mut stacks = stack::list();
    stacks.retain(|found| found.alive && Record::read(&found.path).is_some());
    if let Some(wanted) = wanted {
        stacks.retain(|found| name(&found.path) == wanted);
        if stacks.is_empty() {
            bail!("no stack {wanted} of `stack up` runs; `stack status` lists the running stacks");
        }
    }
    if stacks.len() > 1 && !all {
        let names = stacks.iter().map(|found| name(&found.path)).collect::<Vec<_>>().join(", ");
        bail!("several stacks run: {names}; name one, or use --all");
    }
    if stacks.is_empty() {
        println!("no stack of `stack up` runs");
    }
    stacks.iter().try_for_each(stop)
}

/// Stops a stack. The marker in its folder is locked, so the process id in it belongs to the stack.
fn stop(found: &Found) -> anyhow::Result<()> {
    let (name, folder) = (name(&found.path), &found.path);
    let pid = found
        .pid
        .and_then(Pid::from_raw)
        .with_context(|| format!("the marker of {name} has no process id"))?;
    kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop {name}, process {pid}"))?;
    wait_until(&format!("{name} to stop"), DOWN_LIMIT, || {
        if stack::list().iter().any(|other| other.alive && other.path == *folder) {
            ControlFlow::Continue(anyhow!("process {pid} still runs"))
        } else {
            ControlFlow::Break(Ok(()))
        }
    })?;
    println!("{name} stopped");
    Ok(())
}

/// Returns the last component of the path.
fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
