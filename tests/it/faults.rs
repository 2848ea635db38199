//! Kill tests, the short size of `make torture`: servers die while events flow, and every row is counted.

use anyhow::ensure;
use posthouse_tests::stack::Progress;
use posthouse_tests::torture::Report;
use posthouse_tests::torture::ingest::{self, Offsets};

use crate::seed;

tests! {
    Own with_offsets_in_keeper_nothing_is_lost_and_nothing_comes_twice,
    Own with_offsets_in_the_group_nothing_is_lost,
}

/// One of each kind of fault.
const ALL_KINDS: u32 = 7;
/// A node, both nodes, the broker.
const SOME: u32 = 3;

fn run(offsets: Offsets, rounds: u32) -> anyhow::Result<Report> {
    let stack = ingest::stack(&Progress::Silent)?;
    let report = ingest::run(&stack, offsets, rounds, seed("faults")?, &|line| eprintln!("faults: {line}"))?;
    eprintln!("faults: {report:?}");
    ensure!(report.rounds == rounds && report.kills >= rounds && report.produced > 0, "{report:?}");
    Ok(report)
}

fn with_offsets_in_keeper_nothing_is_lost_and_nothing_comes_twice() -> anyhow::Result<()> {
    let report = run(Offsets::Keeper, ALL_KINDS)?;
    ensure!((report.lost, report.twice) == (0, 0), "{report:?}");
    Ok(())
}

fn with_offsets_in_the_group_nothing_is_lost() -> anyhow::Result<()> {
    // At least once: how much comes twice is told, not promised.
    let report = run(Offsets::Group, SOME)?;
    eprintln!("faults: {} rows came twice", report.twice);
    ensure!(report.lost == 0, "{report:?}");
    Ok(())
}
