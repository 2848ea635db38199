//! Command line and exit codes.

mod backfill;
mod completions;
mod exit_codes;
mod failure;
mod former_options;
mod logs;
mod man;
mod notices;
mod output;
mod persons;
mod progress_bar;
#[cfg(test)]
mod reference;
mod run;
mod schema;
mod signals;
mod topics;
mod udf;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::backfill::map::MappingError;
use crate::cluster::Cluster;
use crate::config::{Config, ConfigError};
use crate::http::{HttpTlsError, UnprotectedListenError};
use crate::node::NodeTlsError;
use crate::supervise::limit_arenas;
use crate::topics::{SpecError, UnnamedTopicsError};

use self::logs::LogOptions;
use self::output::Output;

/// Exit code of a command that did its work and found no difference.
const DONE: u8 = 0;
/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of an invalid command line (clap's own) or an invalid config.
const WRONG_CONFIG: u8 = 2;
/// Exit code of a command that found differences.
const DIFFERENCES: u8 = 3;

/// Time for blocking threads to end after the command is done.
const THREADS_TIMEOUT: Duration = Duration::from_millis(500);

const STREAMS: &str = "\
Results go to stdout, logs to stderr. RUST_LOG replaces -v and -q, for example RUST_LOG=info,posthouse::kafka=debug.
With --json stdout has the result as one JSON document; without a result it is empty. Exit codes 1 and 2
come with one line of JSON, the last one of stderr: {\"error\":{\"message\":\"…\",\"causes\":[\"…\"],\"exit_code\":1}}.
Lines of stderr before it are logs and progress, for people.
The password of clickhouse.user is read from POSTHOUSE_CLICKHOUSE_PASSWORD or from
clickhouse.password_file; those of Kafka and PostgreSQL likewise.";

/// Manage Kafka topics, schema, UDFs and person sync of a sharded ClickHouse cluster
#[derive(Debug, Parser)]
#[command(version, after_help = STREAMS, max_term_width = 110)]
pub(crate) struct Arguments {
    /// Path of the config file; posthouse.example.toml shows every key
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "POSTHOUSE_CONFIG",
        default_value = "posthouse.toml"
    )]
    config: PathBuf,

    /// Print the result as JSON on stdout, and an error as JSON in the last line of stderr
    #[arg(long, global = true)]
    json: bool,

    #[command(flatten)]
    logs: LogOptions,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the sidecar: serve health and metrics, reconcile topics, sync persons
    #[command(after_help = run::RUN)]
    Run,
    /// Compare tables and views of every node with the config, and apply the changes
    #[command(subcommand)]
    Schema(schema::Schema),
    /// Compare Kafka topics with topics.toml, apply changes, and manage consumer groups
    #[command(subcommand)]
    Topics(topics::Topics),
    /// Check person sync, and compare every node with PostgreSQL
    #[command(subcommand)]
    Persons(persons::PersonsCommand),
    /// Install and check the functions that ClickHouse runs in queries
    #[command(subcommand)]
    Udf(udf::Udf),
    /// Load events from Parquet files exactly once, and verify the result
    #[command(subcommand)]
    Backfill(backfill::Backfill),
    /// Print a script that completes commands and options in a shell
    #[command(after_help = completions::COMPLETIONS)]
    Completions(completions::Completions),
    /// Print the manual page, or write the pages of all commands into a folder
    #[command(after_help = man::MAN)]
    Man(man::ManPages),
}

/// Result of a command that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Done, or no change was needed.
    Clean,
    /// The command found differences.
    Differs,
}

impl Outcome {
    fn differs_if(differences: bool) -> Self {
        if differences { Self::Differs } else { Self::Clean }
    }
}

/// Runs the command of this process's arguments and returns its exit code.
#[must_use]
pub fn run_command_line() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches));
    match parsed {
        Ok(arguments) => run(&arguments),
        Err(error) => failure::wrong_usage(&error),
    }
}

/// The command line, with exit codes in the help of each command.
fn command() -> Command {
    exit_codes::documented(Arguments::command())
}

/// Runs the command of `arguments`. Reads the config before it starts Tokio.
fn run(arguments: &Arguments) -> ExitCode {
    let output = Output { json: arguments.json, logs: arguments.logs.log_format };
    arguments.logs.start();
    if matches!(arguments.verb, Verb::Run) {
        limit_arenas();
    }
    let done = match &arguments.verb {
        Verb::Completions(verb) => verb.run(output),
        Verb::Man(verb) => verb.run(output),
        // Import writes the config that the other commands need.
        Verb::Schema(schema::Schema::Import(verb)) => finish(verb.run(output)),
        verb => Config::load(&arguments.config).map_err(anyhow::Error::from).and_then(|config| {
            former_options::warn(std::env::args_os());
            for warning in &config.warnings {
                tracing::warn!(config = %arguments.config.display(), "{warning}");
            }
            finish(verb.run(&Arc::new(Cluster::new(config)?), output))
        }),
    };
    match done {
        Ok(Outcome::Clean) => ExitCode::from(DONE),
        Ok(Outcome::Differs) => ExitCode::from(DIFFERENCES),
        Err(error) => {
            let code = exit_code(&error);
            failure::report(&error, code, output);
            ExitCode::from(code)
        }
    }
}

/// Runs a command to its end. Threads that other programs still block are abandoned after
/// [`THREADS_TIMEOUT`].
fn finish(verb: impl Future<Output = anyhow::Result<Outcome>>) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(verb);
    runtime.shutdown_timeout(THREADS_TIMEOUT);
    done
}

impl Verb {
    async fn run(&self, cluster: &Arc<Cluster>, output: Output) -> anyhow::Result<Outcome> {
        match self {
            Self::Run => run::run(cluster).await,
            Self::Schema(verb) => verb.run(cluster, output).await,
            Self::Topics(verb) => verb.run(cluster, output).await,
            Self::Persons(verb) => verb.run(cluster, output).await,
            Self::Udf(verb) => verb.run(cluster, output).await,
            Self::Backfill(verb) => verb.run(cluster, output).await,
            Self::Completions(verb) => verb.run(output),
            Self::Man(verb) => verb.run(output),
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    // A mapping error is the cause of an error that names the file that it does not fit.
    let wrong_config = error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || cause.is::<SpecError>()
            || cause.is::<MappingError>()
            || cause.is::<UnnamedTopicsError>()
            || cause.is::<NodeTlsError>()
            || cause.is::<HttpTlsError>()
            || cause.is::<UnprotectedListenError>()
    });
    if wrong_config { WRONG_CONFIG } else { FAILED }
}

#[cfg(test)]
mod tests {
    use crate::backfill::map::Mapping;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn global_options_may_follow_the_verb() {
        let line = ["posthouse", "topics", "apply", "--dry-run", "--json", "--config", "a.toml"];
        let arguments = Arguments::try_parse_from(line).expect("right");
        assert!(arguments.json);
        assert_eq!(arguments.config, PathBuf::from("a.toml"));
    }

    #[test]
    fn a_wrong_file_is_told_from_failed_work() {
        let wrong = Config::parse("", std::path::Path::new("")).expect_err("no shards");
        assert_eq!(exit_code(&wrong.into()), WRONG_CONFIG);
        let source = Mapping::preset("none", &[]).expect_err("no such preset");
        let unfit = anyhow::Error::from(source).context("a.parquet");
        assert_eq!(exit_code(&unfit), WRONG_CONFIG);
        assert_eq!(exit_code(&anyhow::anyhow!("broken")), FAILED);
    }
}
