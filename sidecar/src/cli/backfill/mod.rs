//! `posthouse backfill`: history from Parquet into the shards, exactly once.

mod bar;
mod jobs;
mod plan;
mod request;
mod run;
mod verify;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use posthouse::config::Config;

pub(super) use self::request::{Load, Sources};
use super::Outcome;
use super::output::Output;

const PLAN: &str = "\
Examples:
  posthouse backfill plan exports/ --mapping posthog-export --team-id 7
  posthouse backfill plan 's3://bucket/2025/**/*.parquet' --mapping mapping.toml --json

Reads footers only and writes nothing. The credentials of object stores come from the environment (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, …).";

const RUN: &str = "\
Examples:
  posthouse backfill run exports/ --mapping posthog-export --team-id 7
  posthouse backfill run 's3://bucket/2025/*.parquet' --mapping mapping.toml --split 2/3
  posthouse backfill run exports/ --mapping identity --dry-run

Stopped or killed at any point, the same command goes on where it was: every row is stored once. At the end it is proven,
shard by shard, that what stands in ClickHouse is what the files hold.";

const VERIFY: &str = "\
Example:
  posthouse backfill verify 0123456789abcdef    exit code 3 if a row is missing, extra, changed or on the wrong shard";

#[derive(Debug, Subcommand)]
pub(super) enum Backfill {
    /// Show what a load would do: files, rows, partitions, time, parts
    #[command(after_help = PLAN)]
    Plan(Sources),
    /// Load the files, or go on with a load that was stopped, and prove it
    #[command(after_help = RUN)]
    Run(Load),
    /// Show one job: how far it has come
    Status(JobName),
    /// Show all jobs
    List,
    /// Ask a running load to stop, on whatever machine it runs; rows that are stored stay
    Cancel(JobName),
    /// Count what stands in ClickHouse against what the files held
    #[command(after_help = VERIFY)]
    Verify(JobName),
}

#[derive(Debug, Args)]
pub(super) struct JobName {
    /// The job, as plan, run and list print it
    #[arg(value_name = "JOB", value_parser = NonEmptyStringValueParser::new())]
    job: String,
}

impl Backfill {
    pub(super) async fn run(&self, config: &Config, output: Output) -> anyhow::Result<Outcome> {
        match self {
            Self::Plan(sources) => plan::plan(config, sources, output).await,
            Self::Run(load) => run::run(config, load, output).await,
            Self::Status(JobName { job }) => jobs::status(config, job, output).await,
            Self::List => jobs::list(config, output).await,
            Self::Cancel(JobName { job }) => jobs::cancel(config, job, output).await,
            Self::Verify(JobName { job }) => verify::verify(config, job, output).await,
        }
    }
}
