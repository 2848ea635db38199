//! `posthouse topics apply`: execution of a plan, new or saved.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::super::Outcome;
use super::super::output::Output;
use super::allowed::Allowed;
use super::plan::{painted, rest, step_text, text};
use crate::cluster::Cluster;
use crate::topics::{self, AppliedStep, Lock, LockScope, SavedPlan, StepOutcome as Done};

#[derive(Debug, Args)]
pub(in crate::cli) struct TopicsApply {
    /// A plan saved by posthouse topics plan -o FILE; without it the topics file is compared now
    #[arg(value_name = "FILE", conflicts_with_all = ["prune", "max_retention_drop", "yes_delete", "yes_loss"])]
    plan: Option<PathBuf>,

    #[command(flatten)]
    allowed: Allowed,

    /// Only show the changes; exit code 3 if there are any
    #[arg(long)]
    dry_run: bool,
}

/// JSON output of `topics apply`.
#[derive(Serialize)]
struct Result {
    applied: Vec<AppliedStep>,
    plan: topics::TopicsPlan,
}

pub(super) async fn run(cluster: &Cluster, verb: &TopicsApply, output: Output) -> anyhow::Result<Outcome> {
    let client = cluster.kafka()?;
    let plan = match &verb.plan {
        Some(path) => kept(cluster, &SavedPlan::read(path)?).await?,
        None => fresh(cluster, verb).await?,
    };
    if verb.dry_run || plan.steps.is_empty() {
        output.print_painted(&plan, text)?;
        return Ok(Outcome::differs_if(plan.differs()));
    }
    let lock = Lock::take(client, &LockScope::topics()).await?;
    // The comparison before the lock may have seen the half-done work of another apply.
    let plan = match &verb.plan {
        Some(path) => kept(cluster, &SavedPlan::read(path)?).await?,
        None => fresh(cluster, verb).await?,
    };
    let applied = topics::apply(client, &lock, &plan.steps).await?;
    drop(lock);
    let result = Result { applied, plan };
    output.print_painted(&result, applied_text)?;
    let failed = result.applied.iter().filter(|applied| is_failed(applied)).count();
    if failed > 0 {
        bail!("{failed} of {} changes failed: see above", result.applied.len());
    }
    let left = result.applied.iter().any(|applied| applied.step.towards.is_some());
    Ok(Outcome::differs_if(left || !result.plan.refused.is_empty()))
}

async fn fresh(cluster: &Cluster, verb: &TopicsApply) -> anyhow::Result<topics::TopicsPlan> {
    let spec = topics::load(&cluster.config.kafka.topics_file)?;
    Ok(topics::compare(cluster, &spec, &verb.allowed.options()).await?.0)
}

async fn kept(cluster: &Cluster, saved: &SavedPlan) -> anyhow::Result<topics::TopicsPlan> {
    let observed = topics::observe(cluster, &saved.spec()).await?;
    saved.check(&observed)?;
    Ok(saved.plan.clone())
}

fn is_failed(applied: &AppliedStep) -> bool {
    matches!(applied.outcome, Done::Failed { .. })
}

fn applied_text(result: &Result) -> String {
    let mut text = String::new();
    for AppliedStep { step, outcome } in &result.applied {
        match outcome {
            Done::Done => text.push_str(&step_text(step)),
            Done::AlreadyDone => {
                text.push_str(&format!("  {}: another program has done it already\n", step.change));
            }
            Done::Failed { reason } => {
                text.push_str(&painted(&format!("! failed {}: {reason}", step.change)));
            }
        }
    }
    text.extend(result.plan.refused.iter().map(|refused| painted(&refused.to_string())));
    text.push_str(&rest(&result.plan));
    let failed = result.applied.iter().filter(|applied| is_failed(applied)).count();
    text + &format!(
        "{} done, {failed} failed, {} refused, {} topics unchanged",
        result.applied.len() - failed,
        result.plan.refused.len(),
        result.plan.in_line
    )
}
