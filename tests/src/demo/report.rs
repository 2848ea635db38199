//! Results of the demo, section by section, queried from the servers.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use indicatif::HumanCount;

use super::flow::{Flow, MESSAGES, PER_SECOND};
use super::probes::{Probe, quantile};
use super::queries;
use super::screen::Screen;
use super::setup::Ground;
use crate::load::Produced;

/// Probes of this first period are ignored, because consumers and caches are new.
const WARM_UP: Duration = Duration::from_secs(2);
/// Probes sent this shortly before the kill may be affected by it.
const BEFORE_KILL: Duration = Duration::from_secs(1);
/// Number of days per line.
const DAYS_A_LINE: usize = 5;

/// Stored messages, or rows of files, against the number produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    /// Acknowledged by the broker, or written to files.
    pub(super) produced: u64,
    /// Distinct messages with a row.
    pub(super) stored: u64,
    /// All rows, including duplicates.
    pub(super) rows: u64,
}

impl Count {
    fn lost(self) -> u64 {
        self.produced.saturating_sub(self.stored)
    }

    fn twice(self) -> u64 {
        self.rows.saturating_sub(self.stored)
    }

    /// Whether no message is lost or duplicate.
    pub(super) fn is_once(self) -> bool {
        self.lost() == 0 && self.twice() == 0
    }
}

/// Prints all sections. Returns true if no message was lost or duplicate, and every row is on its
/// shard.
///
/// # Errors
/// Fails if a query fails.
pub(super) fn print(ground: &Ground, flow: &Flow, screen: &Screen) -> anyhow::Result<bool> {
    let once = exactly_once(ground, flow.produced, screen)?;
    latency(ground, flow, screen);
    let placed = shards(ground, screen)?;
    days(ground, screen)?;
    pages(ground, screen)?;
    reasons(ground, screen)?;
    Ok(once && placed)
}

fn exactly_once(ground: &Ground, produced: Produced, screen: &Screen) -> anyhow::Result<bool> {
    let [rows, messages, different, merged] = numbers(ground, queries::EVENTS)?;
    let [dead_rows, dead_messages] = numbers(ground, queries::DEAD)?;
    let events = Count { produced: produced.events + produced.again, stored: messages, rows };
    let dead = Count { produced: produced.broken, stored: dead_messages, rows: dead_rows };

    screen.heading("Exactly once");
    columns("produced", "delivered twice");
    line("events", events, screen);
    let again = messages.saturating_sub(different);
    println!("  {:<26}{:>12}{:>12}", "  re-sent by the producer", count(produced.again), count(again));
    line("dead letters", dead, screen);
    screen.dim(&format!(
        "{} generated messages and {} probes. A re-sent event is a separate message: the same uuid at another\n\
         offset. Merges are off, so that duplicates stay visible. FINAL leaves {} rows, as merges would.",
        count(MESSAGES),
        count(produced.messages().saturating_sub(MESSAGES)),
        count(merged)
    ));
    Ok([events, dead].iter().all(|count| count.is_once()))
}

/// Prints the heading of [`line`]s. The names of two columns depend on the counted things.
pub(super) fn columns(produced: &str, twice: &str) {
    println!("  {:<26}{produced:>12}{:>12}{:>9}{twice:>18}", "", "stored", "lost");
}

/// Prints one line of counts.
pub(super) fn line(name: &str, messages: Count, screen: &Screen) {
    let (lost, twice) = (messages.lost(), messages.twice());
    println!(
        "  {name:<26}{:>12}{:>12}{}{}",
        count(messages.produced),
        count(messages.stored),
        screen.judged(lost == 0, &format!("{:>9}", count(lost))),
        screen.judged(twice == 0, &format!("{:>18}", count(twice)))
    );
}

fn latency(ground: &Ground, flow: &Flow, screen: &Screen) {
    let (from, to) = (flow.begun + WARM_UP, flow.killed.checked_sub(BEFORE_KILL).unwrap_or(flow.killed));
    let (calm, rest): (Vec<Probe>, Vec<Probe>) =
        flow.probes.iter().filter(|probe| probe.sent >= from).partition(|probe| probe.sent < to);
    let late = calm.iter().filter(|probe| probe.sent + probe.waited > flow.killed).count();
    screen.heading("From produced to queryable");
    let line = |name: &str, wait: Option<Duration>, how: &str| {
        let wait = wait.map_or_else(|| "-".to_owned(), |wait| format!("{:.2} s", wait.as_secs_f64()));
        println!("  {}", format!("{name:<26}{wait:>12}   {how}").trim_end());
    };
    let rate = count(PER_SECOND);
    let how = format!("{} probes before the kill, beside {rate} messages a second", calm.len());
    line("p50", quantile(&calm, 0.5), &how);
    line("p95", quantile(&calm, 0.95), "");
    let how =
        format!("{} probes while {} was dead, its partitions moved, and after", rest.len(), flow.victim);
    line("longest across the kill", quantile(&rest, 1.0), &how);
    if late > 0 {
        let all = calm.len();
        screen.dim(&format!(
            "{late} of the {all} still waited at the kill; in the first seconds one node polls all partitions in turn"
        ));
    }
    for node in ground.stack.nodes().iter().filter(|node| node.aborts() > 0) {
        let (name, times) = (node.name(), node.aborts());
        screen.dim(&format!(
            "{name} aborted {times} time(s) and was restarted: the library aborts when a peer is killed, a server\n\
             does not."
        ));
    }
}

/// Prints the rows per shard. Returns true if each row is on the shard that `shardOf` returns.
fn shards(ground: &Ground, screen: &Screen) -> anyhow::Result<bool> {
    let weights: Vec<u32> = ground.stack.spec().shards.iter().map(|shard| shard.weight).collect();
    let answer = ask(ground, &queries::SHARDS.replace("WEIGHTS", &format!("{weights:?}")))?;
    let cells = answer.lines().map(fields::<u64, 3>).collect::<anyhow::Result<Vec<_>>>()?;
    let sum = |wanted: &dyn Fn(u64, u64) -> bool| -> u64 {
        cells.iter().filter(|[is_on, belongs_on, _]| wanted(*is_on, *belongs_on)).map(|cell| cell[2]).sum()
    };
    let (all, total) = (sum(&|_, _| true), weights.iter().sum::<u32>());

    screen.heading("Shards, and the result of shardOf(distinct_id, weights)");
    println!("  {:<26}{:>12}{:>14}{:>10}{:>10}", "", "rows", "by shardOf", "share", "weight");
    for (weight, shard) in weights.iter().zip(1..) {
        let rows = sum(&|is_on, _| is_on == shard);
        let says = sum(&|_, belongs_on| belongs_on == shard);
        let (share, wanted) = (percent(rows, all), percent((*weight).into(), total.into()));
        let text =
            format!("  shard {shard:<20}{:>12}{:>14}{share:>10}{wanted:>10}", count(rows), count(says));
        println!("{text}");
    }
    let misplaced = sum(&|is_on, belongs_on| is_on != belongs_on);
    let text = format!("{:>12}", count(misplaced));
    println!("  {:<26}{}", "on another shard", screen.judged(misplaced == 0, &text));
    Ok(misplaced == 0)
}

fn days(ground: &Ground, screen: &Screen) -> anyhow::Result<()> {
    let days = pairs(ground, queries::DAYS)?;
    screen.heading("Events a day");
    for line in days.chunks(DAYS_A_LINE) {
        let cells: String =
            line.iter().map(|(day, events)| format!("{day} {:>7}    ", count(*events))).collect();
        println!("  {}", cells.trim_end());
    }
    Ok(())
}

fn pages(ground: &Ground, screen: &Screen) -> anyhow::Result<()> {
    screen.heading("Top pages, from the materialized column mat_$current_url");
    println!("  {:<40}{:>12}{:>14}", "", "views", "people");
    for line in ask(ground, queries::PAGES)?.lines() {
        let (page, numbers) =
            line.split_once('\t').with_context(|| format!("expected a page, found {line:?}"))?;
        let [views, people] = fields(numbers)?;
        println!("  {page:<40}{:>12}{:>14}", count(views), count(people));
    }
    Ok(())
}

fn reasons(ground: &Ground, screen: &Screen) -> anyhow::Result<()> {
    screen.heading("Dead letters: kept raw, with the reason");
    for (reason, messages) in pairs(ground, queries::REASONS)? {
        println!("  {:>6}  {reason}", count(messages));
    }
    Ok(())
}

fn ask(ground: &Ground, sql: &str) -> anyhow::Result<String> {
    ground.first().query(sql)
}

/// Returns the numbers of a one-row result.
///
/// # Errors
/// Fails if the result has another shape.
pub(super) fn numbers<const N: usize>(ground: &Ground, sql: &str) -> anyhow::Result<[u64; N]> {
    fields(ask(ground, sql)?.trim_end())
}

/// Returns rows of a name and a number.
fn pairs(ground: &Ground, sql: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let answer = ask(ground, sql)?;
    let pair = |line: &str| {
        let (name, number) =
            line.split_once('\t').with_context(|| format!("expected two fields, found {line:?}"))?;
        Ok((name.to_owned(), number.parse()?))
    };
    answer.lines().map(pair).collect()
}

/// Parses the fields of one row.
///
/// # Errors
/// Fails if the row has another number or type of fields.
pub(super) fn fields<T: FromStr, const N: usize>(line: &str) -> anyhow::Result<[T; N]> {
    let wrong = || anyhow!("expected {N} numbers, found {line:?}");
    let fields: Vec<T> = line.split('\t').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    fields.try_into().map_err(|_| wrong())
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_twice_are_told_apart() {
        let count = Count { produced: 10, stored: 8, rows: 11 };
        assert_eq!((count.lost(), count.twice()), (2, 3));
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error() {
        assert_eq!(fields::<u64, 2>("1\t2").unwrap(), [1, 2]);
        assert!(fields::<u64, 2>("1").is_err());
        assert!(fields::<u64, 2>("1\tx").is_err());
        assert_eq!(percent(1, 4), "25.0 %");
        assert_eq!(percent(0, 0), "0.0 %");
    }
}
