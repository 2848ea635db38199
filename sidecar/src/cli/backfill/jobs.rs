//! `posthouse backfill list`, `status` and `cancel`: jobs in the ledger.

use anyhow::{Context, bail};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::backfill::insert::{Route, RouteChoice};
use crate::backfill::ledger::{self, Job};
use crate::cli::Outcome;
use crate::cli::output::{Output, table};
use crate::cluster::Cluster;

/// JSON output of `cancel`.
#[derive(Serialize)]
struct Cancelled<'a> {
    cancelled: &'a str,
}

pub(super) async fn list(cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
    let route = Route::choose(cluster, RouteChoice::Auto).await?;
    let jobs = ledger::jobs(route.any(), &cluster.config.database, None).await?;
    output.print(&jobs, |jobs| list_text(jobs))?;
    Ok(Outcome::Clean)
}

pub(super) async fn status(cluster: &Cluster, job: &str, output: Output) -> anyhow::Result<Outcome> {
    let route = Route::choose(cluster, RouteChoice::Auto).await?;
    let job = find(&route, cluster, job).await?;
    output.print(&job, status_text)?;
    Ok(Outcome::Clean)
}

pub(super) async fn cancel(cluster: &Cluster, job: &str, output: Output) -> anyhow::Result<Outcome> {
    let route = Route::choose(cluster, RouteChoice::Auto).await?;
    let job = find(&route, cluster, job).await?;
    anyhow::ensure!(
        !job.is_complete(),
        "job {} is loaded and can't be cancelled; posthouse backfill status {} shows it",
        job.job,
        job.job
    );
    anyhow::ensure!(
        !job.is_undone(),
        "job {} is undone and can't be cancelled; posthouse backfill status {} shows it",
        job.job,
        job.job
    );
    ledger::cancel(&route, &cluster.config.database, &job.job).await?;
    output.print(&Cancelled { cancelled: &job.job }, |_| {
        format!(
            "job {} is cancelled: its running loads stop within seconds, after the blocks in flight. The {} stored rows stay; \
             the same run command loads the rest",
            job.job,
            HumanCount(job.stored)
        )
    })?;
    Ok(Outcome::Clean)
}

/// Returns the job `name`. An id without any load is an error.
pub(super) async fn find(route: &Route, cluster: &Cluster, name: &str) -> anyhow::Result<Job> {
    let found = ledger::jobs(route.any(), &cluster.config.database, Some(name)).await?;
    if found.len() > 1 {
        bail!("there are {} jobs called {name}: please report this", found.len());
    }
    let job = found.into_iter().next();
    job.with_context(|| format!("there is no job {name}: posthouse backfill list shows all"))
}

/// Returns the state of a job in a word or two.
fn state(job: &Job) -> &'static str {
    if job.undoing_files > 0 {
        return "being undone";
    }
    if job.is_undone() {
        return "undone";
    }
    match (job.is_complete(), job.proven_at.is_empty()) {
        (true, false) => "proven",
        (true, true) => "loaded",
        (false, _) if !job.cancelled_at.is_empty() && job.cancelled_at >= job.last_at => "cancelled",
        (false, _) => "not complete",
    }
}

/// Returns a hint for the next step of a job.
fn next(job: &Job) -> Option<String> {
    match state(job) {
        "proven" => None,
        "being undone" => Some(format!("posthouse backfill undo {} --execute", job.job)),
        "undone" => Some("the same run command loads the files again".to_owned()),
        "loaded" => Some(format!("posthouse backfill verify {}", job.job)),
        _ => Some("the same run command loads the rest".to_owned()),
    }
}

fn list_text(jobs: &[Job]) -> String {
    if jobs.is_empty() {
        return "no jobs: posthouse backfill plan --help shows how to start one".to_owned();
    }
    let heading =
        ["job", "started (UTC)", "files", "rows", "stored", "rejected", "state"].map(str::to_owned).to_vec();
    let lines = jobs.iter().map(|job| {
        vec![
            job.job.clone(),
            job.begun_at.split('.').next().unwrap_or_default().to_owned(),
            job.files.to_string(),
            HumanCount(job.rows).to_string(),
            HumanCount(job.stored).to_string(),
            HumanCount(job.rejected).to_string(),
            state(job).to_owned(),
        ]
    });
    table(&[heading].into_iter().chain(lines).collect::<Vec<_>>())
}

fn status_text(job: &Job) -> String {
    let mut lines = vec![
        ("job", job.job.clone()),
        ("state", state(job).to_owned()),
        (
            "rows",
            format!(
                "{} stored of {}, {} rejected",
                HumanCount(job.stored),
                HumanCount(job.rows),
                HumanCount(job.rejected)
            ),
        ),
        ("blocks", HumanCount(job.blocks).to_string()),
        ("units", format!("{} started, {} done", job.units_begun, job.units_done)),
        ("files", format!("{}, {}", job.files, HumanBytes(job.bytes))),
        ("team", job.team_id.map_or_else(|| "from the files".to_owned(), |team| team.to_string())),
        ("started", format!("{} UTC", job.begun_at)),
        ("last step", format!("{} UTC", job.last_at)),
    ];
    if !job.proven_at.is_empty() {
        lines.push(("proven", format!("{} UTC", job.proven_at)));
    }
    if !job.undone_at.is_empty() {
        let of = format!("{} of {} files are undone", job.undone_files, job.files);
        lines.push(("undo", format!("{} UTC, {of}", job.undone_at)));
    }
    if !job.cancelled_at.is_empty() {
        lines.push(("cancelled", format!("{} UTC", job.cancelled_at)));
    }
    let shown = job.locations.iter().enumerate();
    lines.extend(shown.map(|(index, location)| (if index == 0 { "from" } else { "" }, location.clone())));
    if job.files as usize > job.locations.len() {
        lines.push(("", format!("and {} more", job.files as usize - job.locations.len())));
    }
    lines.extend(next(job).map(|next| ("next", next)));
    table(&lines.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect::<Vec<_>>())
}
