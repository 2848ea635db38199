//! `make torture`: long kill tests, with one report each in `target/torture`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use posthouse_tests::torture::Report;
use posthouse_tests::torture::ingest::{self, Offsets};
use posthouse_tests::torture::{backfill, persons, snapshot, squash, topics};

/// Kill servers at random times and count lost and duplicate rows.
#[derive(Parser)]
#[command(after_help = "Example:\n  torture --test ingest --rounds 30 --seed 7")]
struct Arguments {
    /// Run the tests whose name starts with this prefix; all by default.
    #[arg(long, default_value = "")]
    test: String,
    /// Faults per test.
    #[arg(long, default_value_t = 30)]
    rounds: u32,
    /// Seed that repeats a run's choices; random by default, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for reports.
    #[arg(long, default_value = "target/torture")]
    reports: PathBuf,
}

/// A kill test: its faults, and the expected result.
struct Test {
    name: &'static str,
    run: fn(u32, u64) -> anyhow::Result<Report>,
    /// Whether duplicate rows are a failure, or the effect that the test shows.
    twice: Twice,
}

#[derive(PartialEq)]
enum Twice {
    Never,
    Shown,
}

const TESTS: [Test; 8] = [
    Test {
        name: "ingest",
        run: |rounds, seed| ingest_with(Offsets::Keeper, rounds, seed),
        twice: Twice::Never,
    },
    Test {
        name: "ingest_group",
        run: |rounds, seed| ingest_with(Offsets::Group, rounds, seed),
        twice: Twice::Shown,
    },
    Test {
        name: "ingest_hasty",
        run: |rounds, seed| ingest_with(Offsets::Hasty, rounds, seed),
        twice: Twice::Shown,
    },
    Test { name: "backfill", run: backfill, twice: Twice::Never },
    Test { name: "topics_apply", run: topics_apply, twice: Twice::Never },
    Test { name: "persons", run: persons, twice: Twice::Never },
    Test { name: "snapshot", run: snapshot, twice: Twice::Never },
    Test { name: "squash", run: squash, twice: Twice::Never },
];

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut failed = false;
    for test in TESTS.iter().filter(|test| test.name.starts_with(&arguments.test)) {
        println!("{}: {} rounds, seed {seed}", test.name, arguments.rounds);
        let report = (test.run)(arguments.rounds, seed)?;
        report.write(&arguments.reports)?;
        print(&report);
        failed |= report.lost > 0 || (test.twice == Twice::Never && report.twice > 0);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn ingest_with(offsets: Offsets, rounds: u32, seed: u64) -> anyhow::Result<Report> {
    let stack = offsets.stack(&Progress::on_stderr())?;
    ingest::run(&stack, offsets, rounds, seed, &|line| println!("  {line}"))
}

fn backfill(rounds: u32, seed: u64) -> anyhow::Result<Report> {
    let stack = ingest::stack(&Progress::on_stderr())?;
    backfill::run(&stack, rounds, seed, &|line| println!("  {line}"))
}

fn topics_apply(rounds: u32, seed: u64) -> anyhow::Result<Report> {
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::on_stderr())?;
    topics::run(&stack, rounds, seed, &|line| println!("  {line}"))
}

fn persons(rounds: u32, seed: u64) -> anyhow::Result<Report> {
    let stack = persons::stack(&Progress::on_stderr())?;
    persons::run(&stack, rounds, seed, &|line| println!("  {line}"))
}

fn snapshot(rounds: u32, seed: u64) -> anyhow::Result<Report> {
    let stack = snapshot::stack(&Progress::on_stderr())?;
    snapshot::run(&stack, rounds, seed, &|line| println!("  {line}"))
}

fn squash(rounds: u32, seed: u64) -> anyhow::Result<Report> {
    let stack = squash::stack(&Progress::on_stderr())?;
    squash::run(&stack, rounds, seed, &|line| println!("  {line}"))
}

fn print(report: &Report) {
    println!(
        "{}: {} kills, produced {}, stored {}, lost {}, twice {} (seed {})",
        report.name, report.kills, report.produced, report.stored, report.lost, report.twice, report.seed
    );
}
