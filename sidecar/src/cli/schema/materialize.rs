//! `posthouse schema materialize`: materialized columns written into parts from before them.

use std::time::Instant;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::super::Outcome;
use super::super::output::{Output, table};
use super::super::progress_bar::{self, BarState};
use crate::cluster::Cluster;
use crate::schema::{self, MaterializePlan, MaterializeProgress, MaterializeRequest};

pub(super) const MATERIALIZE: &str = "\
Examples:
  posthouse schema materialize '$session_id' --dry-run                  what would be read and written
  posthouse schema materialize '$session_id' '$window_id' --since 2026-01

Partitions of sharded_events are written one at a time on each shard, the newest first. Parts that
have the columns are left as they are, so the same command continues after an interruption. Until
then old parts compute the columns when they are read: answers are the same before and after.";

#[derive(Debug, Args)]
pub(in crate::cli) struct Materialize {
    /// Materialized columns of the config; several are computed in one reading
    #[arg(value_name = "COLUMN", required = true)]
    columns: Vec<String>,

    /// The oldest month to write; without it all months
    #[arg(long, value_name = "YYYY-MM", value_parser = partition)]
    since: Option<String>,

    /// Only show the parts that lack the columns; exit code 3 if there are any
    #[arg(long)]
    dry_run: bool,
}

/// JSON output without `--dry-run`.
#[derive(Serialize)]
struct Materialized<'a> {
    columns: &'a [String],
    /// Partitions that were written; those of two shards count twice.
    partitions: usize,
    rows: u64,
    seconds: f64,
}

impl Materialize {
    pub(in crate::cli) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        let since = self.since.clone().unwrap_or_default();
        let request = MaterializeRequest { columns: self.columns.clone(), since };
        let plan = schema::plan_materialize(cluster, &request).await?;
        if self.dry_run {
            output.print(&plan, plan_text)?;
            return Ok(Outcome::differs_if(plan.rows() > 0));
        }
        schema::refuse_read_only(cluster).await?;
        let begin = Instant::now();
        let partitions = write(cluster, &plan).await?;
        let (columns, rows) = (plan.columns.as_slice(), plan.rows());
        let written = Materialized { columns, partitions, rows, seconds: begin.elapsed().as_secs_f64() };
        output.print(&written, |written| {
            let time = HumanDuration(begin.elapsed());
            let rows = HumanCount(written.rows);
            match written.rows {
                0 => format!("all parts have {}", written.columns.join(", ")),
                _ => format!(
                    "{} written into {rows} rows of {partitions} partitions, {time}",
                    written.columns.join(", ")
                ),
            }
        })?;
        Ok(Outcome::Clean)
    }
}

/// Reads a month as the id of its partition.
fn partition(month: &str) -> Result<String, String> {
    let is_number =
        |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    match month.split_once('-') {
        Some((year, number))
            if is_number(year, 4) && is_number(number, 2) && ("01"..="12").contains(&number) =>
        {
            Ok(format!("{year}{number}"))
        }
        _ => Err("give a month such as 2026-01".to_owned()),
    }
}

async fn write(cluster: &Cluster, plan: &MaterializePlan) -> anyhow::Result<usize> {
    let progress = MaterializeProgress::default();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let begin = Instant::now();
    let written = tokio::select! {
        written = schema::materialize(cluster, plan, &progress) => written,
        () = progress_bar::show(plan.rows(), || state(plan, &progress, begin)) => return Ok(0),
        _ = interrupt.recv() => Err(anyhow::anyhow!("stopped by a signal")),
        _ = terminate.recv() => Err(anyhow::anyhow!("stopped by a signal")),
    };
    match written {
        Ok(partitions) => Ok(partitions),
        Err(error) => Err(with_running(cluster, plan, error).await),
    }
}

/// Names the mutations that go on, because an error ends posthouse and none of them.
async fn with_running(cluster: &Cluster, plan: &MaterializePlan, error: anyhow::Error) -> anyhow::Error {
    let running = schema::running_mutations(cluster, plan).await;
    if running.is_empty() {
        return error;
    }
    let kills: Vec<String> =
        running.iter().map(|mutation| format!("  {}  {}", mutation.node, mutation.kill)).collect();
    anyhow::anyhow!(
        "{error:#}\nThese nodes go on with their partition, and the same command continues afterwards. To end them:\n{}",
        kills.join("\n")
    )
}

fn state(plan: &MaterializePlan, progress: &MaterializeProgress, begin: Instant) -> BarState {
    let (done, rows) = (progress.rows(), plan.rows());
    let eta = match (done, rows.saturating_sub(done)) {
        (0, _) => "ETA unknown".to_owned(),
        (_, left) => format!("ETA {}", HumanDuration(begin.elapsed().mul_f64(left as f64 / done as f64))),
    };
    let far = format!("{} of {} rows  {eta}", HumanCount(done), HumanCount(rows));
    BarState { done, far, pace: progress.statuses().join("; ") }
}

fn plan_text(plan: &MaterializePlan) -> String {
    let heading =
        ["shard", "node", "partition", "parts", "rows", "bytes to read"].map(str::to_owned).to_vec();
    let lines = plan.shards.iter().flat_map(|shard| {
        shard.partitions.iter().map(|partition| {
            vec![
                shard.shard.to_string(),
                shard.node.clone(),
                partition.partition.clone(),
                partition.parts.to_string(),
                HumanCount(partition.rows).to_string(),
                HumanBytes(partition.bytes).to_string(),
            ]
        })
    });
    let parts: u64 = plan.partitions().map(|partition| partition.parts).sum();
    let bytes = plan.partitions().map(|partition| partition.bytes).sum();
    let columns = plan.columns.join(", ");
    match parts {
        0 => format!("all parts have {columns}"),
        _ => format!(
            "{}{parts} parts with {} rows lack {columns}, {} to read\n",
            table(&std::iter::once(heading).chain(lines).collect::<Vec<_>>()),
            HumanCount(plan.rows()),
            HumanBytes(bytes)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_the_id_of_its_partition() {
        assert_eq!(partition("2026-01"), Ok("202601".to_owned()));
        for wrong in ["", "2026", "2026-1", "2026-13", "26-01", "2026-00", "2026-01-01", "2026-ä"] {
            assert!(partition(wrong).is_err(), "{wrong}");
        }
    }
}
