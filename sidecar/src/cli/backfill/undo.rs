//! `posthouse backfill undo`: a load is taken back.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use indicatif::HumanCount;
use serde::Serialize;

use super::jobs::find;
use super::request::recheck_after;
use crate::backfill::insert::{Route, RouteChoice};
use crate::backfill::run::DEFAULT_ANSWER_HOLDS;
use crate::backfill::undo::{
    FilesChoice, PartitionSurvey, ShardSurvey, UndoPlan, UndoReport, UndoRequest, UndoStep, at_risk_text,
    execute, longest_send, plan, rows_left,
};
use crate::cli::Outcome;
use crate::cli::notices::note;
use crate::cli::output::{Output, table};
use crate::cluster::Cluster;

pub(super) const UNDO: &str = "\
Without --execute it prints the plan: the rows of the job by shard and partition, and the events of
others that would be lost. It changes nothing.

With --execute it stops loads of the files, deletes the rows on every shard by their row ids, counts
that none is left, and records this, so that the same files can be loaded again. After a kill or a
failure run it again.

sharded_events keeps one row of an event. If a merge has removed a row of Kafka or of another job
because the job has the same event, the undo is refused, and names shards, partitions and events.

Examples:
  posthouse backfill undo 0123456789abcdef
  posthouse backfill undo 0123456789abcdef --execute
  posthouse backfill undo 0123456789abcdef --execute --files own
  posthouse backfill undo 0123456789abcdef --execute --accept-collapsed 3";

#[derive(Debug, Args)]
pub(in crate::cli) struct UndoArguments {
    /// The job id, as plan, run and list print it
    #[arg(value_name = "JOB", value_parser = NonEmptyStringValueParser::new())]
    job: String,

    /// Delete the rows
    #[arg(long)]
    execute: bool,

    /// Files to undo, where other jobs have some of them too
    #[arg(long, value_enum, value_name = "FILES")]
    files: Option<FilesArgument>,

    /// Delete the rows even if up to N events of others are lost, because merges have kept rows of
    /// the job instead of theirs
    #[arg(long, value_name = "N", default_value_t = 0)]
    accept_collapsed: u64,

    /// Time for which a load may send blocks without asking the ledger (default: 60s); kill tests
    /// use a short time
    #[arg(long, value_name = "DURATION", value_parser = recheck_after, hide = true)]
    recheck_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FilesArgument {
    /// Files that no other job has
    Own,
    /// All files, also for the other jobs
    All,
    /// Files that are undone, if verify has found rows of them
    Undone,
}

/// JSON output for a job that is undone.
#[derive(Serialize)]
struct UndoneJob<'a> {
    job: &'a str,
    undone: bool,
    rows_left: u64,
    shards: &'a [ShardSurvey],
}

impl UndoArguments {
    pub(super) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        let route = Route::choose(cluster, RouteChoice::Auto).await?;
        let job = find(&route, cluster, &self.job).await?;
        if job.is_undone() && self.files != Some(FilesArgument::Undone) {
            return prove_undone(cluster, &route, &job.job, output).await;
        }
        let files = self.files.map(|files| match files {
            FilesArgument::Own => FilesChoice::Own,
            FilesArgument::All => FilesChoice::All,
            FilesArgument::Undone => FilesChoice::Undone,
        });
        let request = UndoRequest {
            job: &job.job,
            files,
            accept_collapsed: self.accept_collapsed,
            answer_holds: match self.recheck_after {
                Some(time) => time,
                None => longest_send(cluster, DEFAULT_ANSWER_HOLDS).await?,
            },
        };
        if !self.execute {
            let plan = plan(cluster, &route, &request).await?;
            output.print(&plan, plan_text)?;
            return Ok(Outcome::Differs);
        }
        let report = execute(cluster, &route, &request, &|step| note(step_text(&step))).await?;
        output.print(&report, report_text)?;
        Ok(Outcome::differs_if(!report.fewer.is_empty()))
    }
}

/// Proves that no row of a job that is undone is stored.
pub(super) async fn prove_undone(
    cluster: &Cluster,
    route: &Route,
    job: &str,
    output: Output,
) -> anyhow::Result<Outcome> {
    let shards = rows_left(cluster, route, job).await?;
    let rows_left = shards.iter().map(ShardSurvey::rows).sum();
    let undone = UndoneJob { job, undone: true, rows_left, shards: &shards };
    output.print(&undone, |_| match rows_left {
        0 => format!("job {job} is undone: no node has any of its rows"),
        _ => left_text(job, &shards),
    })?;
    Ok(Outcome::differs_if(rows_left > 0))
}

/// Describes rows that should not be stored.
pub(super) fn left_text(job: &str, shards: &[ShardSurvey]) -> String {
    let heading = ["shard", "partition", "rows of an undone load"].map(str::to_owned).to_vec();
    let rows = shards.iter().flat_map(|survey| {
        let cells = |partition: &PartitionSurvey| {
            vec![
                survey.shard.to_string(),
                partition.partition.clone(),
                HumanCount(partition.rows).to_string(),
            ]
        };
        survey.partitions.iter().map(cells)
    });
    let text = table(&[heading].into_iter().chain(rows).collect::<Vec<_>>());
    format!(
        "{text}rows of job {job} are stored although they are undone: posthouse backfill undo {job} --files undone --execute \
         deletes them"
    )
}

fn files_text(files: usize) -> String {
    match files {
        1 => "1 file".to_owned(),
        files => format!("{} files", HumanCount(files as u64)),
    }
}

fn plan_text(plan: &UndoPlan) -> String {
    let heading =
        ["shard", "partition", "rows", "of them merged", "rows of others", "events of others at risk"];
    let rows = plan.shards.iter().flat_map(|survey| {
        survey.partitions.iter().map(|partition| {
            let counts = [partition.rows, partition.merged, partition.others, partition.risk.events];
            let counts = counts.map(|count| HumanCount(count).to_string());
            [survey.shard.to_string(), partition.partition.clone()].into_iter().chain(counts).collect()
        })
    });
    let rows: Vec<Vec<String>> = std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect();
    let listed = if rows.len() > 1 { table(&rows) } else { String::new() };
    let mut lines = vec![format!(
        "{listed}{} rows of {} of job {} would be deleted",
        HumanCount(plan.rows),
        files_text(plan.files),
        plan.job
    )];
    if plan.kept_files > 0 {
        lines.push(format!("not undone: {}", files_text(plan.kept_files)));
    }
    if plan.unrecorded_slices > 0 {
        lines.push(format!("{} slices were stored by a run that was killed", plan.unrecorded_slices));
    }
    if plan.is_begun {
        lines.push("an earlier undo has begun: --execute continues it".to_owned());
    }
    if plan.at_risk > 0 {
        lines.push(at_risk_text(&plan.job, &plan.shards));
    }
    if !plan.running.is_empty() {
        lines.push(plan.running.clone());
    }
    lines.join("\n")
}

fn step_text(step: &UndoStep) -> String {
    match step {
        UndoStep::Marked { files } => {
            format!("marked {}: no load sends rows of them any more", files_text(*files))
        }
        UndoStep::Waiting { reason } => format!("waits {reason}"),
        UndoStep::Deleting { node, partition, rows } => {
            format!("{node}: partition {partition}, deleting {rows} rows")
        }
        UndoStep::Counting => "counting rows on every node".to_owned(),
    }
}

fn report_text(report: &UndoReport) -> String {
    let mut lines = vec![format!(
        "undone: {} rows of {} in {} partitions are deleted, and no node has any of them; {} rows of others are stored \
         there. The same files can be loaded again",
        HumanCount(report.rows),
        files_text(report.files),
        report.partitions,
        HumanCount(report.other_rows)
    )];
    for fewer in &report.fewer {
        lines.push(format!(
            "shard {}, partition {}: {} rows of others before, {} now: look for merges of equal events, a TTL or other \
             mutations of that time",
            fewer.shard, fewer.partition, fewer.before, fewer.after
        ));
    }
    lines.join("\n")
}
