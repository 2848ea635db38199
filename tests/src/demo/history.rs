//! History load of the demo: a year of Parquet, killed halfway.
//!
//! Steps: plan, run until the kill, status, second run, verification, count.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use indicatif::HumanCount;

use super::beside::Beside;
use super::queries;
use super::report::{self, Count};
use super::screen::Screen;
use super::setup::Ground;
use crate::history::{Files, History};
use crate::site::{self, Outcome};
use crate::stack::wait_until;

/// The same files in every run.
const HISTORY: History = History {
    rows: 300_000,
    files: Files::Monthly,
    row_group: 10_000,
    days: 365,
    // 2025-12-31 23:59:59.999999 UTC.
    until: 1_767_225_599_999_999,
    people: 50_000,
    seed: 1,
};
/// Folder of the files, next to the servers' folders.
const FOLDER: &str = "history";
/// A separate team, beyond the teams of the messages. `queries::HISTORY` uses it too.
const TEAM: &str = "2025";
/// Limit for half of the history to be stored. The whole takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// Result of the history load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Rows of the files.
    pub(super) rows: u64,
    /// Whether each row is stored exactly once and verified.
    pub(super) once: bool,
}

/// Loads the history in two runs, with a kill in between.
///
/// # Errors
/// Fails if the files can't be written, if `posthouse` fails, or if the first run ends before the
/// kill.
pub(super) fn run(ground: &Ground, screen: &Screen) -> anyhow::Result<Loaded> {
    let folder = ground.stack.dir().join(FOLDER);
    let files = HISTORY.write(&folder)?;
    let rows = HISTORY.rows as u64;
    screen.heading(&format!(
        "A year of history: {} rows in {} files of Parquet",
        HumanCount(rows),
        HumanCount(files.len() as u64)
    ));
    let folder = folder.to_string_lossy();
    let source = [&folder, "--mapping", "posthog-export", "--team-id", TEAM];

    let plan = verb(ground, screen, &["plan"], &source, |_| format!("{FOLDER}/ {}", source[1..].join(" ")))?;
    screen.quote(&plan.stdout);
    kill_half_way(ground, screen, &source)?;
    let job = field(&plan.stdout, "job").context("posthouse backfill plan printed no job")?;
    verb(ground, screen, &["status"], &[job], |status| {
        let said = ["state", "rows"].map(|name| field(&status.stdout, name).unwrap_or_default());
        said.join(": ")
    })?;
    let done = verb(ground, screen, &["run"], &source, |_| "the same command again".to_owned())?;
    screen.quote(&done.stdout);

    let counted = counted(ground)?;
    screen.blank();
    report::columns("in the files", "twice");
    report::line("rows of history", counted, screen);
    Ok(Loaded { rows, once: done.code == 0 && counted.is_once() })
}

/// Starts the load, and kills it with SIGKILL when half of its rows are stored.
fn kill_half_way(ground: &Ground, screen: &Screen, source: &[&str]) -> anyhow::Result<()> {
    let (meter, begin) = (screen.gauge("stored", HISTORY.rows as u64), Instant::now());
    let mut loader = Beside::start(&ground.record.config, &[&["backfill", "run"], source].concat())?;
    let pid = loader.pid();
    let half = wait_until("half of the history to be stored", LIMIT, || match loader.log() {
        Ok(_) => match counted(ground) {
            Ok(count) if count.rows >= count.produced / 2 => ControlFlow::Break(Ok(())),
            Ok(count) => {
                meter.set_position(count.rows);
                ControlFlow::Continue(anyhow!("{} rows", count.rows))
            }
            Err(error) => ControlFlow::Continue(error),
        },
        Err(error) => ControlFlow::Break(Err(error)),
    });
    drop(loader);
    meter.finish_and_clear();
    half?;
    screen.command("posthouse backfill run", begin.elapsed(), "the same arguments");
    let stored = HumanCount(counted(ground)?.rows);
    screen.bad(&format!("kill -9 {pid}: the loader; {stored} rows are stored"));
    Ok(())
}

/// Runs one verb of `posthouse backfill` and prints it with the summary from `said`. Exit code 3
/// (differences found) isn't a failure.
fn verb(
    ground: &Ground,
    screen: &Screen,
    verb: &[&str],
    arguments: &[&str],
    said: impl FnOnce(&Outcome) -> String,
) -> anyhow::Result<Outcome> {
    let begin = Instant::now();
    let (verb, config): (_, &Path) = ([&["backfill"], verb].concat(), &ground.record.config);
    let outcome = site::run(config, &[&verb[..], arguments].concat())?;
    let verb = verb.join(" ");
    ensure!(outcome.code == 0 || outcome.code == 3, "posthouse {verb}: {outcome}");
    screen.command(&format!("posthouse {verb}"), begin.elapsed(), &said(&outcome));
    Ok(outcome)
}

/// Returns the value after a name at the start of a line.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("  "));
    values.next().map(str::trim)
}

fn counted(ground: &Ground) -> anyhow::Result<Count> {
    let [rows, stored] = report::numbers(ground, queries::HISTORY)?;
    Ok(Count { produced: HISTORY.rows as u64, stored, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "jobs  3\njob   a1\nrows  7 stored of 9, 0 rejected\n";
        assert_eq!(field(text, "job"), Some("a1"));
        assert_eq!(field(text, "rows"), Some("7 stored of 9, 0 rejected"));
        assert_eq!(field(text, "team"), None);
    }
}
