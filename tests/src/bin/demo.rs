//! `demo`: what posthouse does, on real servers, in a minute; `make demo` builds and runs it.

use std::process::ExitCode;

use clap::Parser;
use posthouse_tests::demo::run;
use posthouse_tests::stack::{INTERRUPTED, watch_signals};

/// Sends 200,000 messages through Kafka into a sharded ClickHouse, loads a year of history from Parquet, kills a node and
/// the loader on the way, and counts.
#[derive(Parser)]
#[command(
    name = "demo",
    after_help = "Exit codes: 0 every message and row is there once, 1 one is not or something failed, 130 interrupted."
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
        // Every wait was told to fail, so the error says nothing new.
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
