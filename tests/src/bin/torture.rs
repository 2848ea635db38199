//! `make torture`: the kill tests in their long form, one report each in `target/torture`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use posthouse_tests::stack::Progress;
use posthouse_tests::torture::Report;
use posthouse_tests::torture::ingest::{self, Offsets};

/// Kills servers at random moments and counts what was lost or came twice.
#[derive(Parser)]
#[command(after_help = "Example:\n  torture --test ingest --rounds 30 --seed 7")]
struct Arguments {
    /// Run the tests whose name begins so; all without it.
    #[arg(long, default_value = "")]
    test: String,
    /// Faults of each test.
    #[arg(long, default_value_t = 30)]
    rounds: u32,
    /// Repeats a run's choices; a random one is printed otherwise.
    #[arg(long)]
    seed: Option<u64>,
    /// Where reports go.
    #[arg(long, default_value = "target/torture")]
    reports: PathBuf,
}

/// With all but the first, a repeated message is what the test shows, not a failure.
const TESTS: [Offsets; 3] = [Offsets::Keeper, Offsets::Group, Offsets::Hasty];

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut failed = false;
    for offsets in TESTS.into_iter().filter(|offsets| offsets.test_name().starts_with(&arguments.test)) {
        println!("{}: {} rounds, seed {seed}", offsets.test_name(), arguments.rounds);
        let start = if offsets == Offsets::Hasty { ingest::hasty_stack } else { ingest::stack };
        let stack = start(&Progress::on_stderr())?;
        let report = ingest::run(&stack, offsets, arguments.rounds, seed, &|line| println!("  {line}"))?;
        report.write(&arguments.reports)?;
        print(&report);
        failed |= report.lost > 0 || (offsets == Offsets::Keeper && report.twice > 0);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(report: &Report) {
    println!(
        "{}: {} kills, produced {}, stored {}, lost {}, twice {} (seed {})",
        report.name, report.kills, report.produced, report.stored, report.lost, report.twice, report.seed
    );
}
