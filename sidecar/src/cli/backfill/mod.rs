//! `posthouse backfill`: loads of Parquet files into the shards, exactly once.

mod bar;
mod jobs;
mod not_loaded;
mod plan;
mod request;
mod run;
mod stop;
mod undo;
mod verify;
mod watch;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use crate::cluster::Cluster;

pub(super) use self::request::{LoadArguments, SourceArguments, WatchArguments};
pub(super) use self::undo::UndoArguments;
use super::Outcome;
use super::output::Output;

const PLAN: &str = "\
Examples:
  posthouse backfill plan exports/ --mapping posthog-export --team-id 7
  posthouse backfill plan 's3://bucket/2025/**/*.parquet' --mapping mapping.toml --json

Reads footers only and does not write. The tables must exist: posthouse schema apply.

Mappings by name:
  posthog-export                       PostHog's own batch exports; add --team-id
  identity                             columns named as in writable_events
  segment-tracks, -pages, -identifies  warehouse tables of Segment and RudderStack; add --team-id
  amplitude, mixpanel, snowplow        exports of these vendors; add --team-id

A mapping.toml names the file's column for each column of the events; mapping.example.toml shows every key:
  uuid = \"id\"
  event = \"name\"
  properties = \"payload\"                                   text, or a struct, map or list
  timestamp = { column = \"at\", zone = \"Europe/Berlin\" }
  team_id = { constant = 7 }                               or --team-id 7
  distinct_id = { column = [\"user\", \"device\"], default = \"anonymous\" }   the first that is not null
  uuid = { column = \"key\", namespace = \"…\" }             a UUID of any id
  properties = { columns = [\"*\"] }                        all columns that no other key reads
Columns that a file lacks are looked for in its path, such as team_id=7/.
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

const WATCH: &str = "\
Examples:
  posthouse backfill watch exports/ --mapping posthog-export --team-id 7
  posthouse backfill watch s3://bucket/events/ --mapping mapping.toml --every 5m --max-rejects 0.1%
  posthouse backfill watch s3://bucket/events/ --mapping mapping.toml --manifest '*_manifest.json'

Lists the sources every 30 s and loads the files that the ledger does not have, each exactly once, also if several \
watches run or one is killed. A file counts as complete when its size and modification time were unchanged for \
--at-rest and its footer can be read, and with --manifest once a marker covers it. A file that can't be loaded is logged once, counted and tried again later; the \
others are loaded.
Serves --listen (http://127.0.0.1:9366 by default): /live, /ready (503 and the reason while a source or the cluster \
does not answer), /health and /metrics, for Prometheus. SIGTERM or Ctrl-C ends it after the blocks in flight, a second \
one at once.";

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
    /// Load files as they appear, each exactly once, until a signal ends it
    #[command(after_help = WATCH)]
    Watch(WatchArguments),
    /// Show the progress of one job
    Status(JobName),
    /// List all jobs
    List,
    /// Stop a running load, on any machine; stored rows stay
    Cancel(JobName),
    /// Take the rows of a job out again (plan only unless --execute)
    #[command(after_help = undo::UNDO)]
    Undo(UndoArguments),
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
            Self::Watch(watch) => watch::watch(cluster, watch, output).await,
            Self::Status(JobName { job }) => jobs::status(cluster, job, output).await,
            Self::List => jobs::list(cluster, output).await,
            Self::Cancel(JobName { job }) => jobs::cancel(cluster, job, output).await,
            Self::Undo(arguments) => arguments.run(cluster, output).await,
            Self::Verify(JobName { job }) => verify::verify(cluster, job, output).await,
        }
    }
}
