//! Slices of one unit: batches, mapping, rejected rows, cut.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use posthouse_udf::shard::Weights;
use tokio::runtime::Handle;

use super::progress::Progress;
use super::reject_reasons::without_values;
use super::rejects::TooManyRejects;
use super::unit_files::{UnitFile, UnitFiles};
use super::unit_quarantine::UnitQuarantine;
use super::{Limits, RunError};
use crate::backfill::events::EventBatch;
use crate::backfill::insert::Route;
use crate::backfill::map::Reject;
use crate::backfill::plan::{Bundle, File, LoadPlan, Unit};
use crate::backfill::read::Batch;
use crate::backfill::shard::{Memory, Slice, Slicer};
use crate::backfill::source::SourceError;

/// Shared inputs for reading the units of a plan.
pub(crate) struct UnitReader {
    pub(crate) plan: Arc<LoadPlan>,
    pub(super) limits: Limits,
    pub(super) progress: Arc<Progress>,
    pub(crate) runtime: Handle,
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

    /// Returns the slices of a unit.
    ///
    /// # Errors
    /// Fails if the plan lacks some of its files.
    pub(crate) fn slices(&self, unit: &Unit) -> anyhow::Result<UnitSlices<'_>> {
        let bundle = &self.plan.bundles[unit.bundle];
        ensure!(
            bundle.is_whole(),
            "the sources have only {} of {} files that were loaded together: name the others too",
            bundle.files.len(),
            bundle.file_count
        );
        let files = UnitFiles::new(bundle, unit, self.runtime.clone());
        let quarantine = UnitQuarantine::new(self.quarantine(unit));
        let slicer = Slicer::new(unit.id, &self.weights, bundle.slice_bytes(), self.memory.clone());
        let events = UnitEvents { reader: self, bundle, files, current: None, quarantine };
        Ok(UnitSlices { events, slicer, is_ended: false })
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
            reason: without_values(&first.reason),
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
        self.events.unchanged()?;
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
    bundle: &'a Bundle,
    files: UnitFiles,
    current: Option<UnitFile>,
    quarantine: UnitQuarantine,
}

impl UnitEvents<'_> {
    /// Checks that the bytes read from the current file belong to the planned file.
    fn unchanged(&self) -> Result<(), SourceError> {
        self.current.as_ref().map_or(Ok(()), |current| current.file.reader.unchanged())
    }

    fn next_events(&mut self) -> anyhow::Result<Option<EventBatch>> {
        loop {
            let Some(current) = &mut self.current else {
                match self.files.next(self.bundle, self.reader.limits.decoding) {
                    Some(opened) => self.current = Some(opened?),
                    None => return Ok(None),
                }
                continue;
            };
            let index = current.index;
            match current.batches.next() {
                Some(batch) => return self.map(index, &batch?).map(Some),
                None => {
                    self.unchanged()?;
                    self.current = None;
                }
            }
        }
    }

    /// Maps a batch of the bundle's file with index `file`.
    fn map(&mut self, file: usize, batch: &Batch) -> anyhow::Result<EventBatch> {
        let progress = &self.reader.progress;
        if let Some(stop) = progress.ending() {
            return Err(RunError::Stopped(stop).into());
        }
        let planned = &self.bundle.files[file];
        let mapped = planned.mapper.map(&batch.rows);
        progress.read.add(batch.rows.num_rows() as u64);
        if let Some(first) = mapped.rejects.first() {
            progress.rejected.add(mapped.rejects.len() as u64);
            self.quarantine.add(&planned.object.location, batch, &mapped.rejects)?;
            progress.reject_reasons.add(&planned.object.location, batch, &mapped.rejects);
            if let Some(too_many) = self.reader.too_many(planned, batch, first) {
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
        self.next_events().transpose()
    }
}
