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

/// Shows the progress of a load until the future is dropped.
pub(super) async fn show(progress: &Progress, rows: u64) {
    let mut rate = Rate::new(Instant::now());
    progress_bar::show(rows, || load_state(progress, rows, &mut rate)).await;
}

/// Shows the progress of a dry run until the future is dropped.
pub(super) async fn show_dry_run(progress: &Progress, rows: u64) {
    let mut rate = Rate::new(Instant::now());
    progress_bar::show(rows, || dry_run_state(progress, rows, &mut rate)).await;
}

/// Rows that need no further work.
fn done(progress: &Progress) -> u64 {
    [&progress.stored, &progress.before, &progress.rejected].map(Count::get).iter().sum()
}

fn load_state(progress: &Progress, rows: u64, rate: &mut Rate) -> BarState {
    let bytes = progress.bytes.get();
    let (rows_a_second, bytes_a_second) = rate.of(Instant::now(), progress.stored.get(), bytes);
    let pace = match progress.slowed().first() {
        // Some shards are slow to answer, or do not answer.
        None if rows_a_second == 0 => "waiting for the next block".to_owned(),
        None => "full speed".to_owned(),
        Some((shard, reason)) => format!("shard {shard} {reason}"),
    };
    let pace = if progress.stopped().is_some() { STOPPING.to_owned() } else { pace };
    BarState {
        done: done(progress),
        far: far(done(progress), rows, rows_a_second),
        pace: format!(
            "{} rows/s  {}/s  {} parts  {pace}",
            HumanCount(rows_a_second),
            HumanBytes(bytes_a_second),
            HumanCount(progress.blocks.get())
        ),
    }
}

fn dry_run_state(progress: &Progress, rows: u64, rate: &mut Rate) -> BarState {
    let done = progress.read.get();
    let (rows_a_second, _) = rate.of(Instant::now(), done, 0);
    let (speed, rejected) = (HumanCount(rows_a_second), HumanCount(progress.rejected.get()));
    BarState {
        done,
        far: far(done, rows, rows_a_second),
        pace: format!("{speed} rows/s  {rejected} rejected  dry run"),
    }
}

/// Rows done as text, and the time left.
fn far(done: u64, rows: u64, rows_a_second: u64) -> String {
    let eta = match rows_a_second {
        0 => "ETA unknown".to_owned(),
        speed => {
            format!("ETA {}", HumanDuration(Duration::from_secs(rows.saturating_sub(done) / speed + 1)))
        }
    };
    format!("{} of {} rows  {eta}", HumanCount(done), HumanCount(rows))
}

/// Samples of time, rows and bytes: those within [`RATE_WINDOW`], and the last one before it,
/// because samples may be further apart than the window is long.
struct Rate(Vec<(Instant, u64, u64)>);

impl Rate {
    fn new(now: Instant) -> Self {
        Self(vec![(now, 0, 0)])
    }

    /// Returns rows and bytes per second.
    fn of(&mut self, now: Instant, rows: u64, bytes: u64) -> (u64, u64) {
        let is_before = |(then, ..): &(Instant, u64, u64)| now.duration_since(*then) >= RATE_WINDOW;
        let last_before = self.0.iter().rposition(is_before).unwrap_or_default();
        self.0.drain(..last_before);
        self.0.push((now, rows, bytes));
        let Some((then, rows_then, bytes_then)) = self.0.first() else { return (0, 0) };
        let seconds = now.duration_since(*then).as_secs_f64().max(0.001);
        let a_second = |count: u64| (count as f64 / seconds) as u64;
        (a_second(rows.saturating_sub(*rows_then)), a_second(bytes.saturating_sub(*bytes_then)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_spans_samples_that_are_further_apart_than_its_window() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut rate = Rate::new(begin);
        assert_eq!(rate.of(at(10), 1_000, 50), (100, 5));
        assert_eq!(rate.of(at(20), 4_000, 50), (300, 0));
        assert_eq!(rate.of(at(30), 4_000, 150), (0, 10));
    }

    #[test]
    fn a_rate_forgets_what_is_older_than_its_window() {
        let begin = Instant::now();
        let mut rate = Rate::new(begin);
        let rates: Vec<u64> = (1..=100)
            .map(|tick| rate.of(begin + RATE_WINDOW * tick / 25, u64::from(tick.min(50)), 0).0)
            .collect();
        assert_eq!((rates[49], rates[60], rates[99]), (5, 2, 0));
        assert!(rate.0.len() <= 27, "{}", rate.0.len());
    }
}
