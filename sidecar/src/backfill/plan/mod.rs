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
use self::claim::{How, Wanted, claim};
pub use self::make::{Request, make};
pub use self::range::Range;
pub use self::split::Split;
pub use self::summary::Summary;
pub use self::units::{Cut, Unit};
use super::insert::{Route, RouteError};
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
    /// Files of which something is left to do, here or on other machines.
    left: BTreeSet<usize>,
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
    /// Where its units and slices end.
    pub cut: Cut,
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
    /// There is no way into the shards.
    #[error(transparent)]
    Route(#[from] RouteError),
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

impl File {
    /// Its rows, by its footer.
    pub fn rows(&self) -> u64 {
        // The footer was checked: no count in it is negative.
        u64::try_from(self.footer.metadata().file_metadata().num_rows()).unwrap_or_default()
    }
}

impl Plan {
    /// What the ledger is to remember of the files. Those that are done belong to the job that did them: a folder that has
    /// grown is a job of its new files.
    pub fn records(&self, route: &Route) -> Vec<FileRecord> {
        let record = |file: &File| FileRecord {
            job: self.job.clone(),
            location: file.object.location.clone(),
            identity: file.identity.clone(),
            mapping: self.mapping.clone(),
            mapping_fingerprint: file.mapper.fingerprint().to_owned(),
            team_id: self.team_id,
            weights: route.shard_weights.clone(),
            slice_bytes: file.cut.slice_bytes,
            unit_bytes: file.cut.unit_bytes,
            rows: file.rows(),
            bytes: file.object.size,
        };
        let files = self.files.iter().enumerate().filter(|(index, _)| self.left.contains(index));
        files.map(|(_, file)| record(file)).collect()
    }

    /// Rows of this machine's share.
    pub fn rows(&self) -> u64 {
        self.units.iter().map(|unit| unit.rows).sum()
    }

    /// How many units there are to do, on these shards.
    pub fn units_left(&self, shards: &[u32]) -> usize {
        self.units.iter().filter(|unit| !self.known.is_done(&unit.id.to_string(), shards)).count()
    }
}

impl Cut {
    /// The cut for a memory of so many bytes: one slice is built while another is sent, and the rest is for decoding.
    pub fn for_memory(bytes: NonZeroU64) -> Self {
        let slice_bytes = bytes.get() / 8 * 3;
        Self { slice_bytes, unit_bytes: slice_bytes.saturating_mul(SLICES_A_UNIT) }
    }
}

/// What a run that was killed reads once more is at most a unit; what it writes more than it must is at most one part per
/// shard and month of a unit.
const SLICES_A_UNIT: u64 = 4;
