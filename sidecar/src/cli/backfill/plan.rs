//! `posthouse backfill plan`: summary of a load before it begins.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use jiff::Timestamp;
use tokio::time::sleep;

use super::not_loaded;
use super::request::SourceArguments;
use crate::backfill::insert::Route;
use crate::backfill::plan::{LoadPlan, PlanProgress, Request, Summary, make as make_plan};
use crate::cli::Outcome;
use crate::cli::output::{Output, table};
use crate::cli::progress_bar::{self, BarState};
use crate::cluster::Cluster;

pub(super) async fn plan(
    cluster: &Cluster,
    sources: &SourceArguments,
    output: Output,
) -> anyhow::Result<Outcome> {
    let request = sources.request(&cluster.config.events.columns)?;
    let route = Route::choose(cluster, sources.files.route()).await?;
    let plan = make(cluster, &route, &request).await?;
    output.print(&Summary::of(&plan, &route, &cluster.config.events.columns), text)?;
    Ok(Outcome::Clean)
}

/// Makes a plan, and shows how many files were read.
pub(super) async fn make(cluster: &Cluster, route: &Route, request: &Request) -> anyhow::Result<LoadPlan> {
    let progress = PlanProgress::default();
    tokio::select! {
        plan = make_plan(&cluster.config.database, route, request, &progress) => plan,
        () = show(&progress) => anyhow::bail!("the progress of the plan has ended: please report this"),
    }
}

/// Shows the progress of a plan until the future is dropped.
async fn show(progress: &PlanProgress) {
    /// Interval of the checks whether the sources are listed.
    const POLL: Duration = Duration::from_millis(100);
    let listed = async {
        while progress.files() == 0 {
            sleep(POLL).await;
        }
    };
    tokio::select! {
        () = listed => {}
        () = progress_bar::show(0, || state(progress)) => {}
    }
    progress_bar::show(progress.files(), || state(progress)).await;
}

fn state(progress: &PlanProgress) -> BarState {
    let (files, read) = (progress.files(), progress.read());
    BarState {
        done: read,
        far: match files {
            0 => "listing the sources".to_owned(),
            _ => format!("{} of {} files", HumanCount(read), HumanCount(files)),
        },
        pace: "reading footers".to_owned(),
    }
}

pub(super) fn text(summary: &Summary) -> String {
    let unknown = || "unknown: the footers do not have it".to_owned();
    let day = |micros: i64| match Timestamp::from_microsecond(micros) {
        Ok(timestamp) => timestamp.strftime("%F %T").to_string(),
        Err(_) => micros.to_string(),
    };
    let range = summary.timestamps.map(|range| format!("{} to {} UTC", day(range.first), day(range.last)));
    let months = summary.months.map(|months| match months {
        1 => "1 month".to_owned(),
        months => format!("{months} months"),
    });
    let left = match summary.units - summary.units_left {
        0 => String::new(),
        done => {
            format!(", {done} of {} units are done: {} left", summary.units, HumanCount(summary.rows_left))
        }
    };
    let time = HumanDuration(Duration::from_secs(summary.seconds.max(1)));
    let (parts, time) = match summary.units_left {
        0 => (Some("none".to_owned()), "none: all rows are loaded".to_owned()),
        _ => (
            summary.parts.map(|parts| format!("about {}", HumanCount(parts))),
            format!("about {time}, if the shards have a core each to spare"),
        ),
    };
    let mut rows = vec![
        ("job", summary.job.clone()),
        ("files", format!("{}, {}", summary.files, HumanBytes(summary.bytes))),
    ];
    if !summary.skipped.is_empty() {
        let skipped: Vec<String> = summary.skipped.iter().map(ToString::to_string).collect();
        rows.push(("left out", skipped.join("; ")));
    }
    rows.extend([
        ("rows", format!("{}{left}", HumanCount(summary.rows))),
        ("units", format!("{} to do", summary.units_left)),
        ("team", summary.team_id.map_or_else(|| "from the files".to_owned(), |team| team.to_string())),
        ("events", range.unwrap_or_else(unknown)),
        ("partitions", months.unwrap_or_else(unknown)),
        ("parts", parts.unwrap_or_else(unknown)),
        ("time", time),
        ("route", summary.route.clone()),
    ]);
    if !summary.filled.is_empty() || !summary.defaulted.is_empty() {
        rows.push(("filled", not_loaded::extras(&summary.filled, summary.files)));
        rows.push(("defaults", not_loaded::extras(&summary.defaulted, summary.files)));
    }
    rows.push(("not loaded", not_loaded::text(&summary.not_loaded, summary.files)));
    table(&rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect::<Vec<_>>())
}
