//! Plan of a load: files, units and progress of earlier runs.
//!
//! Making a plan only reads.

mod previous_loads;
mod make;
mod binding;
mod extras;
mod range;
mod partition;
mod summary;
mod tables;
mod units;
mod unread;

use std::collections::BTreeSet;
use std::num::NonZeroU64;

pub(crate) use self::extras::ExtraSummary;
pub(crate) use self::make::{Request, confirm, make, remake};
pub(crate) use self::partition::JobPartition;
pub(crate) use self::previous_loads::IfLoaded;
use self::previous_loads::{LoadSettings, RequestedFile, check_previous_loads, owners};
pub(crate) use self::summary::Summary;
pub(crate) use self::units::{Cut, Unit};
pub(crate) use self::unread::UnreadColumn;
use super::ledger::{FileRecord, Known};
use super::map::Mapper;
use super::read::Footer;
use super::source::{Object, SourceError};

/// The files and units of a load, and its settings.
#[derive(Debug)]
pub(crate) struct LoadPlan {
    /// Equal for the same files under the same mapping.
    pub(crate) job: String,
    /// Sorted by location.
    pub(crate) files: Vec<File>,
    /// The units of this machine's share, in the order of files.
    pub(crate) units: Vec<Unit>,
    /// Progress of earlier runs on these units.
    pub(crate) known: Known,
    /// Files of this job that are in the ledger.
    recorded: BTreeSet<String>,
    mapping: String,
    team_id: Option<i64>,
}

/// A file of the plan, with its footer.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) object: Object,
    /// Identity of its bytes: the object's identity and the footer's hash.
    pub(crate) identity: String,
    pub(crate) footer: Footer,
    /// The mapping, bound to the file's columns.
    pub(crate) mapper: Mapper,
    /// Its id in the ledger, for this file under these settings.
    pub(crate) id: String,
    /// The weights that route its rows, and the boundaries of its units and slices.
    settings: LoadSettings,
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

impl File {
    /// Returns the size at which its slices end, in bytes of values.
    pub(crate) fn slice_bytes(&self) -> u64 {
        self.settings.cut.slice_bytes
    }

    /// Returns the shards that receive its rows.
    pub(crate) fn shards(&self) -> Vec<u32> {
        owners(&self.settings.weights)
    }

    /// Returns its number of rows, by the footer.
    pub(crate) fn rows(&self) -> u64 {
        // The footer was checked: no count in it is negative.
        u64::try_from(self.footer.metadata().file_metadata().num_rows()).unwrap_or_default()
    }
}

impl LoadPlan {
    /// Returns the records of files that the ledger does not have yet.
    pub(crate) fn records(&self) -> Vec<FileRecord> {
        let record = |file: &File| FileRecord {
            job: self.job.clone(),
            file: file.id.clone(),
            location: file.object.location.clone(),
            identity: file.identity.clone(),
            mapping: self.mapping.clone(),
            mapping_fingerprint: file.mapper.fingerprint().to_owned(),
            team_id: self.team_id,
            weights: file.settings.weights.clone(),
            slice_bytes: file.settings.cut.slice_bytes,
            unit_bytes: file.settings.cut.unit_bytes,
            rows: file.rows(),
            bytes: file.object.size,
        };
        self.files.iter().filter(|file| !self.recorded.contains(&file.id)).map(record).collect()
    }

    /// Returns the rows of this machine's share.
    pub(crate) fn rows(&self) -> u64 {
        self.units.iter().map(|unit| unit.rows).sum()
    }

    /// Whether every shard has all blocks of the unit.
    pub(crate) fn is_done(&self, unit: &Unit) -> bool {
        self.known.is_done(&unit.id.to_string(), &self.files[unit.file].shards())
    }

    /// Returns the rejected rows of units that are done.
    pub(crate) fn rejected(&self) -> u64 {
        let done = self.units.iter().filter(|unit| self.is_done(unit));
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
