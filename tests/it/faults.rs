//! Kill tests, the short size of `make torture`.
//!
//! Servers die while events flow, and every row is counted.

use anyhow::ensure;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use posthouse_tests::torture::Report;
use posthouse_tests::torture::ingest::{self, Offsets};

use crate::seed;

tests! {
    Own with_offsets_in_keeper_nothing_is_lost_and_nothing_comes_twice,
    Own with_offsets_in_the_group_nothing_is_lost,
    Own a_token_that_outlived_its_part_does_not_lose_the_block,
}

/// One of each kind of fault.
const ALL_KINDS: u32 = 8;
/// A node, both nodes, the broker.
const SOME: u32 = 3;

/// Rows of a history of two months, which makes two parts.
const TOKEN_ROWS: u64 = 3_000;

fn run(offsets: Offsets, rounds: u32) -> anyhow::Result<Report> {
    let stack = offsets.stack(&Progress::Silent)?;
    let report = ingest::run(&stack, offsets, rounds, seed("faults")?, &|line| eprintln!("faults: {line}"))?;
    eprintln!("faults: {report:?}");
    ensure!(report.rounds == rounds && report.kills > 0 && report.produced > 0, "{report:?}");
    Ok(report)
}

fn with_offsets_in_keeper_nothing_is_lost_and_nothing_comes_twice() -> anyhow::Result<()> {
    let report = run(Offsets::Keeper, ALL_KINDS)?;
    ensure!((report.lost, report.twice) == (0, 0), "{report:?}");
    Ok(())
}

fn with_offsets_in_the_group_nothing_is_lost() -> anyhow::Result<()> {
    // Delivery is at least once, so the number of repeated rows is printed, not asserted.
    let report = run(Offsets::Group, SOME)?;
    eprintln!("faults: {} rows came twice", report.twice);
    ensure!(report.lost == 0, "{report:?}");
    Ok(())
}

fn a_token_that_outlived_its_part_does_not_lose_the_block() -> anyhow::Result<()> {
    // GIVEN a load with units begun in the ledger, and a node that knows its tokens but has none of
    // its parts. A node is in this state if it was killed after it wrote a token and before the
    // part was in place
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::Lines)?;
    let site = Site::new(&stack, "faults_tokens")?;
    site.apply()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events.parquet").display().to_string();
    site.query(&format!(
        "INSERT INTO FUNCTION file('{file}', Parquet) SELECT generateUUIDv4() AS uuid, 'e' AS event, '{{}}' AS properties, \
         toDateTime64('2026-01-31 00:00:00', 6, 'UTC') + number * 60 AS timestamp, 7 AS team_id, toString(number) AS distinct_id, \
         '' AS elements_hash, timestamp AS created_at, '' AS elements_chain FROM numbers({TOKEN_ROWS})"
    ))?;
    let load = ["backfill", "run", &file, "--mapping", "identity"];
    site.must(&load)?;
    site.query("CREATE TABLE {db}.begun ENGINE = Log AS SELECT * FROM {db}.sharded_backfill_ledger WHERE state = 'begun'")?;
    site.query("TRUNCATE TABLE {db}.sharded_backfill_ledger SYNC")?;
    site.query("INSERT INTO {db}.sharded_backfill_ledger SELECT * FROM {db}.begun")?;
    let parts = site.query(
        "SELECT path FROM system.parts WHERE database = '{db}' AND table = 'sharded_events' FORMAT TSVRaw",
    )?;
    let node = &stack.nodes()[0];
    node.stop();
    for part in parts.lines() {
        std::fs::remove_dir_all(part)?;
    }
    node.start()?;
    let left = site.query("SELECT count() FROM {db}.events")?;
    ensure!(parts.lines().count() >= 2 && left == "0", "{left} rows in {parts}");
    // WHEN the same command is repeated
    let again = site.must(&load)?;
    // THEN every row is stored once, and verified
    let rows = site.query("SELECT count(), uniqExact(uuid) FROM {db}.events")?;
    ensure!(rows == format!("{TOKEN_ROWS}\t{TOKEN_ROWS}"), "{rows} after {again}");
    ensure!(again.stdout.contains("proven"), "{again}");
    Ok(())
}
