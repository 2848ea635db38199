//! Slices that a killed run has stored and not recorded.

use std::collections::BTreeSet;

use anyhow::Context;
use serde::Deserialize;

use super::{Undo, UndoParams};
use crate::backfill::ledger::{LedgerError, Record, State, record};
use crate::backfill::place::UnitId;

/// Slices of a unit that are tried, at most. A unit has four slices if its values are as large as
/// its file counts them, and more if they are dictionary-encoded.
const MAX_SLICES: u64 = 1 << 22;
/// Slices without a record on a shard that are looked at.
const MAX_UNRECORDED: u64 = 1_000_000;

/// A unit that a run has begun and not done.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct OpenUnit {
    file: String,
    unit: String,
    /// Rows of its file. A slice has at least one.
    rows: u64,
}

/// A slice of the undone files that the ledger does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UnrecordedSlice {
    file: String,
    unit: String,
    slice: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnrecordedSlices(Vec<UnrecordedSlice>);

#[derive(Deserialize)]
struct SliceNumber {
    slice: u64,
}

impl UnrecordedSlices {
    pub(super) fn slices(&self) -> Vec<u64> {
        self.0.iter().map(|found| found.slice).collect()
    }

    /// Finds those of `unknown` slices that are of `units`.
    fn find(mut unknown: BTreeSet<u64>, units: &[OpenUnit]) -> anyhow::Result<Self> {
        let mut found = Vec::new();
        for OpenUnit { file, unit, rows } in units {
            let id: UnitId =
                unit.parse().with_context(|| format!("{unit} in the ledger is no id of a unit"))?;
            for number in 0..u32::try_from(MAX_SLICES.min(*rows))? {
                if unknown.is_empty() {
                    break;
                }
                let slice = id.slice(number).number();
                if unknown.remove(&slice) {
                    let (file, unit) = (file.clone(), unit.clone());
                    found.push(UnrecordedSlice { file, unit, slice });
                }
            }
        }
        Ok(Self(found))
    }
}

impl Undo<'_> {
    /// Units of the files that are begun and not done.
    pub(super) async fn open_units(&self) -> Result<Vec<OpenUnit>, LedgerError> {
        self.rows(self.route.any(), "backfill/undo_units.sql", UndoParams::default()).await
    }

    /// Slices with stored rows of open units that the ledger does not have.
    pub(super) async fn unrecorded(&self, units: &[OpenUnit]) -> anyhow::Result<UnrecordedSlices> {
        if units.is_empty() {
            return Ok(UnrecordedSlices::default());
        }
        let mut unknown = BTreeSet::new();
        let params = UndoParams { limit: MAX_UNRECORDED, ..UndoParams::default() };
        for node in &self.cluster.nodes {
            let slices: Vec<SliceNumber> = self.rows(node, "backfill/undo_unrecorded.sql", params).await?;
            unknown.extend(slices.into_iter().map(|found| found.slice));
        }
        let units = units.to_vec();
        tokio::task::spawn_blocking(move || UnrecordedSlices::find(unknown, &units)).await?
    }

    /// Adds the slices to the ledger of every shard.
    pub(super) async fn record_unrecorded(&self, found: &UnrecordedSlices) -> anyhow::Result<()> {
        for (shard, nodes) in self.shards() {
            let records = found.0.iter().map(|found| Record {
                unit: found.unit.clone(),
                slice: found.slice,
                ..Record::of_file(self.job, &found.file, shard, 0, State::Undoing)
            });
            let records: Vec<Record> = records.collect();
            record(&nodes, &self.cluster.config.database, "sharded_backfill_ledger", &records).await?;
        }
        self.settle("sharded_backfill_ledger").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backfill::place::SliceId;

    fn unit(name: &str, rows: u64) -> (OpenUnit, UnitId) {
        let id = UnitId::of(&[name]);
        (OpenUnit { file: name.to_owned(), unit: id.to_string(), rows }, id)
    }

    #[test]
    fn finds_slices_of_open_units_and_no_others() {
        let ((one, one_id), (two, two_id)) = (unit("one", 100), unit("two", 3));
        let slices = [one_id.slice(0), one_id.slice(99), one_id.slice(100), two_id.slice(2)];
        let unknown: BTreeSet<u64> = slices.iter().copied().map(SliceId::number).chain([7]).collect();
        let found = UnrecordedSlices::find(unknown, &[one, two]).expect("ids of units");
        let expected: Vec<u64> = [slices[0], slices[1], slices[3]].map(SliceId::number).to_vec();
        assert_eq!(found.slices(), expected);
        assert_eq!(found.0[2].file, "two");
    }
}
