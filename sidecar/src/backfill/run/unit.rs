//! Reading of one unit: batches, mapping, rejected rows, slices.

use std::path::PathBuf;
use std::sync::Arc;

use posthouse_udf::shard::Weights;
use tokio::runtime::Handle;

use super::progress::Progress;
use super::rejects::TooManyRejects;
use super::{Limits, RunError};
use crate::backfill::map::{Quarantine, QuarantineError, Reject};
use crate::backfill::plan::{File, LoadPlan, Unit};
use crate::backfill::read::{Batch, batches};
use crate::backfill::shard::{Memory, Slice, Slicer};

/// Shared inputs for reading the units of a plan.
pub(crate) struct UnitReader {
    pub(crate) plan: Arc<LoadPlan>,
    pub(crate) rule: Weights,
    pub(crate) limits: Limits,
    /// Memory budget for the blocks of all slices.
    pub(crate) memory: Arc<Memory>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) runtime: Handle,
}

impl UnitReader {
    /// Reads one unit and passes its slices in order to `full`. Returns the number of rejected
    /// rows.
    ///
    /// # Errors
    /// The first fault, including a fault of `full`, or [`RunError::Stopped`], which is no fault.
    pub(crate) fn unit(
        &self,
        unit: &Unit,
        mut full: impl FnMut(Slice) -> Result<(), RunError>,
    ) -> Result<u64, RunError> {
        let file = &self.plan.files[unit.file];
        let mut slicer = Slicer::new(unit.id, &self.rule, file.slice_bytes(), self.memory.clone());
        let mut aside = Aside { path: self.quarantine(unit), file, rejected: 0, open: None };
        let input = Arc::new(self.runtime.block_on(file.object.open())?);
        let (groups, columns) = (unit.row_groups.clone(), file.mapper.projection());
        for batch in batches(input.clone(), &file.footer, groups, columns, self.limits.decoding) {
            if let Some(stop) = self.progress.ending() {
                return Err(RunError::Stopped(stop));
            }
            let batch = batch?;
            let mapped = file.mapper.map(&batch.rows);
            self.progress.read.add(batch.rows.num_rows() as u64);
            if let Some(first) = mapped.rejects.first() {
                self.progress.rejected.add(mapped.rejects.len() as u64);
                aside.put(&batch, &mapped.rejects)?;
                if let Some(too_many) = self.too_many(file, &batch, first) {
                    // Finished here, so that the rejected rows so far can be inspected.
                    aside.finish()?;
                    return Err(too_many.into());
                }
            }
            // Before a slice is sent, check that the file still matches the plan.
            slicer.push(&mapped.events, |slice| {
                input.unchanged()?;
                full(slice)
            })?;
        }
        input.unchanged()?;
        slicer.finish().map(full).transpose()?;
        Ok(aside.finish()?)
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

/// Destination of a unit's rejected rows. A unit without any gets no file.
struct Aside<'a> {
    path: Option<PathBuf>,
    file: &'a File,
    rejected: u64,
    open: Option<Quarantine>,
}

impl Aside<'_> {
    fn put(&mut self, batch: &Batch, rejects: &[Reject]) -> Result<(), QuarantineError> {
        self.rejected += rejects.len() as u64;
        let Some(path) = &self.path else { return Ok(()) };
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let folder = path.parent().unwrap_or(path);
                std::fs::create_dir_all(folder)
                    .map_err(|source| QuarantineError::Io { path: path.clone(), source })?;
                let made = Quarantine::create(path, &self.file.footer, batch.rows.schema_ref())?;
                self.open.insert(made)
            }
        };
        open.add(batch, rejects)
    }

    fn finish(self) -> Result<u64, QuarantineError> {
        self.open.map(Quarantine::finish).transpose()?;
        Ok(self.rejected)
    }
}
