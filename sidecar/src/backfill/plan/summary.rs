//! Figures of a plan, shown before the load begins.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::extras::{self, ExtraSummary};
use super::range::TimeRange;
use super::unread::{UnreadColumn, of_plan};
use super::{Bundle, LoadPlan, Unit};
use crate::backfill::insert::Route;
use crate::backfill::place::SLICE_ROWS;
use crate::backfill::shard::month;
use crate::backfill::source::Skipped;
use crate::event_columns::EventColumn;

/// Rows per second that one core of a shard stores; measured with events of 400 bytes (`make bench
/// BENCH=backfill`). The shards' sorting and compression is the bottleneck, so more shards are
/// faster as long as this machine can read.
const ROWS_A_SECOND_A_SHARD: u64 = 100_000;

/// Time to set up the decoders of a file; measured with files of 29 rows (`make bench
/// BENCH=backfill_small_files`).
const DECODERS: Duration = Duration::from_micros(400);
/// How often a load opens each file: for its plan, and to read its rows.
const OPENED: u32 = 2;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) job: String,
    pub(crate) files: usize,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// Rows of this machine's share.
    pub(crate) rows: u64,
    /// Units of this machine's share.
    pub(crate) units: usize,
    /// Units that are not done.
    pub(crate) units_left: usize,
    /// Rows of the units that are not done.
    pub(crate) rows_left: u64,
    /// The team of all rows, if one is given.
    pub(crate) team_id: Option<i64>,
    /// The earliest and the latest timestamp by the footers' statistics, in microseconds; `None`
    /// without statistics.
    pub(crate) timestamps: Option<TimeRange>,
    /// Partitions of `sharded_events` between the two timestamps.
    pub(crate) months: Option<usize>,
    /// Estimated number of new parts.
    pub(crate) parts: Option<u64>,
    /// Estimated duration.
    pub(crate) seconds: u64,
    /// The route of rows to their shards.
    pub(crate) route: String,
    /// Columns beyond the core that some files fill.
    pub(crate) filled: Vec<ExtraSummary>,
    /// Columns beyond the core that get their type's default in some files.
    pub(crate) defaulted: Vec<ExtraSummary>,
    /// Columns of the files that the mapping does not read.
    pub(crate) not_loaded: Vec<UnreadColumn>,
    /// Files that the sources reach and leave out.
    pub(crate) skipped: Vec<Skipped>,
}

impl Summary {
    /// Returns the figures of `plan` for a schema with the events' `columns`.
    pub(crate) fn of(plan: &LoadPlan, route: &Route, columns: &[EventColumn]) -> Self {
        let shards = route.shards();
        let (filled, defaulted) = extras::of_plan(plan, columns);
        let left: Vec<_> = plan.units.iter().filter(|unit| !plan.is_done(unit)).collect();
        let ranges: Vec<Option<TimeRange>> = plan.bundles.iter().map(range).collect();
        let timestamps = ranges.iter().flatten().copied().reduce(TimeRange::joined);
        // Footers of bundles that the ledger has are not read.
        let left_bundles: BTreeSet<usize> = left.iter().map(|unit| unit.bundle).collect();
        let known = left_bundles.iter().all(|bundle| ranges[*bundle].is_some()) && timestamps.is_some();
        let parts = left.iter().map(|unit| {
            let by_bytes = unit.bytes.div_ceil(plan.bundles[unit.bundle].slice_bytes());
            let slices = by_bytes.max(unit.rows.div_ceil(u64::from(SLICE_ROWS))).max(1);
            let months = ranges[unit.bundle].map_or(1, |range| months(range).len() as u64);
            slices * months * shards.len() as u64
        });
        let rows_left = left.iter().map(|unit| unit.rows).sum();
        Self {
            job: plan.job.clone(),
            files: plan.files().count(),
            bytes: plan.files().map(|file| file.object.size).sum(),
            rows: plan.rows(),
            units: plan.units.len(),
            units_left: left.len(),
            rows_left,
            team_id: plan.team_id,
            timestamps: timestamps.filter(|_| known),
            months: known.then(|| {
                ranges.iter().flatten().flat_map(|range| months(*range)).collect::<BTreeSet<_>>().len()
            }),
            parts: known.then(|| parts.sum()),
            seconds: seconds(plan, &left, rows_left, shards.len()),
            route: route.way.to_string(),
            not_loaded: of_plan(plan, &defaulted),
            filled,
            defaulted,
            skipped: plan.skipped.clone(),
        }
    }
}

/// Predicts the duration of a load of the units `left`.
fn seconds(plan: &LoadPlan, left: &[&Unit], rows: u64, shards: usize) -> u64 {
    let bundles: BTreeSet<usize> = left.iter().map(|unit| unit.bundle).collect();
    let files: usize = bundles.into_iter().map(|bundle| plan.bundles[bundle].files.len()).sum();
    let per_file = plan.opening.unwrap_or_default() * OPENED + DECODERS;
    rows / (ROWS_A_SECOND_A_SHARD * shards.max(1) as u64) + (per_file.as_secs_f64() * files as f64) as u64
}

/// Returns the range of a bundle. `None` if it is unknown for a file.
fn range(bundle: &Bundle) -> Option<TimeRange> {
    let with_rows = bundle.files.iter().filter(|file| file.rows > 0);
    let ranges: Option<Vec<TimeRange>> = with_rows.map(|file| file.timestamps).collect();
    ranges?.into_iter().reduce(TimeRange::joined)
}

/// Returns the partitions from the earliest to the latest timestamp.
fn months(range: TimeRange) -> BTreeSet<u32> {
    /// Less than any month, in microseconds.
    const STEP: i64 = 20 * 86_400_000_000;
    /// Before 2020, in microseconds.
    const FIRST: i64 = 1_570_000_000_000_000;
    /// After 2035, in microseconds.
    const LAST: i64 = 2_090_000_000_000_000;
    // Months before the first and after the last partition have no separate partition.
    let (first, last) = (range.first.clamp(FIRST, LAST), range.last.clamp(FIRST, LAST));
    (first..=last).step_by(STEP as usize).chain([last]).map(month).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_from_first_to_last() {
        // 2025-01-31 23:59:59 to 2025-03-01 00:00:00.
        let range = TimeRange { first: 1_738_367_999_000_000, last: 1_740_787_200_000_000 };
        assert_eq!(months(range).into_iter().collect::<Vec<_>>(), [202_501, 202_502, 202_503]);
        assert_eq!(months(TimeRange { first: 0, last: 0 }).len(), 1);
    }
}
