//! `make bench`: benchmarks of posthouse against its peers on real servers.
//!
//! Results go to a table and to `target/bench/NAME.json`.

mod backfill;
mod backfill_small_files;
mod ingest_drain;
mod ingest_latency;
mod person_of;
mod persons;
mod report;
mod topics;
mod udf;

use std::path::Path;

use anyhow::ensure;
use clap::Parser;

use crate::report::{Report, Wanted};

/// Measure posthouse against its peers.
#[derive(Parser)]
struct Arguments {
    /// Measure the figures whose names start with this prefix; all by default.
    #[arg(default_value = "")]
    name: String,
    /// Passed by cargo and ignored.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The figures of one run, and the function that runs it. It may skip figures that aren't selected.
type Bench = (Vec<&'static str>, fn(&Wanted) -> anyhow::Result<Vec<Report>>);

fn benches() -> [Bench; 17] {
    [
        (ingest_latency::FIGURES.to_vec(), |_| ingest_latency::run()),
        (vec!["ingest_poll_timeouts"], |_| ingest_latency::poll_timeouts()),
        (vec!["ingest_drain"], |_| ingest_drain::run()),
        (udf::figures(), udf::run),
        (backfill::FIGURES.to_vec(), |_| backfill::run()),
        (vec!["backfill_memory"], |_| backfill::memory()),
        (vec![backfill_small_files::HOURLY], |_| backfill_small_files::hourly()),
        (vec![backfill_small_files::FIVE_MINUTES], |_| backfill_small_files::year()),
        (vec![backfill_small_files::STORE], |_| backfill_small_files::store()),
        (person_of::figures(), person_of::run),
        (vec!["person_of_freshness"], |_| person_of::freshness()),
        (vec!["person_of_refresh"], |_| person_of::refresh()),
        (vec![person_of::ONE_HUNDRED_MILLION], person_of::one_hundred_million),
        (vec!["topics_plan"], |_| topics::run()),
        (vec!["persons_latency"], |_| persons::latency()),
        (vec!["persons_snapshot"], |_| persons::snapshot()),
        (vec!["persons_audit", "persons_repair", "persons_truncate"], |_| persons::audit()),
    ]
}

fn main() -> anyhow::Result<()> {
    let wanted = Wanted(Arguments::parse().name);
    let mut benches = benches();
    let all = benches.iter().flat_map(|(figures, _)| figures).copied().collect::<Vec<_>>().join(", ");
    for (figures, _) in &mut benches {
        figures.retain(|figure| wanted.has(figure));
    }
    ensure!(
        benches.iter().any(|(figures, _)| !figures.is_empty()),
        "no figure begins with {:?}: name one of {all}, or how some begin",
        wanted.0
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let (mut reports, mut faults) = (Vec::new(), Vec::new());
    for (figures, run) in benches.iter().filter(|(figures, _)| !figures.is_empty()) {
        // The figures of others are kept.
        match run(&wanted) {
            Ok(measured) => {
                measured.iter().try_for_each(|report| report.write(&folder))?;
                reports.extend(measured);
            }
            Err(error) => faults.push(format!("{}: {error:#}", figures.join(", "))),
        }
    }
    report::print(&reports);
    ensure!(faults.is_empty(), "not measured: {}", faults.join("\n"));
    Ok(())
}
