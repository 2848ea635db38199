//! Slices of one unit: batches, mapping, rejected rows, cut.

use std::path::PathBuf;
use std::sync::Arc;

use posthouse_udf::shard::Weights;
use tokio::runtime::Handle;

use super::progress::Progress;
use super::rejects::TooManyRejects;
use super::unit_quarantine::UnitQuarantine;
use super::{Limits, RunError};
use crate::backfill::events::EventBatch;
use crate::backfill::insert::Route;
use crate::backfill::map::Reject;
use crate::backfill::plan::{File, LoadPlan, Unit};
use crate::backfill::read::{Batch, Batches, ReadError, batches};
use crate::backfill::shard::{Memory, Slice, Slicer};
use crate::backfill::source::ObjectReader;

/// Shared inputs for reading the units of a plan.
pub(crate) struct UnitReader {
    pub(crate) plan: Arc<LoadPlan>,
    pub(super) limits: Limits,
    pub(super) progress: Arc<Progress>,
    pub(super) runtime: Handle,
    weights: Weights,
    /// Memory budget for the blocks of all slices.
    memory: Arc<Memory>,
}

impl UnitReader {
    /// Creates a reader for the units of `plan`, whose rows go to the shards of `route`.
    pub(crate) fn new(route: &Route, plan: Arc<LoadPlan>, limits: &Limits, progress: Arc<Progress>) -> Self {
        Self {
            plan,
            limits: limits.clone(),
            progress,
            runtime: Handle::current(),
            weights: route.rule.clone(),
            memory: Memory::new(limits.block_bytes),
        }
    }

    /// Opens a unit's file and returns the unit's slices.
    pub(crate) fn slices(&self, unit: &Unit) -> anyhow::Result<UnitSlices<'_>> {
        let file = &self.plan.files[unit.file];
        let input = Arc::new(self.runtime.block_on(file.object.open())?);
        let (groups, columns) = (unit.row_groups.clone(), file.mapper.projection());
        let batches = batches(input.clone(), &file.footer, groups, columns, self.limits.decoding);
        let quarantine = UnitQuarantine::new(self.quarantine(unit), &file.footer);
        let slicer = Slicer::new(unit.id, &self.weights, file.slice_bytes(), self.memory.clone());
        let events = UnitEvents { reader: self, file, batches, quarantine };
        Ok(UnitSlices { input, events, slicer, is_ended: false })
    }

    /// Returns the fault if the rejected rows exceed the limit.
    fn too_many(&self, file: &File, batch: &Batch, first: &Reject) -> Option<TooManyRejects> {
        let limit = self.limits.rejects;
        let rejected = self.plan.rejected() + self.progress.rejected.get();
        (rejected > limit.of(self.plan.rows())).then(|| TooManyRejects {
            rejected,
            limit,
            location: file.object.location.clone(),
            row_group: batch.row_group,
            row: batch.first_row + first.row as u64,
            reason: first.reason.clone(),
            quarantine: self.folder().unwrap_or_default().display().to_string(),
        })
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.limits.quarantine.as_ref()?.join(&self.plan.job))
    }

    fn quarantine(&self, unit: &Unit) -> Option<PathBuf> {
        Some(self.folder()?.join(format!("{}.parquet", unit.id)))
    }
}

/// Iterator over a unit's slices, in order. It ends after an error, also after
/// [`RunError::Stopped`], which is no fault.
///
/// Building a slice waits for the memory of earlier slices, so pass on or drop each one before the
/// next.
pub(crate) struct UnitSlices<'a> {
    input: Arc<ObjectReader>,
    events: UnitEvents<'a>,
    slicer: Slicer<'a>,
    is_ended: bool,
}

impl UnitSlices<'_> {
    /// Returns the number of rejected rows so far; after the last slice, those of the unit.
    pub(crate) fn rejected(&self) -> u64 {
        self.events.quarantine.rejected()
    }

    fn next_slice(&mut self) -> anyhow::Result<Option<Slice>> {
        let full = self.slicer.next_full(&mut self.events)?;
        // Before a slice is sent, check that the file still matches the plan.
        self.input.unchanged()?;
        if full.is_some() {
            return Ok(full);
        }
        self.is_ended = true;
        self.events.quarantine.finish()?;
        Ok(self.slicer.take_rest())
    }
}

impl Iterator for UnitSlices<'_> {
    type Item = anyhow::Result<Slice>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let slice = self.next_slice();
        self.is_ended |= slice.is_err();
        slice.transpose()
    }
}

/// Iterator over a unit's valid rows. It adds the rejected rows to the quarantine.
struct UnitEvents<'a> {
    reader: &'a UnitReader,
    file: &'a File,
    batches: Batches<ObjectReader>,
    quarantine: UnitQuarantine<'a>,
}

impl UnitEvents<'_> {
    fn map(&mut self, batch: Result<Batch, ReadError>) -> anyhow::Result<EventBatch> {
        let progress = &self.reader.progress;
        if let Some(stop) = progress.ending() {
            return Err(RunError::Stopped(stop).into());
        }
        let batch = batch?;
        let mapped = self.file.mapper.map(&batch.rows);
        progress.read.add(batch.rows.num_rows() as u64);
        if let Some(first) = mapped.rejects.first() {
            progress.rejected.add(mapped.rejects.len() as u64);
            self.quarantine.add(&batch, &mapped.rejects)?;
            if let Some(too_many) = self.reader.too_many(self.file, &batch, first) {
                // Finished here, so that the rejected rows so far can be inspected.
                self.quarantine.finish()?;
                return Err(too_many.into());
            }
        }
        Ok(mapped.events)
    }
}

impl Iterator for UnitEvents<'_> {
    type Item = anyhow::Result<EventBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        Some(self.map(batch))
    }
}
