//! What a load would do: files, units, what earlier runs have left of it; nothing is written.

mod claim;
mod make;
mod range;
mod split;
mod summary;
mod units;

use std::collections::BTreeSet;
use std::num::NonZeroU64;

pub use self::claim::Repeat;
use self::claim::{How, Wanted, claim, owners};
pub use self::make::{Request, confirm, make, remake};
pub use self::range::Range;
pub use self::split::Split;
pub use self::summary::Summary;
pub use self::units::{Cut, Unit};
use super::ledger::{FileRecord, Known, LedgerError};
use super::map::{Mapper, MappingError};
use super::read::{Footer, ReadError};
use super::source::{Object, SourceError};

/// What is to be loaded, and how, down to the units.
#[derive(Debug)]
pub struct Plan {
    /// The same files under the same mapping have the same job.
    pub job: String,
    /// The files, sorted by location.
    pub files: Vec<File>,
    /// The units of this machine's share, in the order of files.
    pub units: Vec<Unit>,
    /// What earlier runs have left of them.
    pub known: Known,
    /// Files that the ledger knows as this job's.
    recorded: BTreeSet<String>,
    mapping: String,
    team_id: Option<i64>,
}

/// A file of the plan, with its footer.
#[derive(Debug)]
pub struct File {
    /// Where it is.
    pub object: Object,
    /// What its bytes are known by: the object's identity and the footer's hash.
    pub identity: String,
    /// Its footer.
    pub footer: Footer,
    /// The mapping, bound to its columns.
    pub mapper: Mapper,
    /// What the ledger knows it by: this file, loaded in this way.
    pub id: String,
    /// The weights by which its rows are routed, and where its units and slices end.
    how: How,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A source can't be listed or opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A footer can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The mapping does not fit a file.
    #[error("{location}")]
    Mapping {
        /// The file.
        location: String,
        /// What does not fit.
        #[source]
        source: MappingError,
    },
    /// Files were loaded in another form, or can't be continued.
    #[error("{} can't be loaded; nothing was written\n  {}", files(.0.len()), .0.join("\n  "))]
    Claimed(Vec<String>),
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The mapping that a job was begun with can't be used.
    #[error("the mapping that the job was begun with")]
    Recorded(#[source] MappingError),
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

impl File {
    /// Where its slices end.
    pub fn slice_bytes(&self) -> u64 {
        self.how.cut.slice_bytes
    }

    /// The shards that its rows go to.
    pub fn shards(&self) -> Vec<u32> {
        owners(&self.how.weights)
    }

    /// Its rows, by its footer.
    pub fn rows(&self) -> u64 {
        // The footer was checked: no count in it is negative.
        u64::try_from(self.footer.metadata().file_metadata().num_rows()).unwrap_or_default()
    }
}

impl Plan {
    /// What the ledger is to remember of the files, and does not yet.
    pub fn records(&self) -> Vec<FileRecord> {
        let record = |file: &File| FileRecord {
            job: self.job.clone(),
            file: file.id.clone(),
            location: file.object.location.clone(),
            identity: file.identity.clone(),
            mapping: self.mapping.clone(),
            mapping_fingerprint: file.mapper.fingerprint().to_owned(),
            team_id: self.team_id,
            weights: file.how.weights.clone(),
            slice_bytes: file.how.cut.slice_bytes,
            unit_bytes: file.how.cut.unit_bytes,
            rows: file.rows(),
            bytes: file.object.size,
        };
        self.files.iter().filter(|file| !self.recorded.contains(&file.id)).map(record).collect()
    }

    /// Rows of this machine's share.
    pub fn rows(&self) -> u64 {
        self.units.iter().map(|unit| unit.rows).sum()
    }

    /// Whether every shard has all blocks of the unit.
    pub fn is_done(&self, unit: &Unit) -> bool {
        self.known.is_done(&unit.id.to_string(), &self.files[unit.file].shards())
    }

    /// Rows that were rejected in units that are done.
    pub fn rejected(&self) -> u64 {
        let done = self.units.iter().filter(|unit| self.is_done(unit));
        done.map(|unit| self.known.rejected(&unit.id.to_string())).sum()
    }
}

impl Cut {
    /// The cut for slices of so many bytes.
    pub fn slices_of(bytes: NonZeroU64) -> Self {
        let bytes = bytes.get();
        let unit_bytes = bytes.saturating_mul(SLICES_A_UNIT) - bytes / 2;
        Self { slice_bytes: bytes, unit_bytes }
    }
}

/// What a run that was killed, or whose shard failed while it was sent rows, reads once more is at most a unit. A unit ends
/// behind the row group that reaches its bytes, so half a slice less is asked for: else it would often end a little behind
/// its last full slice, and the rest be a slice of its own with as many parts.
const SLICES_A_UNIT: u64 = 4;
