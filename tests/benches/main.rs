//! `make bench`: ours beside its peer in one run on the real servers; a table, and `target/bench/NAME.json`.

mod backfill;
mod ingest_drain;
mod ingest_latency;
mod persons;
mod report;
mod topics;
mod udf;

use std::path::Path;

use anyhow::ensure;
use clap::Parser;

use crate::report::{Report, Wanted};

/// Measures posthouse against its peers.
#[derive(Parser)]
struct Arguments {
    /// Measure the figures whose names begin so; all without it.
    #[arg(default_value = "")]
    name: String,
    /// Given by cargo; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Figures that come of one run, and the run, which may leave out what is not wanted.
type Bench = (&'static [&'static str], fn(&Wanted) -> anyhow::Result<Vec<Report>>);

const BENCHES: [Bench; 9] = [
    (ingest_latency::FIGURES, |_| ingest_latency::run()),
    (&["ingest_poll_timeouts"], |_| ingest_latency::poll_timeouts()),
    (&["ingest_drain"], |_| ingest_drain::run()),
    (udf::FIGURES, udf::run),
    (backfill::FIGURES, |_| backfill::run()),
    (&["backfill_memory"], |_| backfill::memory()),
    (&["topics_plan"], |_| topics::run()),
    (&["persons_latency"], |_| persons::latency()),
    (&["persons_snapshot"], |_| persons::snapshot()),
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let wanted = Wanted(arguments.name);
    let figures: Vec<&str> = BENCHES.iter().flat_map(|(figures, _)| *figures).copied().collect();
    ensure!(
        figures.iter().any(|figure| wanted.has(figure)),
        "no figure begins with {:?}; there are: {}",
        wanted.0,
        figures.join(", ")
    );
    let mut reports = Vec::new();
    for (_, run) in BENCHES.iter().filter(|(figures, _)| figures.iter().any(|figure| wanted.has(figure))) {
        reports.extend(run(&wanted)?);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    for report in &reports {
        ensure!(figures.contains(&report.name.as_str()), "{} is not among the figures", report.name);
        report.write(&folder)?;
    }
    report::print(&reports);
    Ok(())
}
