//! The command line: what can be asked for, and how the answer becomes an exit code.

mod backfill;
mod failure;
mod notices;
mod output;
mod persons;
mod run;
mod schema;
mod signals;
mod topics;
mod udf;

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use posthouse::backfill::map::MappingError;
use posthouse::config::{Config, ConfigError};
use posthouse::topics::SpecError;
use tracing_subscriber::EnvFilter;

pub(crate) use self::failure::wrong_usage;
use self::notices::Log;
use self::output::Output;

/// Exit code of work that failed.
const FAILED: u8 = 1;
/// Exit code of a wrong command line (clap's own) or a wrong config.
const WRONG_CONFIG: u8 = 2;
/// Exit code of a verb that looked, and found differences.
const DIFFERENCES: u8 = 3;

/// How long threads that block may take when the work is done.
const THREADS_TIMEOUT: Duration = Duration::from_millis(500);

/// What is logged where `RUST_LOG` says nothing. The replication client logs an error whenever somebody else holds the slot.
const DEFAULT_LOG: &str = "info,pgwire_replication=off";

const EXIT_CODES: &str = "\
Exit codes: 0 done or clean, 1 failed, 2 wrong usage or config, 3 differences found.
Results go to stdout, logs to stderr (RUST_LOG=debug shows more).
With --json stdout has the result as one JSON document, or nothing where there is none. Exit codes 1 and 2
come with one line of JSON, the last one of stderr: {\"error\":{\"message\":\"…\",\"causes\":[\"…\"],\"exit_code\":1}}.
Lines of stderr before it are logs and progress, for people.
The password of clickhouse.user is read from POSTHOUSE_CLICKHOUSE_PASSWORD or from
clickhouse.password_file; those of Kafka and PostgreSQL likewise.";

/// Keeps the topics, schema, functions and persons of a sharded analytics ClickHouse right.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Arguments {
    /// The file that describes the cluster; posthouse.example.toml shows every key
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

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run as the sidecar: answer health and metrics, keep topics in line, copy persons
    #[command(after_help = run::RUN)]
    Run,
    /// Tables and views of every node: compare them with the config, bring them in line
    #[command(subcommand)]
    Schema(schema::Schema),
    /// Kafka topics as topics.toml has them, and the consumer groups that read them
    #[command(subcommand)]
    Topics(topics::Topics),
    /// Persons and their distinct ids: what would be published, and whether every node has what PostgreSQL has
    #[command(subcommand)]
    Persons(persons::Persons),
    /// Functions that ClickHouse runs in queries: install them, prove them
    #[command(subcommand)]
    Udf(udf::Udf),
    /// History from Parquet: load it exactly once, and prove it
    #[command(subcommand)]
    Backfill(backfill::Backfill),
}

/// How a verb ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Done, or nothing to do.
    Clean,
    /// It looked, and found differences.
    Differs,
}

impl Outcome {
    fn differs_if(differences: bool) -> Self {
        if differences { Self::Differs } else { Self::Clean }
    }
}

/// Does what `arguments` ask for. Config, then logs, then Tokio: the first can fail without the others.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let output = Output { json: arguments.json };
    let done = match &arguments.verb {
        // It writes the config that the others need.
        Verb::Schema(schema::Schema::Import(verb)) => {
            start_logs();
            finish(verb.run(output))
        }
        verb => Config::load(&arguments.config).map_err(anyhow::Error::from).and_then(|config| {
            start_logs();
            finish(verb.run(&config, output))
        }),
    };
    match done {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Differs) => ExitCode::from(DIFFERENCES),
        Err(error) => {
            let code = exit_code(&error);
            failure::report(&error, code, arguments.json);
            ExitCode::from(code)
        }
    }
}

/// Runs a verb to its end; threads that other programs keep busy are left behind.
fn finish(verb: impl Future<Output = anyhow::Result<Outcome>>) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(verb);
    runtime.shutdown_timeout(THREADS_TIMEOUT);
    done
}

impl Verb {
    async fn run(&self, config: &Config, output: Output) -> anyhow::Result<Outcome> {
        match self {
            Self::Run => run::run(config).await,
            Self::Schema(verb) => verb.run(config, output).await,
            Self::Topics(verb) => verb.run(config, output).await,
            Self::Persons(verb) => verb.run(config, output).await,
            Self::Udf(verb) => verb.run(config, output).await,
            Self::Backfill(verb) => verb.run(config, output).await,
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    // A mapping that does not fit stands behind the file that it does not fit.
    let wrong_config = error
        .chain()
        .any(|cause| cause.is::<ConfigError>() || cause.is::<SpecError>() || cause.is::<MappingError>());
    let wrong_name = error.chain().any(|cause| {
        matches!(
            cause.downcast_ref::<posthouse::topics::PlanError>(),
            Some(posthouse::topics::PlanError::Unnamed { .. })
        )
    });
    if wrong_config || wrong_name { WRONG_CONFIG } else { FAILED }
}

fn start_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Log)
        .with_ansi(colours)
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use posthouse::backfill::map::Mapping;
    use posthouse::backfill::plan::PlanError;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
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
        let source = Mapping::preset("none").expect_err("no such preset");
        let unfit = PlanError::Mapping { location: "a.parquet".to_owned(), source };
        assert_eq!(exit_code(&unfit.into()), WRONG_CONFIG);
        assert_eq!(exit_code(&anyhow::anyhow!("broken")), FAILED);
    }
}
