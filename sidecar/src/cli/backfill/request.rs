//! What the command line says about a load, turned into a request.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use posthouse::backfill::insert::RouteChoice;
use posthouse::backfill::map::{Mapping, MappingError, PRESETS};
use posthouse::backfill::plan::{Cut, Repeat, Request, Split};
use posthouse::backfill::read::Bounds;
use posthouse::backfill::run::{DEFAULT_ANSWER_HOLDS, RejectLimit};

use super::memory::{decoding, largest_slice};

/// Room for slices of as many rows as ClickHouse's own blocks have, if they take up to 400 bytes each, and for decoding.
const DEFAULT_MEMORY: &str = "512";

const MIB: NonZeroU64 = NonZeroU64::new(1 << 20).expect("not 0");

#[derive(Debug, Args)]
pub(in crate::cli) struct Sources {
    /// Parquet files, folders, globs (quote them), or addresses: s3://, gs://, http(s)://
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,

    /// How rows become events: posthog-export, identity, or the path of a mapping.toml (see plan --help)
    #[arg(long, value_name = "NAME|PATH")]
    mapping: String,

    /// The team of all rows, for files that do not say it
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    team_id: Option<i64>,

    /// The way into the shards
    #[arg(long, value_enum, default_value_t = Way::Auto)]
    route: Way,

    /// Load files in addition that were loaded before in another version or under another mapping
    #[arg(long)]
    again: bool,

    /// Take the i-th of n shares, on each of n machines
    #[arg(long, value_name = "I/N")]
    split: Option<Split>,

    /// Cut files that nobody has begun into slices of so many MiB, instead of what --memory is enough for (403 for 512), each of
    /// at most 1,048,576 rows; each makes a part per shard and month
    #[arg(long, value_name = "MIB", value_parser = mebibytes)]
    slice: Option<NonZeroU64>,

    /// Memory to use, in MiB, whatever the files are like; decoding takes at least 64
    #[arg(long, value_name = "MIB", default_value = DEFAULT_MEMORY, value_parser = mebibytes)]
    memory: NonZeroU64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Load {
    #[command(flatten)]
    pub(super) sources: Sources,

    /// Rows that may be rejected before the load stops: a number, or a share of all rows such as 0.1%
    #[arg(long, value_name = "N|P%", default_value = "0")]
    pub(super) max_rejects: RejectLimit,

    /// The folder that rejected rows go to, with their place and reason: in one folder a job
    #[arg(long, value_name = "PATH", default_value = "quarantine")]
    pub(super) quarantine: PathBuf,

    /// Read, map and count all rows, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Look for a block on the shards before it is sent if the ledger's answer is older (default: 60s); kill tests make
    /// it short
    #[arg(long, value_name = "DURATION", value_parser = recheck_after, hide = true)]
    pub(super) recheck_after: Option<Duration>,

    /// Leave out the proof at the end; posthouse backfill verify brings it later
    #[arg(long)]
    pub(super) no_verify: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Straight into every shard if all can be reached, else through writable_events
    Auto,
    /// Straight into sharded_events of every shard
    Direct,
    /// Through writable_events
    Distributed,
}

/// The age of the ledger's answer from which it is doubted: never more than the default, which exactly once rests on.
fn recheck_after(text: &str) -> Result<Duration, String> {
    let age = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let most = DEFAULT_ANSWER_HOLDS;
    if age > most { Err(format!("give at most {}s, the default", most.as_secs())) } else { Ok(age) }
}

fn mebibytes(text: &str) -> Result<NonZeroU64, String> {
    text.parse().map_err(|_| "give a whole number of MiB from 1 on, such as 512".to_owned())
}

impl Sources {
    pub(super) fn request(&self) -> Result<Request, MappingError> {
        let (mapping, mapping_text) = self.mapping()?;
        Ok(Request {
            sources: self.sources.clone(),
            mapping,
            mapping_text,
            team_id: self.team_id,
            cut: Cut::slices_of(self.slice_bytes()),
            repeat: if self.again { Repeat::Allow } else { Repeat::Refuse },
            split: self.split.unwrap_or_default(),
        })
    }

    pub(super) fn route(&self) -> RouteChoice {
        match self.route {
            Way::Auto => RouteChoice::Auto,
            Way::Direct => RouteChoice::Direct,
            Way::Distributed => RouteChoice::Distributed,
        }
    }

    pub(super) fn memory_bytes(&self) -> NonZeroU64 {
        self.memory.saturating_mul(MIB)
    }

    fn slice_bytes(&self) -> NonZeroU64 {
        self.slice.map_or_else(|| largest_slice(self.memory_bytes()), |slice| slice.saturating_mul(MIB))
    }

    /// What may be in memory while rows are decoded.
    pub(super) fn decoding(&self) -> Bounds {
        decoding(self.memory_bytes())
    }

    fn mapping(&self) -> Result<(Mapping, String), MappingError> {
        if PRESETS.iter().any(|(name, _)| *name == self.mapping) {
            return Ok((Mapping::preset(&self.mapping)?, self.mapping.clone()));
        }
        let path = Path::new(&self.mapping);
        let mapping = Mapping::load(path)?;
        // It was read just now; the text is for whoever looks at the job later.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Ok((mapping, text))
    }
}
