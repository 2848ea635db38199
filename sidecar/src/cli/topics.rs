//! `posthouse topics`: what the brokers lack, and creating it.

use anyhow::bail;
use clap::{Args, Subcommand};
use posthouse::config::Config;
use posthouse::topics::{self, Outcome as Done, Plan, TopicOutcome};
use serde::Serialize;

use super::Outcome;
use super::output::Output;

const FILE: &str = r#"The topics file (kafka.topics in the config):

  [defaults]
  partitions = 12
  replication_factor = 3
  config = { "retention.ms" = 604_800_000 }

  [topics.clickhouse_events_json]
  partitions = 64
  owner = "ingestion"

  [topics.clickhouse_person]

Topics that exist are left alone; where they differ, a note is printed."#;

const APPLY: &str = "\
Examples:
  posthouse topics apply --dry-run    the same as posthouse topics plan
  posthouse topics apply              create what is missing; safe to repeat";

#[derive(Debug, Subcommand)]
pub(super) enum Topics {
    /// Show what apply would do; exit code 3 if there is anything
    #[command(after_help = FILE)]
    Plan,
    /// Create the topics that are missing
    #[command(after_help = APPLY)]
    Apply(Apply),
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Only show what would be done; exit code 3 if there is anything
    #[arg(long)]
    dry_run: bool,
}

/// What `topics apply --json` prints.
#[derive(Serialize)]
struct Applied {
    topics: Vec<TopicOutcome>,
    plan: Plan,
}

impl Topics {
    pub(super) async fn run(&self, config: &Config, output: Output) -> anyhow::Result<Outcome> {
        let spec = topics::load(&config.kafka.topics)?;
        let plan = topics::plan(&spec, &topics::observe(&config.kafka).await?);
        if matches!(self, Self::Plan | Self::Apply(Apply { dry_run: true })) {
            output.print(&plan, plan_text)?;
            return Ok(Outcome::differs_if(!plan.changes.is_empty()));
        }
        let topics = topics::apply(&config.kafka, &plan.changes).await?;
        let applied = Applied { topics, plan };
        output.print(&applied, applied_text)?;
        let failed =
            applied.topics.iter().filter(|topic| matches!(topic.outcome, Done::Failed { .. })).count();
        if failed > 0 {
            bail!("{failed} of {} topics could not be created: see above", applied.topics.len());
        }
        Ok(Outcome::Clean)
    }
}

fn plan_text(plan: &Plan) -> String {
    let mut text: String = plan.changes.iter().map(|change| format!("{change}\n")).collect();
    text.extend(plan.notes.iter().map(|note| format!("{note}\n")));
    text + &format!("{} to create, {} exist", plan.changes.len(), plan.existing)
}

fn applied_text(applied: &Applied) -> String {
    let mut text = String::new();
    for done in &applied.topics {
        text.push_str(&match &done.outcome {
            Done::Created => format!("created {}\n", done.topic),
            Done::AlreadyThere => format!("{} was created by somebody else in the meantime\n", done.topic),
            Done::Failed { reason } => format!("failed {}: {reason}\n", done.topic),
        });
    }
    text.extend(applied.plan.notes.iter().map(|note| format!("{note}\n")));
    let created = applied.topics.iter().filter(|done| done.outcome == Done::Created).count();
    text + &format!("{created} created, {} existed", applied.plan.existing)
}
