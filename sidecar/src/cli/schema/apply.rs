//! `posthouse schema apply`: execution of a plan under the lock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::Outcome;
use super::super::notices::note;
use super::super::output::Output;
use super::show::{changes_text, summary};
use super::{Planned, plan};
use crate::cluster::Cluster;
use crate::kafka::{Client, KafkaError};
use crate::schema::{self, Action, Confirmed, DropColumnError, SchemaChange, SchemaPlan, SchemaStep};
use crate::takeover::{self, Takeover};
use crate::topics::{Lock, LockError, LockScope};

#[derive(Debug, Args)]
pub(in crate::cli) struct SchemaApply {
    /// Only show the changes; exit code 3 if there are any
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Drop this view, consumer or Distributed table to recreate it as configured, or this column
    /// of a Distributed table (TABLE.COLUMN); may be repeated
    #[arg(long, value_name = "NAME")]
    yes_drop: Vec<String>,

    /// Let this consumer read its topic from the beginning although rows are stored; may
    /// be repeated
    #[arg(long, value_name = "CONSUMER")]
    yes_replay: Vec<String>,

    /// Drop this materialized column, which the config does not name, with its index from all
    /// nodes; may be repeated
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["adopt", "hand_back"])]
    drop_column: Vec<String>,

    /// Take over from this consumer (DATABASE.TABLE) at its offsets; it is paused, not removed
    #[arg(long, value_name = "CONSUMER", conflicts_with = "hand_back")]
    adopt: Option<String>,

    /// Return to this consumer at our offsets; set consumer = "none" in the config first
    #[arg(long, value_name = "CONSUMER", conflicts_with_all = ["yes_drop", "yes_replay"])]
    hand_back: Option<String>,
}

/// JSON output of `apply`.
#[derive(Serialize)]
struct AppliedSchema {
    /// Each step as `NODE SUMMARY`.
    done: Vec<String>,
    left: Vec<SchemaPlan>,
}

impl SchemaApply {
    fn confirmed(&self) -> Confirmed {
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        Confirmed { drops: set(&self.yes_drop), replays: set(&self.yes_replay) }
    }

    fn dropped_columns(&self) -> BTreeSet<String> {
        self.drop_column.iter().cloned().collect()
    }

    /// The steps that drop the named columns after the others.
    pub(super) fn drop_steps(
        &self,
        cluster: &Cluster,
        planned: &Planned,
    ) -> Result<Vec<SchemaStep>, DropColumnError> {
        let steps = schema::drop_column_steps(&cluster.config, &planned.nodes, &self.dropped_columns())?;
        let last = planned.steps.last().map_or(0, |step| step.stage);
        Ok(steps.into_iter().map(|step| SchemaStep { stage: last + step.stage, ..step }).collect())
    }
}

pub(super) async fn run(cluster: &Cluster, verb: &SchemaApply, output: Output) -> anyhow::Result<Outcome> {
    let steps = match (&verb.adopt, &verb.hand_back) {
        (Some(consumer), _) => change_hands(cluster, Direction::Adopt(consumer), &verb.confirmed()).await?,
        (None, Some(consumer)) => {
            change_hands(cluster, Direction::HandBack(consumer), &verb.confirmed()).await?
        }
        (None, None) => changes(cluster, &verb.confirmed(), &verb.dropped_columns()).await?,
    };
    let left = plan(cluster).await?.nodes;
    let applied = AppliedSchema { done: steps, left };
    output.print(&applied, applied_text)?;
    if let Some((plan, change)) =
        applied.left.iter().find_map(|plan| Some((plan, plan.changes.iter().find(is_ours)?)))
    {
        bail!(
            "{} on {} still differs after apply: does another program change it?",
            change.object,
            plan.node
        );
    }
    Ok(Outcome::differs_if(applied.left.iter().any(|plan| !plan.changes.is_empty())))
}

async fn changes(
    cluster: &Cluster,
    confirmed: &Confirmed,
    columns: &BTreeSet<String>,
) -> anyhow::Result<Vec<String>> {
    let planned = plan(cluster).await?;
    schema::refuse_faults(&planned.settings)?;
    schema::check(&planned.nodes, confirmed)?;
    let removal = takeover::removal_steps(&planned.nodes, confirmed)?;
    schema::drop_column_steps(&cluster.config, &planned.nodes, columns)?;
    match planned.steps.is_empty() && removal.is_empty() && columns.is_empty() {
        true => Ok(Vec::new()),
        false => {
            schema::refuse_read_only(cluster).await?;
            schema::refuse_missing_rights(cluster, &[]).await?;
            locked(cluster, confirmed, columns).await
        }
    }
}

/// Direction of a takeover.
enum Direction<'a> {
    Adopt(&'a str),
    HandBack(&'a str),
}

async fn change_hands(
    cluster: &Cluster,
    direction: Direction<'_>,
    confirmed: &Confirmed,
) -> anyhow::Result<Vec<String>> {
    let client = cluster.kafka()?;
    schema::refuse_faults(&schema::node_settings(cluster).await?)?;
    schema::refuse_read_only(cluster).await?;
    let (Direction::Adopt(consumer) | Direction::HandBack(consumer)) = direction;
    let other: Vec<&str> = consumer.split_once('.').map(|(database, _)| database).into_iter().collect();
    schema::refuse_missing_rights(cluster, &other).await?;
    let stop = stop_on_signals()?;
    let lock = Lock::take(client, &LockScope::schema(&cluster.config.database)).await?;
    let takeover = Takeover { cluster, stop: &stop };
    let mut done = Vec::new();
    let report = |step: &str| {
        note(step);
        done.push(step.to_owned());
    };
    match direction {
        Direction::Adopt(consumer) => {
            let verified = takeover.adopt(consumer, confirmed, report).await?;
            note(format_args!(
                "verified: all {} partitions with messages are read up to the takeover, {} rows are stored twice since\n\
                 {consumer} stays detached: posthouse schema plan shows how to go back to it and how to remove it",
                verified.partitions, verified.twice
            ));
        }
        Direction::HandBack(consumer) => takeover.hand_back(consumer, report).await?,
    }
    drop(lock);
    Ok(done)
}

/// Repeats the plan under the lock, because the first plan may have seen the half-done work of
/// another apply.
async fn locked(
    cluster: &Cluster,
    confirmed: &Confirmed,
    columns: &BTreeSet<String>,
) -> anyhow::Result<Vec<String>> {
    let client = cluster.kafka()?;
    let lock = lock(client, &cluster.config.database).await?;
    let Planned { nodes: plans, mut steps, .. } = plan(cluster).await?;
    schema::check(&plans, confirmed)?;
    // Steps of one stage run at the same time, so the removal steps get stages after all others.
    let last = steps.last().map_or(0, |step| step.stage);
    steps.extend(
        takeover::removal_steps(&plans, confirmed)?
            .into_iter()
            .map(|step| SchemaStep { stage: last + step.stage, ..step }),
    );
    let stop = stop_on_signals()?;
    let mut done = execute(cluster, steps, &stop).await?;
    if !columns.is_empty() {
        // The first steps may have created consumers, which pause while a column is dropped.
        let plans = plan(cluster).await?.nodes;
        let steps = schema::drop_column_steps(&cluster.config, &plans, columns)?;
        done.extend(execute(cluster, steps, &stop).await?);
    }
    drop(lock);
    Ok(done)
}

/// Carries out steps and shows each. Returns them as `NODE SUMMARY`.
async fn execute(
    cluster: &Cluster,
    steps: Vec<SchemaStep>,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<String>> {
    let count = steps.len();
    let width = count.to_string().len();
    let say = |number, step: &SchemaStep| {
        note(format_args!("{number:>width$}/{count} {} {}", step.node, step.summary));
    };
    schema::apply(cluster, &steps, stop, say).await?;
    Ok(steps.into_iter().map(|step| format!("{} {}", step.node, step.summary)).collect())
}

/// Takes the lock of the schema. Without any broker there is no lock, because tables can
/// still be changed.
async fn lock(client: &Client, database: &str) -> anyhow::Result<Option<Lock>> {
    match Lock::take(client, &LockScope::schema(database)).await {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Kafka(error @ KafkaError::Unreachable { .. })) => {
            note(format_args!(
                "apply runs without a lock, so another apply can run at the same time: {error}"
            ));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns a flag that the first SIGINT or SIGTERM sets, so that apply ends once no node is paused.
/// The second signal ends the process.
fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shared = Arc::clone(&stop);
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        shared.store(true, Ordering::Relaxed);
        note("stopping once no node is paused; a second signal stops at once");
        either(&mut terminate, &mut interrupt).await;
        note("stopped at once: a node may be without its consumer; run posthouse schema apply again");
        std::process::exit(i32::from(super::super::FAILED));
    });
    Ok(stop)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn is_ours(change: &&SchemaChange) -> bool {
    !matches!(change.action, Action::Leave { .. })
}

fn applied_text(applied: &AppliedSchema) -> String {
    let steps = if applied.done.len() == 1 { "step" } else { "steps" };
    let (changes, summary) = (changes_text(&applied.left), summary(&applied.left));
    format!("{changes}{} {steps} done, {summary}", applied.done.len())
}
