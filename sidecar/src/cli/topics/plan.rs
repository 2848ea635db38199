//! `posthouse topics plan`: differences as a diff, JSON, or a saved plan.

use std::path::PathBuf;

use clap::Args;

use super::super::Outcome;
use super::super::output::{self, Output};
use super::allowed::Allowed;
use crate::cluster::Cluster;
use crate::topics::plan::Step;
use crate::topics::{self, SavedPlan};
use crate::visible::visible;

#[derive(Debug, Args)]
pub(in crate::cli) struct TopicsPlanCommand {
    #[command(flatten)]
    allowed: Allowed,

    /// Save the plan to this file, for posthouse topics apply FILE
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(
    cluster: &Cluster,
    verb: &TopicsPlanCommand,
    output: Output,
) -> anyhow::Result<Outcome> {
    let spec = topics::load(&cluster.config.kafka.topics_file)?;
    let (plan, observed) = topics::compare(cluster, &spec, &verb.allowed.options()).await?;
    if let Some(path) = &verb.output {
        SavedPlan::new(plan.clone(), &spec, &observed).write(path)?;
    }
    output.print_painted(&plan, text)?;
    Ok(Outcome::differs_if(plan.differs()))
}

pub(super) fn text(plan: &topics::TopicsPlan) -> String {
    let mut text: String = plan.steps.iter().map(step_text).collect();
    text.extend(plan.refused.iter().map(|refused| painted(&refused.to_string())));
    text + &rest(plan) + &counts(plan)
}

/// Formats the notes, one per line.
pub(super) fn rest(plan: &topics::TopicsPlan) -> String {
    plan.notes.iter().map(|note| format!("{}\n", visible(&note.to_string()))).collect()
}

pub(super) fn step_text(step: &Step) -> String {
    let mut text = painted(&step.change.to_string());
    text.extend(step.warnings.iter().map(|warning| format!("    {}\n", visible(warning))));
    if let Some(frees) = &step.frees {
        text.push_str(&visible(&format!("    {frees}\n")));
    }
    text
}

fn counts(plan: &topics::TopicsPlan) -> String {
    let topics: std::collections::BTreeSet<&str> =
        plan.steps.iter().map(|step| step.change.topic()).collect();
    format!(
        "{} to change in {} topics, {} refused, {} unchanged, {} not in the file",
        plan.steps.len(),
        topics.len(),
        plan.refused.len(),
        plan.in_line,
        plan.unlisted
    )
}

/// Returns a line in the colour of its first character.
pub(super) fn painted(line: &str) -> String {
    let colour = match line.chars().next() {
        Some('+') => "32",
        Some('~') => "33",
        Some('-' | '!') => "31",
        _ => "0",
    };
    output::painted(line, colour) + "\n"
}
