//! Quarantine file of one unit.
//!
//! A unit without rejected rows has no file.

use std::path::PathBuf;

use anyhow::Context;

use crate::backfill::map::{Quarantine, Reject, cant_write};
use crate::backfill::read::Batch;

/// Counts a unit's rejected rows and writes them to its quarantine file.
pub(super) struct UnitQuarantine {
    /// `None` if the rows are only counted.
    path: Option<PathBuf>,
    rejected: u64,
    open: Option<Quarantine>,
}

impl UnitQuarantine {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, rejected: 0, open: None }
    }

    /// Returns the number of rejected rows so far.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Adds the rejected rows of a batch of `file`. The first ones create the quarantine file. All
    /// files of a unit have equal columns.
    pub(super) fn add(&mut self, file: &str, batch: &Batch, rejects: &[Reject]) -> anyhow::Result<()> {
        self.rejected += rejects.len() as u64;
        let Some(path) = &self.path else { return Ok(()) };
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let folder = path.parent().unwrap_or(path);
                std::fs::create_dir_all(folder).with_context(|| cant_write(path))?;
                let made = Quarantine::create(path, batch.rows.schema_ref())?;
                self.open.insert(made)
            }
        };
        open.add(file, batch, rejects)
    }

    /// Completes the file, if there is one.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.open.take().map(Quarantine::finish).transpose().map(drop)
    }
}
