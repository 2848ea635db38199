//! Plan of a load: files, units and progress of earlier runs.
//!
//! Making a plan only reads.

mod previous_loads;
mod generation;
mod make;
mod overtaken;
mod binding;
mod bundle;
mod extras;
mod faults;
mod file;
mod footers;
mod pages;
mod progress;
mod range;
mod partition;
mod recalled;
mod summary;
mod tables;
mod units;
mod unread;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::bundle::{Bundle, Bundling};
pub(crate) use self::extras::ExtraSummary;
pub(crate) use self::file::{File, OpenFile, PlannedBytes};
pub(crate) use self::make::{RacedLoad, Request, confirm, make, remake};
pub(crate) use self::overtaken::{overtaking, without_overtaken};
pub(crate) use self::partition::JobPartition;
pub(crate) use self::previous_loads::IfLoaded;
use self::previous_loads::{LoadSettings, RequestedFile, check_previous_loads};
pub(crate) use self::progress::PlanProgress;
pub(crate) use self::summary::Summary;
pub(crate) use self::units::{Cut, Unit};
pub(crate) use self::unread::UnreadColumn;
use super::ledger::{BundledFile, FileRecord, Known};
use super::source::Skipped;

/// The files and units of a load, and its settings.
#[derive(Debug)]
pub(crate) struct LoadPlan {
    /// Equal for the same files under the same mapping.
    pub(crate) job: String,
    /// Sorted by the location of their first files.
    pub(crate) bundles: Vec<Bundle>,
    /// The units of this machine's share, in the order of bundles.
    pub(crate) units: Vec<Unit>,
    /// Progress of earlier runs on these units.
    pub(crate) known: Known,
    /// Time to open a file and to read its footer, as measured; `None` if none was read.
    opening: Option<Duration>,
    /// Bundles and locations of this job that are in the ledger.
    recorded: BTreeSet<BundledFile>,
    /// Bytes of pages that one file has open at once, if they take memory from blocks, else 0.
    pub(crate) page_bytes: u64,
    /// Files that the sources reach and leave out.
    skipped: Vec<Skipped>,
    mapping: String,
    team_id: Option<i64>,
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

impl LoadPlan {
    /// Returns the files of all bundles.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.bundles.iter().flat_map(|bundle| &bundle.files)
    }

    /// Returns one file of each kind, with the number of files like it. Files of one kind have
    /// equal columns and fill the same ones.
    fn kinds(&self) -> impl Iterator<Item = (&File, usize)> {
        let mut kinds = BTreeMap::new();
        for file in self.files() {
            let kind = (Arc::as_ptr(&file.schema), Arc::as_ptr(&file.mapper));
            kinds.entry(kind).or_insert((file, 0)).1 += 1;
        }
        kinds.into_values()
    }

    /// Returns the records of files that the ledger does not have yet, in two parts. The second one
    /// has the last file of each bundle. It is written at once, after the first, so that it decides
    /// which of two runs was first.
    pub(crate) fn records(&self) -> [impl Iterator<Item = FileRecord>; 2] {
        [false, true].map(|is_last| {
            let bundles = self.bundles.iter();
            bundles.flat_map(move |bundle| {
                let last = bundle.files.len().saturating_sub(1);
                let of_part = bundle.files.iter().enumerate();
                let of_part = of_part.filter(move |(index, _)| (*index == last) == is_last);
                of_part.filter_map(move |(_, file)| self.record(bundle, file))
            })
        })
    }

    /// Returns the record of a file, if the ledger does not have it yet.
    fn record(&self, bundle: &Bundle, file: &File) -> Option<FileRecord> {
        let (id, location) = (bundle.id.clone(), file.object.location.clone());
        let is_recorded =
            self.recorded.contains(&BundledFile { file: id.clone(), location: location.clone() });
        (!is_recorded).then(|| FileRecord {
            job: self.job.clone(),
            file: id,
            location,
            identity: file.identity.clone(),
            mapping: self.mapping.clone(),
            mapping_fingerprint: file.mapper.fingerprint().to_owned(),
            team_id: self.team_id,
            weights: bundle.settings.weights.clone(),
            slice_bytes: bundle.settings.cut.slice_bytes,
            unit_bytes: bundle.settings.cut.unit_bytes,
            rows: file.rows,
            bytes: file.object.size,
            bundle_files: bundle.file_count,
        })
    }

    /// Returns the rows of this machine's share.
    pub(crate) fn rows(&self) -> u64 {
        self.units.iter().map(|unit| unit.rows).sum()
    }

    /// Whether every shard has all blocks of the unit.
    pub(crate) fn is_done(&self, unit: &Unit) -> bool {
        self.known.is_done(&unit.id.to_string(), &self.bundles[unit.bundle].shards())
    }

    /// Whether some of its files depend on each other.
    pub(crate) fn has_bundles(&self) -> bool {
        self.bundles.iter().any(|bundle| bundle.file_count > 1)
    }

    /// Whether the plan lacks files that were loaded together with its own.
    pub(crate) fn is_in_part(&self) -> bool {
        !self.bundles.iter().all(Bundle::is_whole)
    }

    /// Returns the rejected rows of units that are done.
    pub(crate) fn rejected(&self) -> u64 {
        // Those of a bundle of which the plan has a part belong to rows that it does not count.
        let is_whole = |unit: &&Unit| self.bundles[unit.bundle].is_whole();
        let done = self.units.iter().filter(is_whole).filter(|unit| self.is_done(unit));
        done.map(|unit| self.known.rejected(&unit.id.to_string())).sum()
    }
}

impl Cut {
    /// Returns the cut for slices of `bytes` bytes.
    pub(crate) fn slices_of(bytes: NonZeroU64) -> Self {
        let bytes = bytes.get();
        let unit_bytes = bytes.saturating_mul(SLICES_A_UNIT) - bytes / 2;
        Self { slice_bytes: bytes, unit_bytes }
    }
}

/// Slices per unit. A run that was killed, or whose shard failed during an insert, reads at most
/// one unit twice. A unit ends behind the row group that reaches its bytes, so the limit is half a
/// slice less. Otherwise a unit would often end a little behind its last full slice, and the rest
/// would be a separate slice with as many parts.
const SLICES_A_UNIT: u64 = 4;
