//! `posthouse backfill run`: load, progress, clean stop and verification.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde::Serialize;

use super::request::LoadArguments;
use super::stop::on_signals;
use super::{bar, not_loaded, plan as plan_of, verify};
use crate::backfill::insert::Route;
use crate::backfill::memory::{block_bytes, decoding, largest_slice, memory_for};
use crate::backfill::plan::{Bundle, ExtraSummary, LoadPlan, Summary, UnreadColumn};
use crate::backfill::run::{
    DEFAULT_ANSWER_HOLDS, Limits, Progress, RejectExample, RejectLimit, RejectReason, ShardMonthSummary,
    Stop, dry_run as rehearsed, run as load_rows,
};
use crate::backfill::verify::Proof;
use crate::cli::Outcome;
use crate::cli::notices::note;
use crate::cli::output::{Output, table};
use crate::cluster::Cluster;

/// JSON output of `run`.
#[derive(Serialize)]
struct LoadedJob {
    job: String,
    /// Rows stored by this run, and rows stored before it.
    stored: u64,
    before: u64,
    /// Rows rejected by this run, and in units that earlier runs did.
    rejected: u64,
    rejected_before: u64,
    blocks: u64,
    bytes: u64,
    seconds: f64,
    /// Reason of an early end.
    stopped: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
    /// Folder of the rejected rows.
    quarantine: String,
    #[serde(flatten)]
    columns: LoadedColumns,
    #[serde(skip)]
    no_verify: bool,
}

/// The plan's columns, in the JSON output.
#[derive(Serialize)]
struct LoadedColumns {
    /// Columns beyond the core that some files fill.
    filled: Vec<ExtraSummary>,
    /// Columns beyond the core that get their type's default in some files.
    defaulted: Vec<ExtraSummary>,
    /// Columns of the files that the mapping does not read.
    not_loaded: Vec<UnreadColumn>,
}

pub(super) async fn run(cluster: &Cluster, load: &LoadArguments, output: Output) -> anyhow::Result<Outcome> {
    let request = load.sources.request(&cluster.config.events.columns)?;
    let route = Route::choose(cluster, load.sources.files.route()).await?;
    let plan = Arc::new(plan_of::make(cluster, &route, &request).await?);
    let planned = Summary::of(&plan, &route, &cluster.config.events.columns);
    note(plan_of::text(&planned).trim_end());
    not_loaded::warn(&planned);
    let Summary { filled, defaulted, not_loaded, .. } = planned;
    let columns = LoadedColumns { filled, defaulted, not_loaded };
    let memory = load.sources.files.memory_bytes();
    warn_of_slices(&plan, memory);
    let mut limits = Limits {
        block_bytes: block_bytes(memory, plan.page_bytes),
        decoding: decoding(memory, plan.page_bytes),
        rejects: load.rejects.max_rejects,
        quarantine: Some(load.rejects.quarantine.clone()),
        answer_holds: load.recheck_after.unwrap_or(DEFAULT_ANSWER_HOLDS),
    };
    let (progress, begin) = (Arc::new(Progress::default()), Instant::now());
    let interrupted = progress.clone();
    tokio::spawn(on_signals(move || interrupted.stop(Stop::Interrupted), output));
    if load.dry_run {
        (limits.rejects, limits.quarantine) = (RejectLimit::Rows(u64::MAX), None);
        return dry_run(&route, plan, &limits, progress, columns, output).await;
    }
    let stopped = {
        let work = load_rows(&cluster.config, &route, plan.clone(), &limits, progress.clone());
        tokio::select! {
            done = work => done?,
            () = bar::show(&progress, plan.rows()) => None,
        }
    };
    let proof = match (stopped, load.no_verify) {
        (None, false) => Some(verify::prove(cluster, &route, &plan, limits.decoding).await?),
        _ => None,
    };
    let loaded = summary(&plan, &progress, load, begin.elapsed(), stopped, proof, columns);
    // A share of a split load is done before the whole job is.
    let differs = loaded.proof.as_ref().is_some_and(|proof| proof.complete && !proof.is_proven());
    output.print(&loaded, text)?;
    if let Some(stopped) = loaded.stopped {
        anyhow::bail!("{stopped} before the end: the same command resumes");
    }
    Ok(Outcome::differs_if(differs))
}

/// A file that was begun keeps its slices, regardless of this machine's memory.
fn warn_of_slices(plan: &LoadPlan, memory: NonZeroU64) {
    let largest = plan.bundles.iter().map(Bundle::slice_bytes).max().unwrap_or_default();
    if largest > largest_slice(memory, plan.page_bytes).get() {
        tracing::warn!(
            slice_mib = largest >> 20,
            hint = %format_args!("--memory {}MiB", memory_for(largest)),
            "slices of started files need more memory than --memory"
        );
    }
}

/// JSON output of `run --dry-run`.
#[derive(Serialize)]
struct Rehearsed {
    job: String,
    read: u64,
    rejected: u64,
    /// Reasons of the rejected rows, the most frequent first.
    reasons: Vec<RejectReason>,
    shares: Vec<ShardMonthSummary>,
    #[serde(flatten)]
    columns: LoadedColumns,
}

async fn dry_run(
    route: &Route,
    plan: Arc<LoadPlan>,
    limits: &Limits,
    progress: Arc<Progress>,
    columns: LoadedColumns,
    output: Output,
) -> anyhow::Result<Outcome> {
    let (job, rows) = (plan.job.clone(), plan.rows());
    let work = rehearsed(route, plan, limits, progress.clone());
    let (shares, stopped) = tokio::select! {
        done = work => done?,
        () = bar::show_dry_run(&progress, rows) => return Ok(Outcome::Clean),
    };
    anyhow::ensure!(stopped.is_none(), "stopped before the end; no rows were written");
    let (read, rejected) = (progress.read.get(), progress.rejected.get());
    let reasons = progress.reject_reasons.all();
    output.print(&Rehearsed { job, read, rejected, reasons, shares, columns }, rehearsed_text)?;
    Ok(Outcome::Clean)
}

fn rehearsed_text(rehearsed: &Rehearsed) -> String {
    let heading = ["shard", "month", "rows", "parts", "bytes"].map(str::to_owned).to_vec();
    let lines = rehearsed.shares.iter().map(|share| {
        vec![
            share.shard.to_string(),
            share.month.to_string(),
            HumanCount(share.rows).to_string(),
            share.blocks.to_string(),
            HumanBytes(share.bytes).to_string(),
        ]
    });
    let mut text = table(&[heading].into_iter().chain(lines).collect::<Vec<_>>());
    let (read, rejected) = (HumanCount(rehearsed.read), HumanCount(rehearsed.rejected));
    text.push_str(&format!("{read} rows read, {rejected} rejected, none written\n"));
    if rehearsed.rejected > 0 {
        text.push_str(&reasons_text(&rehearsed.reasons));
        text.push_str(&format!("a load stops unless --max-rejects allows {}\n", rehearsed.rejected));
    }
    text
}

/// Formats the reasons of rejected rows with an example each.
fn reasons_text(reasons: &[RejectReason]) -> String {
    let heading = ["rejected", "reason", "for example"].map(str::to_owned).to_vec();
    let lines = reasons.iter().map(|RejectReason { reason, rows, example }| {
        let RejectExample { location, row_group, row, reason: text } = example;
        let example = format!("row {row} of row group {row_group} of {location}: {text}");
        vec![HumanCount(*rows).to_string(), reason.clone(), example]
    });
    table(&[heading].into_iter().chain(lines).collect::<Vec<_>>())
}

fn summary(
    plan: &LoadPlan,
    progress: &Progress,
    load: &LoadArguments,
    time: Duration,
    stopped: Option<Stop>,
    proof: Option<Proof>,
    columns: LoadedColumns,
) -> LoadedJob {
    LoadedJob {
        job: plan.job.clone(),
        stored: progress.stored.get(),
        before: progress.before.get(),
        rejected: progress.rejected.get(),
        rejected_before: plan.rejected(),
        blocks: progress.blocks.get(),
        bytes: progress.bytes.get(),
        seconds: time.as_secs_f64(),
        stopped: stopped.map(|stop| match stop {
            Stop::Interrupted => "interrupted",
            Stop::Cancelled => "cancelled",
            Stop::Failed => "failed",
        }),
        proof,
        quarantine: load.rejects.quarantine.join(&plan.job).display().to_string(),
        columns,
        no_verify: load.no_verify,
    }
}

fn text(loaded: &LoadedJob) -> String {
    let seconds = loaded.seconds.max(0.001);
    let mut text = if loaded.blocks == 0 && loaded.stopped.is_none() {
        "no rows were left to store\n".to_owned()
    } else {
        rates(loaded, seconds)
    };
    if loaded.before > 0 {
        text.push_str(&format!("{} rows were stored before\n", HumanCount(loaded.before)));
    }
    if loaded.rejected_before > 0 {
        text.push_str(&format!("{} rows were rejected before\n", HumanCount(loaded.rejected_before)));
    }
    if loaded.rejected > 0 {
        text.push_str(&rejected_text(loaded.rejected, &loaded.quarantine));
    }
    match &loaded.proof {
        Some(proof) => text.push_str(&verify::text(proof)),
        // The error of the stopped load names the next step.
        None if loaded.stopped.is_some() => {}
        None if loaded.no_verify => {
            text.push_str(&format!("not verified: posthouse backfill verify {}", loaded.job));
        }
        None => {}
    }
    text
}

fn rates(loaded: &LoadedJob, seconds: f64) -> String {
    format!(
        "{} rows stored in {} blocks, {}, {} rows/s, {}/s\n",
        HumanCount(loaded.stored),
        HumanCount(loaded.blocks),
        HumanDuration(Duration::from_secs_f64(seconds)),
        HumanCount((loaded.stored as f64 / seconds) as u64),
        HumanBytes((loaded.bytes as f64 / seconds) as u64),
    )
}

fn rejected_text(rows: u64, quarantine: &str) -> String {
    format!(
        "{} rows were rejected: they are in {quarantine}, each with its reason. Fix them and load them with the same mapping\n",
        HumanCount(rows)
    )
}
