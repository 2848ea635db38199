//! `demo`: one-minute demo of posthouse on real servers (`make demo`).

use std::process::ExitCode;

use clap::Parser;
use posthouse_tests::demo::run;
use posthouse_tests::stack::{INTERRUPTED, watch_signals};

/// Send 200,000 messages through Kafka into a sharded ClickHouse, load a year of history from
/// Parquet, kill a node and the loader on the way, and count the rows.
#[derive(Parser)]
#[command(
    name = "demo",
    after_help = "Exit codes: 0 every message and row is stored exactly once, 1 one is not or a step failed, 130 interrupted."
)]
struct Arguments {
    /// Leave the servers running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let signals = match watch_signals() {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    match run(arguments.keep, &signals) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Every wait has failed because of the signal, so the error adds no information.
        Err(_) if signals.try_recv().is_ok() => {
            eprintln!("demo: interrupted; the servers are stopped");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("demo: {error:#}");
    ExitCode::FAILURE
}
