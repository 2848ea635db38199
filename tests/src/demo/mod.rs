//! `make demo`: a tour of posthouse on real servers.
//!
//! Steps: a changing topics file, 200,000 messages, changing persons, a year of history, kills on
//! the way, and a count of the rows.

mod beside;
mod flow;
mod history;
mod lookups;
mod persons;
mod probes;
mod queries;
mod report;
mod screen;
mod setup;
mod topics;

use std::sync::mpsc::Receiver;
use std::time::Instant;

use screen::Screen;
use setup::Ground;

/// Runs the demo. With `keep`, the servers then stay up until `signals` has a signal. Returns true
/// if every message and every row of history is stored exactly once.
///
/// # Errors
/// Fails if the stack doesn't start, `posthouse` fails, a server doesn't restart, or a signal
/// interrupts it.
pub fn run(keep: bool, signals: &Receiver<()>) -> anyhow::Result<bool> {
    let (screen, begin) = (Screen::on_stdout(), Instant::now());
    screen.title(
        "posthouse",
        "events from Kafka and history from Parquet into a sharded ClickHouse, each exactly once; persons from PostgreSQL",
    );
    let ground = setup::prepare(&screen)?;
    topics::run(&ground, &screen)?;
    let flow = flow::run(&ground, &screen)?;
    let arrived = report::print(&ground, &flow, &screen)?;
    let followed = persons::run(&ground, &screen)?;
    lookups::run(&ground, &screen)?;
    let history = history::run(&ground, &screen)?;
    let once = arrived && history.once;
    screen.verdict(once, &flow, &history, begin.elapsed());
    if keep {
        stay(&ground, &screen);
        // The sender lives as long as the process.
        signals.recv()?;
    }
    screen.dim("stopping the servers");
    drop(followed);
    drop(ground);
    if !keep {
        screen.next(&NEXT);
    }
    Ok(once)
}

const NEXT: [(&str, &str); 5] = [
    ("make demo KEEP=1", "the same, and the servers stay up for your own queries"),
    ("make torture TEST=ingest ROUNDS=10", "nodes, broker and Keeper killed again and again, then a count"),
    ("make torture TEST=backfill ROUNDS=10", "loader, shards and their network killed, then a count"),
    ("make bench BENCH=ingest", "latency and throughput against ClickHouse's default settings"),
    ("make up", "an empty stack for posthouse"),
];

/// Prints commands to try while the servers are up.
fn stay(ground: &Ground, screen: &Screen) {
    screen.heading("The servers are up until Ctrl-C, or until `make down` in another shell");
    print!("{}", ground.record.table());
    println!("  config  {}", ground.record.config.display());
    let posthouse = format!("{} --config {}", ground.posthouse(), ground.record.config.display());
    let url = ground.first().http_url();
    let mut commands = vec![
        (format!("{posthouse} schema check"), "does any table differ from the config?"),
        (format!("{posthouse} topics groups"), "how far is every consumer group?"),
        (format!("{posthouse} backfill list"), "which loads exist, and are they verified?"),
        (format!("{posthouse} persons audit"), "does every node match PostgreSQL?"),
        (format!("{posthouse} udf check"), "do the functions agree with the built-ins?"),
        (
            format!("curl {url} --data-binary \"{} FORMAT Vertical\"", queries::ONE_DEAD_LETTER),
            "a dead letter with its raw message",
        ),
        (
            format!("curl {url} --data-binary \"{} FORMAT PrettyCompact\"", queries::PARTS),
            "the parts of each table",
        ),
    ];
    if let Some(pid) = ground.victim().pid() {
        commands.push((format!("kill -9 {pid}"), "kill the node a second time: it restarts by itself"));
    }
    let commands: Vec<_> = commands.iter().map(|(command, meaning)| (command.as_str(), *meaning)).collect();
    screen.commands(&commands);
}
