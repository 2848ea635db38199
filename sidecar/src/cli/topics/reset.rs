//! `posthouse topics reset`: new offsets of a consumer group.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::super::Outcome;
use super::super::notices::note;
use super::super::output::{Output, table};
use crate::cluster::Cluster;
use crate::topics::reset::{self, ResetRequest, Target};

#[derive(Debug, Args)]
pub(in crate::cli) struct ResetCommand {
    /// Name of the consumer group
    #[arg(value_name = "GROUP")]
    group: String,

    /// New position: earliest, latest, a time, an age, or offsets by partition
    #[arg(long, value_name = "WHERE")]
    to: Target,

    /// Reset only this topic; may be repeated. Defaults to all topics of the group
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,

    /// Change the offsets; without it the command only shows the changes
    #[arg(long)]
    execute: bool,
}

/// JSON output of `topics reset`.
#[derive(Serialize)]
struct Shown {
    executed: bool,
    #[serde(flatten)]
    reset: reset::Reset,
    steps: Vec<String>,
}

pub(super) async fn run(cluster: &Cluster, verb: &ResetCommand, output: Output) -> anyhow::Result<Outcome> {
    let request = ResetRequest {
        group: verb.group.clone(),
        topics: verb.topic.iter().cloned().collect(),
        target: verb.to.clone(),
    };
    if !verb.execute {
        let found = reset::look(cluster, &request).await?;
        let reset = reset::plan(&request, &found)?;
        let done = reset.is_done();
        output.print(&Shown { executed: false, reset, steps: Vec::new() }, text)?;
        return Ok(Outcome::differs_if(!done));
    }
    let mut steps = Vec::new();
    let say = |step: String| {
        note(&step);
        steps.push(step);
    };
    let reset = reset::execute(cluster, &request, say).await?;
    output.print(&Shown { executed: true, reset, steps }, text)?;
    Ok(Outcome::Clean)
}

fn text(shown: &Shown) -> String {
    let reset = &shown.reset;
    let heading = ["topic", "partition", "from", "to", "read again", "skipped"].map(str::to_owned).to_vec();
    let rows = reset.moves.iter().map(|step| {
        vec![
            step.place.topic.clone(),
            step.place.partition.to_string(),
            step.from.map_or_else(|| "-".to_owned(), |from| from.to_string()),
            step.to.to_string(),
            step.again.to_string(),
            step.skipped.to_string(),
        ]
    });
    let mut text = table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>());
    text.extend(reset.warnings.iter().map(|warning| format!("! {warning}\n")));
    text.extend(reset.doubt.iter().map(|doubt| format!("note: {doubt}\n")));
    match (shown.executed, reset.is_done()) {
        (_, true) => text.push_str("no change: the group is at these offsets already\n"),
        (true, false) => text.push_str(&format!("group {} continues at these offsets\n", reset.group)),
        (false, false) => {
            text.push_str(&tables("drops and recreates", &reset.dropped));
            text.push_str(&tables("creates", &reset.made));
            text.push_str("dry run: --execute makes the changes\n");
        }
    }
    text
}

fn tables(what: &str, tables: &BTreeMap<String, Vec<String>>) -> String {
    tables.iter().map(|(table, nodes)| format!("{what} {table} on {}\n", nodes.join(", "))).collect()
}
