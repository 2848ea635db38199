//! `--dry-run`: a load without inserts.
//!
//! All rows are read, mapped and cut. Only rejected rows are written, to the quarantine.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::progress::Progress;
use super::unit::UnitReader;
use super::{Limits, RunError, Stop, is_stop};
use crate::backfill::insert::Route;
use crate::backfill::plan::{LoadPlan, Unit};
use crate::span;

/// Rows and blocks that a load would send to one shard and month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShardMonthSummary {
    /// From 1.
    pub(crate) shard: u32,
    /// The partition.
    pub(crate) month: u32,
    pub(crate) rows: u64,
    /// Each becomes a part.
    pub(crate) blocks: u64,
    /// Bytes of values.
    pub(crate) bytes: u64,
}

/// Reads and counts all units of the plan, including units that are done. Rejected rows are written
/// to the quarantine, as in a load.
///
/// # Errors
/// Never [`RunError::Stopped`].
pub(crate) async fn dry_run(
    route: &Route,
    plan: Arc<LoadPlan>,
    limits: &Limits,
    progress: Arc<Progress>,
) -> anyhow::Result<(Vec<ShardMonthSummary>, Option<Stop>)> {
    let reading = UnitReader::new(route, plan, limits, progress.clone());
    let span = span::load(&reading.plan.job);
    let counting = move || span.in_scope(|| count(&reading));
    let counted = tokio::task::spawn_blocking(counting).await.map_err(RunError::from)?;
    Ok((counted?, progress.stopped()))
}

fn count(reading: &UnitReader) -> anyhow::Result<Vec<ShardMonthSummary>> {
    let mut shares = BTreeMap::new();
    // The rows of a bundle that is done can't be read without all of its files.
    let is_whole = |unit: &&Unit| reading.plan.bundles[unit.bundle].is_whole();
    let mut units = reading.plan.units.iter().filter(is_whole);
    match units.try_for_each(|unit| count_unit(reading, unit, &mut shares)) {
        Err(fault) if !is_stop(&fault) => Err(fault),
        _ => Ok(shares.into_values().collect()),
    }
}

/// Adds a unit's blocks to their shards and months.
fn count_unit(
    reading: &UnitReader,
    unit: &Unit,
    shares: &mut BTreeMap<(u32, u32), ShardMonthSummary>,
) -> anyhow::Result<()> {
    let _span = span::unit(&reading.plan.job, &unit.id).entered();
    for slice in reading.slices(unit)? {
        for block in slice?.blocks {
            let (shard, month) = (block.shard, block.month);
            let empty = ShardMonthSummary { shard, month, rows: 0, blocks: 0, bytes: 0 };
            let share = shares.entry((shard, month)).or_insert(empty);
            share.rows += u64::from(block.rows);
            share.blocks += 1;
            share.bytes += block.bytes();
        }
    }
    Ok(())
}
