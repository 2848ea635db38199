//! `posthouse backfill verify`: proof of a load, and its differences.

use std::num::NonZeroU64;
use std::sync::Arc;

use anyhow::bail;
use indicatif::HumanCount;

use super::jobs::find;
use super::undo::{left_text, prove_undone};
use crate::backfill::insert::{Route, RouteChoice, settle};
use crate::backfill::ledger::{Job, State, note};
use crate::backfill::memory::decoding;
use crate::backfill::plan::{Cut, LoadPlan, remake};
use crate::backfill::read::MemoryBounds;
use crate::backfill::undo::rows_left;
use crate::backfill::verify::{Proof, explain, verify as compare};
use crate::cli::Outcome;
use crate::cli::output::{Output, table};
use crate::cluster::Cluster;

/// Memory for rereading files.
const MEMORY: NonZeroU64 = NonZeroU64::new(512 << 20).expect("not 0");

pub(super) async fn verify(cluster: &Cluster, job: &str, output: Output) -> anyhow::Result<Outcome> {
    let route = Route::choose(cluster, RouteChoice::Auto).await?;
    let job = find(&route, cluster, job).await?;
    if job.undoing_files > 0 {
        bail!(
            "an undo of job {} is not finished: posthouse backfill undo {} --execute continues it",
            job.job,
            job.job
        );
    }
    if job.is_undone() {
        return prove_undone(cluster, &route, &job.job, output).await;
    }
    let mut proof = count(cluster, &route, &job).await?;
    if proof.complete && !proof.is_proven() {
        explain_all(cluster, &route, &job.job, &mut proof).await?;
    }
    // Rows of an earlier load of the same files, which was undone.
    let left = match job.undone_at.is_empty() {
        true => Vec::new(),
        false => rows_left(cluster, &route, &job.job).await?,
    };
    let has_left = left.iter().any(|survey| survey.rows() > 0);
    if has_left {
        output.print(&left, |left| left_text(&job.job, left))?;
        return Ok(Outcome::Differs);
    }
    conclude(cluster, &route, &job.job, &proof).await?;
    output.print(&proof, text)?;
    Ok(Outcome::differs_if(!proof.is_proven()))
}

/// Looks up the events of missing rows in all files of a job, and in those that were loaded
/// together with its own.
async fn explain_all(cluster: &Cluster, route: &Route, job: &str, proof: &mut Proof) -> anyhow::Result<()> {
    let config = &cluster.config;
    let (columns, cut) = (&config.events.columns, Cut::slices_of(MEMORY));
    match remake(&config.database, route, job, columns, cut, MEMORY).await {
        Ok(plan) => {
            let decoding = decoding(MEMORY, plan.page_bytes);
            explain(&config.database, route, Arc::new(plan), decoding, proof).await
        }
        Err(error) => {
            tracing::warn!(
                error = %format_args!("{error:#}"),
                "files can't be read again: missing rows can't be distinguished from merged ones"
            );
            Ok(())
        }
    }
}

/// Returns the proof at the end of a load.
pub(super) async fn prove(
    cluster: &Cluster,
    route: &Route,
    plan: &Arc<LoadPlan>,
    decoding: MemoryBounds,
) -> anyhow::Result<Proof> {
    if cluster.config.replicated {
        for ledger in ["sharded_backfill_files", "sharded_backfill_ledger"] {
            settle(&cluster.config.database, &route.nodes, ledger).await?;
        }
    }
    let job = find(route, cluster, &plan.job).await?;
    let mut proof = count(cluster, route, &job).await?;
    if plan.is_in_part() {
        explain_all(cluster, route, &job.job, &mut proof).await?;
    } else {
        explain(&cluster.config.database, route, plan.clone(), decoding, &mut proof).await?;
    }
    conclude(cluster, route, &plan.job, &proof).await?;
    Ok(proof)
}

async fn count(cluster: &Cluster, route: &Route, job: &Job) -> anyhow::Result<Proof> {
    if cluster.config.replicated {
        settle(&cluster.config.database, &route.nodes, "sharded_events").await?;
    }
    let say = |month: u32| tracing::info!(month, "counting rows on every shard");
    Ok(compare(&cluster.config, route.any(), job, say).await?)
}

/// Records in the ledger that a job is proven.
async fn conclude(cluster: &Cluster, route: &Route, job: &str, proof: &Proof) -> anyhow::Result<()> {
    if proof.is_proven() {
        note(route, &cluster.config.database, job, State::Proven).await?;
    }
    Ok(())
}

pub(super) fn text(proof: &Proof) -> String {
    if proof.is_proven() {
        let merged = match proof.merged {
            0 => String::new(),
            merged => format!("; {} of them were merged with rows of the same event", HumanCount(merged)),
        };
        return format!(
            "proven: {} rows in {} blocks are on their shards as in the files, none lost, none twice{merged}",
            HumanCount(proof.rows),
            HumanCount(proof.blocks)
        );
    }
    if !proof.complete {
        return format!(
            "not complete, so not proven: {} of {} rows are stored and {} rejected. Run the same command again, or wait \
             for the machines with the other shares",
            HumanCount(proof.rows),
            HumanCount(proof.source_rows),
            HumanCount(proof.rejected)
        );
    }
    let heading = ["shard", "month", "missing", "extra", "changed blocks", "on the wrong shard"];
    let lines = proof.differences.iter().map(|difference| {
        vec![
            difference.shard.to_string(),
            difference.month.to_string(),
            HumanCount(difference.missing).to_string(),
            HumanCount(difference.extra).to_string(),
            HumanCount(difference.changed_blocks).to_string(),
            HumanCount(difference.wrong_shard).to_string(),
        ]
    });
    let mut text = table(&[heading.map(str::to_owned).to_vec()].into_iter().chain(lines).collect::<Vec<_>>());
    text.push_str(&format!(
        "not proven: {} rows expected, {} found, {} merged with rows of the same event. Check whether rows were deleted, \
         changed or inserted by hand since, or by posthouse persons squash if person_id was loaded",
        HumanCount(proof.rows),
        HumanCount(proof.found),
        HumanCount(proof.merged)
    ));
    text
}
