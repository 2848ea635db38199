//! Lookups of persons in the demo: each way side by side.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::HumanCount;

use super::persons::verb;
use super::queries;
use super::report;
use super::screen::Screen;
use super::setup::Ground;
use crate::stack::{Node, wait_until};

/// Runs of each query. The median is shown.
const RUNS: usize = 5;
/// Limit for the first index of a few distinct ids.
const LIMIT: Duration = Duration::from_secs(60);

/// Compares the person index with the table, creates a dictionary, and asks for the unique persons
/// by each way.
///
/// # Errors
/// Fails if a way doesn't answer, or answers otherwise than the JOIN.
pub(super) fn run(ground: &Ground, screen: &Screen) -> anyhow::Result<()> {
    screen.heading("Who are these events? The same question by each way to the person");
    for node in ground.stack.nodes() {
        wait_for_index(node)?;
        node.query(queries::DICTIONARY)?;
    }
    let said = "the index of personOf, which posthouse run keeps, against the table";
    let verified = verb(ground, screen, &["persons", "snapshot", "verify"], said)?;
    screen.quote(verified.stdout.trim_end());
    screen.blank();
    println!("  {:<46}{:>16}{:>16}{:>16}", "", "events", "their persons", "median of 5");
    let mut first = None;
    for (way, sql) in queries::LOOKUPS {
        let (answer, took) = median(ground, sql).with_context(|| way.to_owned())?;
        let [events, persons] = answer.map(|number| HumanCount(number).to_string());
        println!("  {way:<46}{events:>16}{persons:>16}{:>14.3} s", took.as_secs_f64());
        let wanted = *first.get_or_insert(answer);
        ensure!(answer == wanted, "{way} answers {answer:?}, the JOIN {wanted:?}");
    }
    screen.blank();
    if let Some((_, sql)) = queries::LOOKUPS.last() {
        screen.dim(sql);
    }
    screen.dim(
        "So few events say little about speed: the guide \"Who is this event\" has when each way is best.",
    );
    Ok(())
}

/// Waits until `posthouse run` has built the node's index.
fn wait_for_index(node: &Node) -> anyhow::Result<()> {
    wait_until("an index of persons", LIMIT, || match node.query("SELECT personSnapshot('generation')") {
        Ok(_) => ControlFlow::Break(Ok(())),
        Err(error) => ControlFlow::Continue(error),
    })
}

/// Returns the answer, and the median time of [`RUNS`] queries.
fn median(ground: &Ground, sql: &str) -> anyhow::Result<([u64; 2], Duration)> {
    let mut times = Vec::with_capacity(RUNS);
    let mut answer = [0; 2];
    for _ in 0..RUNS {
        let begin = Instant::now();
        answer = report::numbers(ground, sql)?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok((answer, times[RUNS / 2]))
}
