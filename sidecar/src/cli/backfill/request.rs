//! Command-line options of a load, and the request built from them.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use posthouse::backfill::insert::RouteChoice;
use posthouse::backfill::map::{Mapping, MappingError, PRESETS};
use posthouse::backfill::plan::{Cut, Repeat, Request, Split};
use posthouse::backfill::read::MemoryBounds;
use posthouse::backfill::run::{DEFAULT_ANSWER_HOLDS, RejectLimit};

use super::memory::{decoding, largest_slice};

/// MiB for slices with as many rows as ClickHouse's own blocks, if a row takes up to 400 bytes, and
/// for decoding.
const DEFAULT_MEMORY: &str = "512";

const MIB: NonZeroU64 = NonZeroU64::new(1 << 20).expect("not 0");

#[derive(Debug, Args)]
pub(in crate::cli) struct SourceArguments {
    /// Parquet files, folders, globs (quote them), or addresses: s3://, gs://, http(s)://
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,

    /// Mapping of rows to events: posthog-export, identity, or the path of a mapping.toml (see
    /// plan --help)
    #[arg(long, value_name = "NAME|PATH")]
    mapping: String,

    /// Team of all rows, for files without one
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    team_id: Option<i64>,

    /// Route of the rows into the shards
    #[arg(long, value_enum, default_value_t = RouteArgument::Auto)]
    route: RouteArgument,

    /// Also load files that were loaded before in another version or under another mapping
    #[arg(long)]
    again: bool,

    /// Load the i-th of n shares, one on each of n machines
    #[arg(long, value_name = "I/N")]
    split: Option<Split>,

    /// Cut files that were not begun yet into slices of this size in MiB, instead of the size that
    /// fits into --memory (403 for 512), each of at most 1,048,576 rows; each slice makes a part
    /// per shard and month
    #[arg(long, value_name = "MIB", value_parser = mebibytes)]
    slice: Option<NonZeroU64>,

    /// Memory to use, in MiB, for files of any shape; decoding takes at least 64
    #[arg(long, value_name = "MIB", default_value = DEFAULT_MEMORY, value_parser = mebibytes)]
    memory: NonZeroU64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LoadArguments {
    #[command(flatten)]
    pub(super) sources: SourceArguments,

    /// Rows that may be rejected before the load stops: a number, or a share of all rows
    /// such as 0.1%
    #[arg(long, value_name = "N|P%", default_value = "0")]
    pub(super) max_rejects: RejectLimit,

    /// Folder for rejected rows with their row id and reason: one subfolder per job
    #[arg(long, value_name = "PATH", default_value = "quarantine")]
    pub(super) quarantine: PathBuf,

    /// Read, map and count all rows without writing any
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Look for a block on the shards before it is sent if the ledger's answer is older (default:
    /// 60s); kill tests use a short time
    #[arg(long, value_name = "DURATION", value_parser = recheck_after, hide = true)]
    pub(super) recheck_after: Option<Duration>,

    /// Skip the verification at the end; posthouse backfill verify does it later
    #[arg(long)]
    pub(super) no_verify: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RouteArgument {
    /// Directly into every shard if all are reachable, else through writable_events
    Auto,
    /// Directly into sharded_events of every shard
    Direct,
    /// Through writable_events
    Distributed,
}

/// Parses the age at which the ledger's answer is no longer trusted. The default is the maximum,
/// because exactly-once depends on it.
fn recheck_after(text: &str) -> Result<Duration, String> {
    let age = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let most = DEFAULT_ANSWER_HOLDS;
    if age > most { Err(format!("give at most {}s, the default", most.as_secs())) } else { Ok(age) }
}

fn mebibytes(text: &str) -> Result<NonZeroU64, String> {
    text.parse().map_err(|_| "give a whole number of MiB from 1 on, such as 512".to_owned())
}

impl SourceArguments {
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
            RouteArgument::Auto => RouteChoice::Auto,
            RouteArgument::Direct => RouteChoice::Direct,
            RouteArgument::Distributed => RouteChoice::Distributed,
        }
    }

    pub(super) fn memory_bytes(&self) -> NonZeroU64 {
        self.memory.saturating_mul(MIB)
    }

    fn slice_bytes(&self) -> NonZeroU64 {
        self.slice.map_or_else(|| largest_slice(self.memory_bytes()), |slice| slice.saturating_mul(MIB))
    }

    /// Returns the memory bounds of decoding.
    pub(super) fn decoding(&self) -> MemoryBounds {
        decoding(self.memory_bytes())
    }

    fn mapping(&self) -> Result<(Mapping, String), MappingError> {
        if PRESETS.iter().any(|(name, _)| *name == self.mapping) {
            return Ok((Mapping::preset(&self.mapping)?, self.mapping.clone()));
        }
        let path = Path::new(&self.mapping);
        let mapping = Mapping::load(path)?;
        // The file was readable just now. The text documents the job for a later reader.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Ok((mapping, text))
    }
}
