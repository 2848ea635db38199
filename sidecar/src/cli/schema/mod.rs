//! `posthouse schema`: tables and views of every node.

mod apply;
mod import;
mod materialize;
mod show;
mod unused_fields;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;

use self::apply::SchemaApply;
use self::import::SchemaImport;
use self::materialize::{MATERIALIZE, Materialize};
use self::show::{changes_text, feeders_text, plan_text, readers_text, summary, unmanaged_text};
use self::unused_fields::{UNUSED_FIELDS, UnusedFields};
use super::Outcome;
use super::output::Output;
use crate::cluster::Cluster;
use crate::schema::{self, SchemaPlan, SchemaStep, SettingFinding};
use crate::topics::groups::{self, TopicReader};

const RENDER: &str = "\
Example:
  posthouse schema render --node ch2 | less    the SQL statements of ch2";

const PLAN: &str = "\
Signs:  + created    ~ altered or recreated    - dropped    ! differs, left to you, or a faulty setting    i note
The last line has the options that confirm what apply would drop.";

const APPLY: &str = "\
Examples:
  posthouse schema apply --dry-run    the same as posthouse schema plan
  posthouse schema apply              run the steps; safe to repeat, also after a failure
  posthouse schema apply --yes-drop events_mv    the same, if the plan recreates a view
  posthouse schema apply --drop-column 'mat_$browser'    drop a column that was removed from the config

One node after the other stops consuming while its tables change, and resumes at its offsets:
no row is lost or stored twice.";

const IMPORT: &str = "\
Example:
  posthouse schema import --url http://ch1:8123 > posthouse.toml
  posthouse schema plan";

#[derive(Debug, Subcommand)]
pub(super) enum Schema {
    /// Print the SQL statements of a node without any connection
    #[command(after_help = RENDER)]
    Render(Render),
    /// Show the differences of every node from the config, and the steps of apply
    #[command(after_help = PLAN)]
    Plan,
    /// Change tables and views of every node as planned, then compare them with the config again
    #[command(after_help = APPLY)]
    Apply(SchemaApply),
    /// Compare every node with the config; exit code 3 if there are differences
    Check,
    /// Write the config of a running cluster, whose first plan is empty or small; needs
    /// no config file
    #[command(after_help = IMPORT)]
    Import(SchemaImport),
    /// Write materialized columns into parts from before them, month after month
    #[command(after_help = MATERIALIZE)]
    Materialize(Materialize),
    /// Name the fields of messages that no column stores; exit code 3 if there are any
    #[command(after_help = UNUSED_FIELDS)]
    UnusedFields(UnusedFields),
}

#[derive(Debug, Args)]
pub(super) struct Render {
    /// Name of the node in the config; defaults to the first node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

/// JSON output of `plan` and `check`.
#[derive(Serialize)]
struct Planned {
    nodes: Vec<SchemaPlan>,
    /// Groups that read the topic of events and are neither ours nor a feeder's. The tables that
    /// they write are unknown.
    readers: Vec<TopicReader>,
    /// Settings of the nodes that break the tables, or that an operator should know.
    settings: Vec<SettingFinding>,
    steps: Vec<SchemaStep>,
}

/// JSON output of `render`.
#[derive(Serialize)]
struct Rendered {
    object: &'static str,
    sql: String,
}

impl Schema {
    pub(super) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        match self {
            Self::Render(arguments) => render(cluster, arguments.node.as_deref(), output),
            Self::Plan => {
                let planned = plan(cluster).await?;
                output.print(&planned, plan_text)?;
                Ok(planned.outcome())
            }
            Self::Apply(verb) if verb.dry_run => {
                let mut planned = plan(cluster).await?;
                let drops = verb.drop_steps(cluster, &planned)?;
                let outcome = if drops.is_empty() { planned.outcome() } else { Outcome::Differs };
                planned.steps.extend(drops);
                output.print(&planned, plan_text)?;
                Ok(outcome)
            }
            Self::Check => {
                let planned = plan(cluster).await?;
                output.print(&planned, check_text)?;
                Ok(planned.outcome())
            }
            Self::Import(verb) => verb.run(output).await,
            Self::Materialize(verb) => verb.run(cluster, output).await,
            Self::UnusedFields(verb) => verb.run(cluster, output).await,
            Self::Apply(verb) => apply::run(cluster, verb, output).await,
        }
    }
}

impl Planned {
    fn outcome(&self) -> Outcome {
        let faults = schema::refuse_faults(&self.settings).is_err();
        Outcome::differs_if(faults || self.nodes.iter().any(|plan| !plan.changes.is_empty()))
    }
}

fn render(cluster: &Cluster, name: Option<&str>, output: Output) -> anyhow::Result<Outcome> {
    let node = match name {
        None => cluster.all_nodes.first().context("the config has no node")?,
        Some(name) => cluster.all_nodes.iter().find(|node| node.name == name).with_context(|| {
            let names: Vec<&str> = cluster.all_nodes.iter().map(|node| node.name.as_str()).collect();
            format!("the config has no node {name}: take one of {}", names.join(", "))
        })?,
    };
    let mut statements = schema::render(&cluster.config, node)?;
    statements.retain(|statement| statement.object.is_desired(&cluster.config, node));
    let statements = statements.into_iter();
    let rendered: Vec<Rendered> =
        statements.map(|statement| Rendered { object: statement.object.name, sql: statement.sql }).collect();
    let text = |rendered: &Vec<Rendered>| {
        rendered.iter().map(|statement| format!("{};\n", statement.sql)).collect::<Vec<_>>().join("\n")
    };
    output.print(&rendered, text)?;
    Ok(Outcome::Clean)
}

async fn plan(cluster: &Cluster) -> anyhow::Result<Planned> {
    crate::node::reach_all(&cluster.all_nodes).await?;
    let replays = groups::replays(cluster).await?;
    let mut plans = schema::observe(cluster, replays).await?;
    let steps = schema::steps(&cluster.config.database, &plans)?;
    let readers = match plans.iter().all(|plan| plan.changes.is_empty() && plan.feeders.is_empty()) {
        true => Vec::new(),
        false => other_readers(cluster, &mut plans).await,
    };
    let settings = schema::node_settings(cluster).await?;
    Ok(Planned { nodes: plans, readers, settings, steps })
}

/// Sets the lag of feeders and returns the groups that belong to no feeder. Returns no groups if
/// the brokers do not answer, so that the plan is shown all the same.
async fn other_readers(cluster: &Cluster, plans: &mut [SchemaPlan]) -> Vec<TopicReader> {
    let mut readers = match groups::readers(cluster, &cluster.config.events.topic).await {
        Ok(readers) => readers,
        Err(error) => {
            tracing::warn!(topic = cluster.config.events.topic, error = %error, "consumer groups can't be read");
            return Vec::new();
        }
    };
    for feeder in plans.iter_mut().flat_map(|plan| &mut plan.feeders) {
        let group = feeder.consumer.as_ref().map(|table| table.group.as_str());
        let reader = readers.iter().find(|reader| Some(reader.group.as_str()) == group);
        feeder.lag = reader.map(|reader| reader.lag);
    }
    let feeds = |reader: &TopicReader| {
        let mut feeders = plans.iter().flat_map(|plan| &plan.feeders);
        feeders.any(|feeder| feeder.consumer.as_ref().is_some_and(|table| table.group == reader.group))
    };
    readers.retain(|reader| reader.group != cluster.config.events.group && !feeds(reader));
    readers
}

fn check_text(planned: &Planned) -> String {
    let plans = &planned.nodes;
    schema::settings_text(&planned.settings)
        + &feeders_text(plans)
        + &readers_text(&planned.readers)
        + &changes_text(plans)
        + &unmanaged_text(plans)
        + &summary(plans)
}
