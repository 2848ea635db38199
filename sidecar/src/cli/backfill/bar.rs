//! Progress of a running load.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration};

use crate::backfill::run::{Count, Progress};
use crate::cli::notices::note;
use crate::cli::progress_bar::{self, BarState};

/// Time window of the rates, short enough to show a pause.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Status of a load that was asked to stop.
const STOPPING: &str = "stopping after the blocks in flight; a second signal stops at once";

/// Reports that the load stops soon. The bar shows this on a terminal.
pub(super) fn say_stopping() {
    if !stderr().is_terminal() {
        note(STOPPING);
    }
}

/// Shows `progress` until the future is dropped.
pub(super) async fn show(progress: &Progress, rows: u64) {
    let mut rate = Rate::new();
    progress_bar::show(rows, || state(progress, rows, &mut rate)).await;
}

/// Rows that need no further work.
fn done(progress: &Progress) -> u64 {
    [&progress.stored, &progress.before, &progress.rejected].map(Count::get).iter().sum()
}

fn state(progress: &Progress, rows: u64, rate: &mut Rate) -> BarState {
    let bytes = progress.bytes.get();
    let (rows_a_second, bytes_a_second) = rate.of(progress.stored.get(), bytes);
    let left = rows.saturating_sub(done(progress));
    let eta = match rows_a_second {
        0 => "ETA unknown".to_owned(),
        speed => format!("ETA {}", HumanDuration(Duration::from_secs(left / speed + 1))),
    };
    let pace = match progress.slowed().first() {
        // Some shards are slow to answer, or do not answer.
        None if rows_a_second == 0 => "waiting for the next block".to_owned(),
        None => "full speed".to_owned(),
        Some((shard, reason)) => format!("shard {shard} {reason}"),
    };
    let pace = if progress.stopped().is_some() { STOPPING.to_owned() } else { pace };
    BarState {
        done: done(progress),
        far: format!("{} of {} rows  {eta}", HumanCount(done(progress)), HumanCount(rows)),
        pace: format!(
            "{} rows/s  {}/s  {} parts  {pace}",
            HumanCount(rows_a_second),
            HumanBytes(bytes_a_second),
            HumanCount(progress.blocks.get())
        ),
    }
}

/// Samples of time, rows and bytes within [`RATE_WINDOW`].
struct Rate(Vec<(Instant, u64, u64)>);

impl Rate {
    fn new() -> Self {
        Self(vec![(Instant::now(), 0, 0)])
    }

    /// Returns rows and bytes per second.
    fn of(&mut self, rows: u64, bytes: u64) -> (u64, u64) {
        let now = Instant::now();
        self.0.push((now, rows, bytes));
        let oldest = self.0.iter().position(|(then, ..)| now - *then <= RATE_WINDOW).unwrap_or_default();
        self.0.drain(..oldest.min(self.0.len() - 1));
        let Some((then, rows_then, bytes_then)) = self.0.first() else { return (0, 0) };
        let a_second = |count: u64| (count as f64 / (now - *then).as_secs_f64().max(0.001)) as u64;
        (a_second(rows - rows_then), a_second(bytes - bytes_then))
    }
}
