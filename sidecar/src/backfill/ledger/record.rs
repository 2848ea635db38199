//! Records of a load in the ledger. Records are never changed.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::sleep;

use super::LedgerError;
use crate::backfill::place::UnitId;
use crate::backfill::retry::{PATIENCE, backoff, is_passing};
use crate::node::Node;
use crate::sql;

/// Maximum records per insert, which bounds its memory: a record holds the whole mapping.
const RECORDS_AN_INSERT: usize = 2_000;

/// State of a unit or block on one shard, or of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Blocks of the unit may have been sent from now on.
    Begun,
    /// The shard has acknowledged a block.
    Stored,
    /// The shard has acknowledged all blocks of the unit.
    Done,
    /// A user requested that the job stop.
    Cancelled,
    /// The job's blocks were compared with the stored rows, without a difference.
    Proven,
    /// An undo of a file began: no load may send a block of it any more. With a unit, a slice or a
    /// month, what the undo takes out.
    Undoing,
    /// No row of a file, or of a job in a month, is stored any more.
    Undone,
}

/// Row of `backfill_ledger`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Record {
    /// The job that added the record.
    pub(crate) job: String,
    /// Id of the file and its load settings; empty for a record of the whole job.
    pub(crate) file: String,
    /// Id of the unit; empty for a record of the whole job.
    pub(crate) unit: String,
    /// From 1.
    pub(crate) shard: u32,
    /// First slot that the shard owns, used to find the record.
    pub(crate) slot: u32,
    pub(crate) state: State,
    /// Slice of the block; 0 for other records.
    pub(crate) slice: u64,
    /// Month of the block; 0 for other records.
    pub(crate) month: u32,
    /// Rows of the block, or of all the unit's blocks on this shard.
    pub(crate) rows: u64,
    /// Sum of the block's row hashes; 0 for other records.
    pub(crate) checksum: u64,
    /// Rejected rows of the whole unit.
    pub(crate) rejected: u64,
}

/// Row of `backfill_files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileRecord {
    pub(crate) job: String,
    /// Id of the file and its load settings.
    pub(crate) file: String,
    /// Location without secrets.
    pub(crate) location: String,
    /// Identity of the file's bytes.
    pub(crate) identity: String,
    pub(crate) mapping: String,
    /// Hash of the mapping's meaning.
    pub(crate) mapping_fingerprint: String,
    /// Team of all rows, if it is given.
    pub(crate) team_id: Option<i64>,
    /// Weights by which its rows were routed.
    pub(crate) weights: Vec<u32>,
    /// Size limit of its slices.
    pub(crate) slice_bytes: u64,
    /// Size limit of its units.
    pub(crate) unit_bytes: u64,
    /// From the file's footer.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The number of files that are loaded together with it, itself included.
    pub(crate) bundle_files: u32,
}

impl Record {
    /// Record of a unit on a shard, without a block.
    pub(crate) fn new(job: &str, file: &str, unit: UnitId, shard: u32, slot: u32, state: State) -> Self {
        Self { file: file.to_owned(), unit: unit.to_string(), ..Self::of_job(job, shard, slot, state) }
    }

    /// Record of a whole file.
    pub(crate) fn of_file(job: &str, file: &str, shard: u32, slot: u32, state: State) -> Self {
        Self { file: file.to_owned(), ..Self::of_job(job, shard, slot, state) }
    }

    /// Record of a whole job.
    pub(crate) fn of_job(job: &str, shard: u32, slot: u32, state: State) -> Self {
        let (job, file, unit) = (job.to_owned(), String::new(), String::new());
        Self { job, file, unit, shard, slot, state, slice: 0, month: 0, rows: 0, checksum: 0, rejected: 0 }
    }
}

/// Inserts records into the ledger table `table` through one of `nodes`, which are interchangeable.
/// Idempotent.
///
/// # Errors
/// Fails on a permanent error, and on a transient one that lasts longer than [`PATIENCE`].
pub(crate) async fn record(
    nodes: &[Node],
    database: &str,
    table: &str,
    records: &[Record],
) -> Result<(), LedgerError> {
    let sql = sql::render("backfill/record_ledger.sql", minijinja::context! { database, table })?;
    insert(nodes, &sql, records).await
}

/// Inserts files into `backfill_files` through one of `nodes`. Idempotent.
pub(crate) async fn record_files(
    nodes: &[Node],
    database: &str,
    files: impl Iterator<Item = FileRecord>,
) -> Result<(), LedgerError> {
    let sql = sql::render("backfill/record_files.sql", minijinja::context! { database })?;
    let mut files = files.peekable();
    while files.peek().is_some() {
        let chunk: Vec<FileRecord> = files.by_ref().take(RECORDS_AN_INSERT).collect();
        insert(nodes, &sql, &chunk).await?;
    }
    Ok(())
}

async fn insert<T: Serialize>(nodes: &[Node], sql: &str, rows: &[T]) -> Result<(), LedgerError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, row)?;
        lines.push(b'\n');
    }
    let (lines, begin, mut backoff) = (Bytes::from(lines), Instant::now(), backoff());
    for node in nodes.iter().cycle() {
        // An acknowledgement means that the row is stored on its shard.
        let insert = node.insert(sql).setting("async_insert", 0).setting("distributed_foreground_insert", 1);
        match insert.send(lines.clone(), &mut VecDeque::new()).await {
            Err(error) if is_passing(&error) && begin.elapsed() < PATIENCE => sleep(backoff.wait()).await,
            done => return Ok(done?),
        }
    }
    Ok(())
}
