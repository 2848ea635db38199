//! `make bench`: ours beside its peer in one run on the real servers; a table, and `target/bench/NAME.json`.

mod backfill;
mod ingest_drain;
mod ingest_latency;
mod persons;
mod report;
mod topics;
mod udf;

use std::path::Path;

use clap::Parser;

/// Measures posthouse against its peers.
#[derive(Parser)]
struct Arguments {
    /// Run the benchmarks whose name begins so; all without it.
    #[arg(default_value = "")]
    name: String,
    /// Given by cargo; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Name and benchmark; one run of a benchmark may report several figures.
type Bench = (&'static str, fn() -> anyhow::Result<Vec<report::Report>>);

const BENCHES: [Bench; 9] = [
    ("ingest_latency", ingest_latency::run),
    ("ingest_poll_timeouts", ingest_latency::poll_timeouts),
    ("ingest_drain", ingest_drain::run),
    ("udf", udf::run),
    ("backfill", backfill::run),
    ("backfill_memory", backfill::memory),
    ("topics_plan", topics::run),
    ("persons_latency", persons::latency),
    ("persons_snapshot", persons::snapshot),
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut reports = Vec::new();
    for (_, run) in BENCHES.iter().filter(|(name, _)| name.starts_with(&arguments.name)) {
        reports.extend(run()?);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    reports.iter().try_for_each(|report| report.write(&folder))?;
    report::print(&reports);
    Ok(())
}
