//! `posthouse backfill`: loads of Parquet files into the shards, exactly once.

mod bar;
mod jobs;
mod not_loaded;
mod plan;
mod request;
mod run;
mod verify;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use crate::cluster::Cluster;

pub(super) use self::request::{LoadArguments, SourceArguments};
use super::Outcome;
use super::output::Output;

const PLAN: &str = "\
Examples:
  posthouse backfill plan exports/ --mapping posthog-export --team-id 7
  posthouse backfill plan 's3://bucket/2025/**/*.parquet' --mapping mapping.toml --json

Reads footers only and does not write. The tables must exist: posthouse schema apply.

A mapping.toml names the file's column for each column of the events; mapping.example.toml shows every key:
  uuid = \"id\"
  event = \"name\"
  properties = \"payload\"                                   text, or a struct, map or list
  timestamp = { column = \"at\", zone = \"Europe/Berlin\" }
  team_id = { constant = 7 }                               or --team-id 7
  distinct_id = { column = \"user\", default = \"anonymous\" }
Columns that the config has beyond these have keys too; presets fill them by name.

Environment variables of object stores:
  s3://   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN for temporary ones, AWS_REGION;
          AWS_ENDPOINT_URL for another store (AWS_ALLOW_HTTP=true without TLS);
          AWS_SKIP_SIGNATURE=true for a public bucket
  gs://   GOOGLE_APPLICATION_CREDENTIALS; GOOGLE_SKIP_SIGNATURE=true for a public bucket";

const RUN: &str = "\
Examples:
  posthouse backfill run exports/ --mapping posthog-export --team-id 7
  posthouse backfill run 's3://bucket/2025/*.parquet' --mapping mapping.toml --partition 2/3
  posthouse backfill run exports/ --mapping identity --dry-run

After a stop or kill at any point, the same command resumes the load: every row is stored once. \
At the end it verifies, shard by shard, that ClickHouse has exactly the rows of the files.";

const VERIFY: &str = "\
Example:
  posthouse backfill verify 0123456789abcdef";

#[derive(Debug, Subcommand)]
pub(super) enum Backfill {
    /// Show the plan of a load: files, rows, partitions, time, parts
    #[command(after_help = PLAN)]
    Plan(SourceArguments),
    /// Load the files, or resume a stopped load, and verify the result
    #[command(after_help = RUN)]
    Run(LoadArguments),
    /// Show the progress of one job
    Status(JobName),
    /// List all jobs
    List,
    /// Stop a running load, on any machine; stored rows stay
    Cancel(JobName),
    /// Compare the rows in ClickHouse with the rows of the files
    #[command(after_help = VERIFY)]
    Verify(JobName),
}

#[derive(Debug, Args)]
pub(super) struct JobName {
    /// The job id, as plan, run and list print it
    #[arg(value_name = "JOB", value_parser = NonEmptyStringValueParser::new())]
    job: String,
}

impl Backfill {
    pub(super) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        match self {
            Self::Plan(sources) => plan::plan(cluster, sources, output).await,
            Self::Run(load) => run::run(cluster, load, output).await,
            Self::Status(JobName { job }) => jobs::status(cluster, job, output).await,
            Self::List => jobs::list(cluster, output).await,
            Self::Cancel(JobName { job }) => jobs::cancel(cluster, job, output).await,
            Self::Verify(JobName { job }) => verify::verify(cluster, job, output).await,
        }
    }
}
