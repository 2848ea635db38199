//! `posthouse topics`: topics and consumer groups.

mod allowed;
mod apply;
mod check;
mod groups;
mod import;
mod plan;
mod reset;

use clap::Subcommand;
use posthouse::config::Config;

use super::Outcome;
use super::output::Output;

const FILE: &str = r#"The topics file (kafka.topics in the config; posthouse topics import writes it from a live cluster):

  cluster_id = "MkU3OEVBNTcwNTJENDM2Qg"     # optional: refuse any other cluster

  [defaults]
  partitions = 12
  replication_factor = 3
  config = { "retention.ms" = 604_800_000 }

  [topics.clickhouse_events_json]
  partitions = 64
  owner = "ingestion"                       # for people

  [topics.clickhouse_person]

  [topics.orders]
  manage = "adopt"                          # never created; only what is named here is brought in line
  config = { "max.message.bytes" = 2_097_152 }

  [topics.legacy]
  manage = "ignore"                         # somebody else's

  [topics.old_events]
  delete = true                             # with --yes-delete old_events, once nobody reads it

Topics that the file does not name are never touched.

Lines begin with + created, ~ changed, - deleted, ! refused. Exit code 3 if there is anything of these.

Examples:
  posthouse topics plan                       what apply would do
  posthouse topics plan -o topics.plan        keep it, for posthouse topics apply topics.plan
  posthouse topics plan --prune --json        with configs that the file no longer names, for programs"#;

const APPLY: &str = "\
Examples:
  posthouse topics apply                            bring the brokers in line; safe to repeat
  posthouse topics apply --dry-run                  the same as posthouse topics plan
  posthouse topics apply topics.plan                do a kept plan, if the cluster is still as it was
  posthouse topics apply --max-retention-drop 12h   let a retention drop by at most 12 hours at once
  posthouse topics apply --yes-delete old_events    delete what the file wants deleted

Exit code 3 if something was refused or steps are left, 1 if something failed. Only one apply runs at a time.";

const IMPORT: &str = "\
Examples:
  posthouse topics import                 print it
  posthouse topics import -o topics.toml  write it; an existing file is not overwritten
  posthouse topics import --json          the same contents as JSON, for programs";

const GROUPS: &str = "\
Whose offsets count: Keeper's where a Kafka table keeps them there (the group's follow after each
block), else the group's. Such tables read without being members: their group is Empty all the same.

Examples:
  posthouse topics groups                     every group and topic
  posthouse topics groups clickhouse_events   every partition of a group";

const CHECK: &str = "\
A line for each finding, faults (something is lost or not read) before warnings: groups that stand
still while messages wait, with the server's reason; Kafka tables of the schema that a node lacks or
has detached; replicas in Keeper without a table; consumers without a partition, messages that are
deleted unread or soon will be, messages too large for their readers, groups without tables and
tables without offsets, topics that are missing, tables of one group that disagree,
another producer's messages among the persons that posthouse publishes.

A group stands still if its oldest unread message is a minute old and its offset does not move for
15 s: the check looks again for so long where it seems so, and ends at once where nothing waits.

Exit code 3 if anything is found: for cron and alerts.

Example:
  posthouse topics check --json | jq '.findings[] | select(.severity == \"fault\")'";

const RESET: &str = "\
Without --execute it only shows, for each partition, from where to where, and what is read again or
skipped (exit code 3). Messages that are read again may be stored twice.

A group that somebody reads in is refused. For the group of the schema's own Kafka tables, --execute
drops these on every node (their views and all data stay), commits the offsets, and makes the tables
again; all nodes have to answer. If it is killed, run the same command again, or posthouse schema
apply to go on from where the group is.

Examples:
  posthouse topics reset clickhouse_events --to 24h            show: the last day again
  posthouse topics reset clickhouse_events --to 24h --execute  do it
  posthouse topics reset billing --to 2026-11-01T00:00:00Z     from the first message of a time on
  posthouse topics reset billing --topic orders --to 0:12,1:4  these partitions; the others stay
  posthouse topics reset billing --to latest --execute         skip what was not read";

#[derive(Debug, Subcommand)]
pub(super) enum Topics {
    /// Show the changes that apply would make; exit code 3 if there are any
    #[command(after_help = FILE)]
    Plan(plan::TopicsPlanCommand),
    /// Create, change and delete topics as configured, and refuse changes that would lose data
    #[command(after_help = APPLY)]
    Apply(apply::TopicsApply),
    /// Write a topics file from the topics of the brokers
    #[command(after_help = IMPORT)]
    Import(import::TopicsImport),
    /// Show offsets and lag of consumer groups
    #[command(after_help = GROUPS)]
    Groups(groups::Groups),
    /// Reset a consumer group's offsets (dry run unless --execute)
    #[command(after_help = RESET)]
    Reset(reset::ResetCommand),
    /// Compare topics, groups and Kafka tables; exit code 3 if there are findings
    #[command(after_help = CHECK)]
    Check,
}

impl Topics {
    pub(super) async fn run(&self, config: &Config, output: Output) -> anyhow::Result<Outcome> {
        match self {
            Self::Plan(verb) => plan::run(config, verb, output).await,
            Self::Apply(verb) => apply::run(config, verb, output).await,
            Self::Import(verb) => import::run(config, verb, output).await,
            Self::Groups(verb) => groups::run(config, verb, output).await,
            Self::Reset(verb) => reset::run(config, verb, output).await,
            Self::Check => check::run(config, output).await,
        }
    }
}
