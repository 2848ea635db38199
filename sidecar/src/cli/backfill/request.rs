//! Command-line options of a load, and the request built from them.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use toml::de::DeValue;

use crate::backfill::insert::RouteChoice;
use crate::backfill::map::{Mapping, MappingError, PRESETS};
use crate::backfill::memory::largest_slice;
use crate::backfill::plan::{Bundling, Cut, IfLoaded, JobPartition, Request};
use crate::backfill::run::{DEFAULT_ANSWER_HOLDS, RejectLimit};
use crate::backfill::source::MarkerNames;
use crate::config::{HostPort, rules};
use crate::duration;
use crate::event_columns::EventColumn;

/// Memory for slices with as many rows as ClickHouse's own blocks, if a row takes up to 400 bytes,
/// and for decoding.
const DEFAULT_MEMORY: &str = "512MiB";

#[derive(Debug, Args)]
pub(in crate::cli) struct SourceArguments {
    #[command(flatten)]
    pub(super) files: FileArguments,

    /// Load the i-th of n shares, one on each of n machines
    #[arg(long, alias = "split", value_name = "I/N")]
    partition: Option<JobPartition>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FileArguments {
    /// Parquet files, folders, globs (quote them), or addresses: s3://, gs://, http(s)://
    #[arg(value_name = "SOURCE", required = true)]
    pub(super) sources: Vec<String>,

    /// Mapping of rows to events: a name such as posthog-export, or the path of a mapping.toml (see
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
    #[arg(long, alias = "again")]
    allow_reload: bool,

    /// Cut files that were not started yet into slices of this size, instead of the size that fits
    /// into --memory (403MiB for 512MiB), each of at most 1,048,576 rows; each slice makes a part
    /// per shard and month
    #[arg(long, value_name = "SIZE", value_parser = size)]
    slice: Option<NonZeroU64>,

    /// Memory to use, for files of any shape; decoding takes at least 64MiB
    #[arg(long, value_name = "SIZE", default_value = DEFAULT_MEMORY, value_parser = size)]
    memory: NonZeroU64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RejectArguments {
    /// Rows that may be rejected before the load stops: a number, or a share of all rows
    /// such as 0.1%
    #[arg(long, value_name = "N|P%", default_value = "0")]
    pub(super) max_rejects: RejectLimit,

    /// Folder for rejected rows with their row id and reason: one subfolder per job
    #[arg(long, value_name = "PATH", default_value = "quarantine")]
    pub(super) quarantine: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LoadArguments {
    #[command(flatten)]
    pub(super) sources: SourceArguments,

    #[command(flatten)]
    pub(super) rejects: RejectArguments,

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

#[derive(Debug, Args)]
pub(in crate::cli) struct WatchArguments {
    #[command(flatten)]
    pub(super) files: FileArguments,

    #[command(flatten)]
    pub(super) rejects: RejectArguments,

    /// Time without a change of size and modification time after which a file counts as complete
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::option)]
    pub(super) at_rest: Duration,

    /// Load files only once a marker says that they are complete: the name of a file such as
    /// _SUCCESS, for its folder and those below, or of manifests such as '*_manifest.json', for the
    /// files that they list
    #[arg(long, value_name = "NAME", value_parser = MarkerNames::from_str)]
    pub(super) manifest: Option<MarkerNames>,

    /// Wait this long for more small files, and load them as one, which makes fewer parts
    #[arg(long, value_name = "DURATION", value_parser = duration::option, conflicts_with = "manifest")]
    pub(super) gather: Option<Duration>,

    /// Wait between two listings of the sources
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::option)]
    pub(super) every: Duration,

    /// Verify each load, as backfill run does
    #[arg(long)]
    pub(super) verify: bool,

    /// Address of /live, /ready, /health and /metrics, protected as [daemon] says
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9366", value_parser = host_port)]
    pub(super) listen: HostPort,
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
pub(super) fn recheck_after(text: &str) -> Result<Duration, String> {
    let age = duration::option(text)?;
    let most = DEFAULT_ANSWER_HOLDS;
    if age > most { Err(format!("give at most {}s, the default", most.as_secs())) } else { Ok(age) }
}

/// Parses a size such as `512MiB`. A bare number is MiB.
fn size(text: &str) -> Result<NonZeroU64, String> {
    let bytes = match text.parse::<u64>() {
        Ok(mebibytes) => mebibytes.checked_mul(1 << 20),
        Err(_) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
    };
    let bytes = bytes.filter(|bytes| *bytes >= 1 << 20).and_then(NonZeroU64::new);
    bytes.ok_or_else(|| "give a size of at least 1MiB, such as 512MiB".to_owned())
}

fn host_port(text: &str) -> Result<HostPort, String> {
    rules::host_port(&DeValue::String(text.into()))
}

impl SourceArguments {
    /// Returns the request for a schema with the events' `columns`.
    pub(super) fn request(&self, columns: &[EventColumn]) -> Result<Request, MappingError> {
        Ok(Request { partition: self.partition.unwrap_or_default(), ..self.files.request(columns)? })
    }
}

impl FileArguments {
    /// Returns the request of the whole job for a schema with the events' `columns`.
    pub(super) fn request(&self, columns: &[EventColumn]) -> Result<Request, MappingError> {
        let (mapping, mapping_text) = self.mapping(columns)?;
        Ok(Request {
            sources: self.sources.clone(),
            mapping,
            mapping_text,
            team_id: self.team_id,
            cut: Cut::slices_of(self.slice_bytes()),
            memory: self.memory,
            if_loaded: if self.allow_reload { IfLoaded::LoadAgain } else { IfLoaded::Refuse },
            partition: JobPartition::default(),
            bundling: Bundling::SmallFiles,
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
        self.memory
    }

    fn slice_bytes(&self) -> NonZeroU64 {
        self.slice.unwrap_or_else(|| largest_slice(self.memory_bytes(), 0))
    }

    fn mapping(&self, columns: &[EventColumn]) -> Result<(Mapping, String), MappingError> {
        if PRESETS.iter().any(|(name, _)| *name == self.mapping) {
            return Ok((Mapping::preset(&self.mapping, columns)?, self.mapping.clone()));
        }
        let path = Path::new(&self.mapping);
        let mapping = Mapping::load(path, columns)?;
        // The file was readable just now. The text documents the job for a later reader.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Ok((mapping, text))
    }
}
