//! `posthouse topics`: topics and consumer groups.

mod allowed;
mod apply;
mod check;
mod groups;
mod import;
mod plan;
mod reset;

use clap::Subcommand;

use super::Outcome;
use super::output::Output;
use crate::cluster::Cluster;

const FILE: &str = r#"The topics file (kafka.topics_file in the config; posthouse topics import writes it from a live cluster):

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
  manage = "adopt"                          # never created; only the keys named here are applied
  config = { "max.message.bytes" = 2_097_152 }

  [topics.legacy]
  manage = "ignore"                         # another program's

  [topics.old_events]
  delete = true                             # with --yes-delete old_events, once no group reads it

Topics that the file does not name are never touched.

Signs:  + created    ~ changed    - deleted    ! refused

Examples:
  posthouse topics plan                       what apply would do
  posthouse topics plan -o topics.plan        save it, for posthouse topics apply topics.plan
  posthouse topics plan --prune --json        also reset configs that the file no longer names, as JSON"#;

const APPLY: &str = "\
Examples:
  posthouse topics apply                            apply the topics file; safe to repeat
  posthouse topics apply --dry-run                  the same as posthouse topics plan
  posthouse topics apply topics.plan                apply a saved plan, if the cluster is unchanged
  posthouse topics apply --max-retention-drop 12h   let a retention drop by at most 12 hours at once
  posthouse topics apply --yes-delete old_events    delete a topic that the file marks for deletion

Only one apply runs at a time.";

const IMPORT: &str = "\
Examples:
  posthouse topics import                 print the file
  posthouse topics import -o topics.toml  write it; an existing file is not overwritten
  posthouse topics import --json          the same contents as JSON";

const GROUPS: &str = "\
The offsets are Keeper's if a Kafka table keeps them there (the group's follow after each block),
else the group's. Tables with offsets in Keeper are not members, so their group is Empty.

Examples:
  posthouse topics groups                     every group and topic
  posthouse topics groups clickhouse_events   every partition of a group";

const CHECK: &str = "\
Prints a line for each finding, faults (messages are lost or not read) before warnings: stalled
groups, with the server's reason; Kafka tables of the schema that a node lacks or has detached;
replicas in Keeper without a table; consumers without a partition, messages that are deleted unread
or soon will be, messages too large for their readers, groups without tables and tables without
offsets, topics that are missing, tables of one group that disagree, another producer's messages
among the persons that posthouse publishes.

A group is stalled if its oldest unread message is a minute old and its offset does not move for
15 s. The check takes that long if a group seems stalled, and ends at once if no message waits.

Example:
  posthouse topics check --json | jq '.findings[] | select(.severity == \"fault\")'";

const RESET: &str = "\
Without --execute it only shows the old and new offset of each partition, and how many messages are
read again or skipped. Messages that are read again may be stored twice.

A group with members is refused. For the group of the schema's own Kafka tables, --execute drops
these on every node (their views and all data stay), commits the offsets, and recreates the tables;
all nodes have to answer. If it is killed, run the same command again, or posthouse schema apply to
continue at the group's offsets.

Examples:
  posthouse topics reset clickhouse_events --to 24h            show a replay of the last day
  posthouse topics reset clickhouse_events --to 24h --execute  replay it
  posthouse topics reset billing --to 2026-11-01T00:00:00Z     from the first message at or after a time
  posthouse topics reset billing --topic orders --to 0:12,1:4  only these partitions
  posthouse topics reset billing --to latest --execute         skip unread messages";

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
    pub(super) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        match self {
            Self::Plan(verb) => plan::run(cluster, verb, output).await,
            Self::Apply(verb) => apply::run(cluster, verb, output).await,
            Self::Import(verb) => import::run(cluster, verb, output).await,
            Self::Groups(verb) => groups::run(cluster, verb, output).await,
            Self::Reset(verb) => reset::run(cluster, verb, output).await,
            Self::Check => check::run(cluster, output).await,
        }
    }
}
