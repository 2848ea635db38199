//! Units: runs of row groups of a large file, or all rows of a bundle of small files.
//!
//! The rows of a unit are read, stored and recorded together.

use std::ops::Range;

use super::generation::LoadGeneration;
use crate::backfill::place::UnitId;

/// Boundaries of units and slices. They are part of every unit's id, so they are recorded with a
/// file and kept until the file is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// A slice ends with the row that reaches this many bytes of values.
    pub(crate) slice_bytes: u64,
    /// A unit ends with the row group that reaches this many bytes, as the footer counts them
    /// before compression.
    pub(crate) unit_bytes: u64,
}

/// Inputs of a unit's id besides its row groups. The same rows under another mapping are other
/// rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnitSource<'a> {
    /// The file's location.
    pub(super) location: &'a str,
    /// Identity of the file's bytes.
    pub(super) identity: &'a str,
    /// Fingerprint of the mapping, with the team of the command line.
    pub(super) mapping: &'a str,
    pub(super) generation: LoadGeneration,
}

/// A row group, as in the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlannedRowGroup {
    pub(super) rows: u64,
    /// Bytes of its columns before compression.
    pub(super) bytes: u64,
}

/// Consecutive rows of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Its id in the ledger.
    pub(crate) id: UnitId,
    /// Index of the bundle in the plan.
    pub(crate) bundle: usize,
    /// Row groups of the bundle's only file; `None` for all rows of a bundle of several files.
    pub(crate) row_groups: Option<Range<usize>>,
    pub(crate) rows: u64,
    /// Bytes before compression.
    pub(crate) bytes: u64,
}

/// Returns the units of the file of the plan's bundle with index `bundle`. Row groups without rows
/// belong to the unit around them.
pub(super) fn units(
    bundle: usize,
    origin: UnitSource<'_>,
    row_groups: &[PlannedRowGroup],
    cut: Cut,
) -> Vec<Unit> {
    let mut units = Vec::new();
    let (mut from, mut rows, mut bytes) = (0, 0, 0);
    for (index, group) in row_groups.iter().enumerate() {
        rows = group.rows.saturating_add(rows);
        bytes = group.bytes.saturating_add(bytes);
        if bytes >= cut.unit_bytes || index + 1 == row_groups.len() {
            let row_groups = from..index + 1;
            let id = id(origin, &row_groups, cut);
            units.push(Unit { id, bundle, row_groups: Some(row_groups), rows, bytes });
            (from, rows, bytes) = (index + 1, 0, 0);
        }
    }
    units
}

/// Returns the unit of a bundle of several files. The bundle's id names its files, their order, the
/// mapping and the cut.
pub(super) fn unit_of_bundle(bundle: usize, bundle_id: &str, rows: u64, bytes: u64) -> Unit {
    let id = UnitId::of(&[CUT_RULES, "bundle", bundle_id]);
    Unit { id, bundle, row_groups: None, rows, bytes }
}

/// Increment on any change of the rules that cut rows into slices and blocks, because the same row
/// ids would then name other rows.
const CUT_RULES: &str = "cut 1";

fn id(origin: UnitSource<'_>, row_groups: &Range<usize>, cut: Cut) -> UnitId {
    let groups = format!("{}..{}", row_groups.start, row_groups.end);
    let sizes = format!("{} {}", cut.slice_bytes, cut.unit_bytes);
    let generation = origin.generation.part();
    let mut parts = vec![CUT_RULES, origin.location, origin.identity, origin.mapping, &groups, &sizes];
    parts.extend(generation.as_deref());
    UnitId::of(&parts)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    const ORIGIN: UnitSource<'_> =
        UnitSource { location: "/a.parquet", identity: "i", mapping: "m", generation: LoadGeneration::FIRST };

    fn cut(unit_bytes: u64) -> Cut {
        Cut { slice_bytes: 10, unit_bytes }
    }

    fn groups(bytes: &[u64]) -> Vec<PlannedRowGroup> {
        bytes.iter().map(|bytes| PlannedRowGroup { rows: 1, bytes: *bytes }).collect()
    }

    #[test]
    fn units_are_runs_of_row_groups_that_cover_the_file() {
        let units = units(3, ORIGIN, &groups(&[4, 4, 4, 100, 1]), cut(10));
        let ranges: Vec<_> = units.iter().map(|unit| unit.row_groups.clone()).collect();
        assert_eq!(ranges, [Some(0..3), Some(3..4), Some(4..5)]);
        assert!(units.iter().all(|unit| unit.bundle == 3));
        assert_eq!(units.iter().map(|unit| unit.rows).sum::<u64>(), 5);
    }

    #[test]
    fn a_unit_ends_within_its_fourth_slice() {
        let slice = NonZeroU64::new(1_000).expect("not 0");
        for group in [1, 30, 300, 499] {
            let units = units(0, ORIGIN, &groups(&[group; 5_000]), Cut::slices_of(slice));
            let (_, whole) = units.split_last().expect("a unit");
            assert!(whole.iter().all(|unit| (3_500..4_000).contains(&unit.bytes)), "{group}");
        }
    }

    #[test]
    fn whatever_changes_the_rows_or_the_cut_changes_the_id() {
        let first = |origin, cut| units(0, origin, &groups(&[20]), cut)[0].id;
        let id = first(ORIGIN, cut(10));
        assert_eq!(id, first(ORIGIN, cut(10)));
        let others = [
            first(UnitSource { identity: "j", ..ORIGIN }, cut(10)),
            first(UnitSource { location: "/b.parquet", ..ORIGIN }, cut(10)),
            first(UnitSource { mapping: "n", ..ORIGIN }, cut(10)),
            first(ORIGIN, cut(11)),
            first(ORIGIN, Cut { slice_bytes: 11, ..cut(10) }),
        ];
        assert!(others.iter().all(|other| *other != id));
    }
}
