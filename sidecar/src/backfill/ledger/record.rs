//! The records that a load adds to the ledger; none is ever changed.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::sleep;

use super::LedgerError;
use crate::backfill::place::UnitId;
use crate::backfill::retry::{PATIENCE, is_passing, wait};
use crate::node::Node;
use crate::sql;

/// What has happened to a unit or one of its blocks, on one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Blocks of the unit may have been sent from now on.
    Begun,
    /// The shard has acknowledged a block.
    Stored,
    /// The shard has acknowledged all blocks of the unit.
    Done,
    /// Somebody wants the job to stop.
    Cancelled,
    /// The job's blocks were compared with what is stored, and nothing differed.
    Proven,
}

/// One line of `backfill_ledger`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The job that added it.
    pub job: String,
    /// The file, loaded in one way; empty for what concerns the whole job.
    pub file: String,
    /// The unit's id; empty for what concerns the whole job.
    pub unit: String,
    /// The shard, from 1.
    pub shard: u32,
    /// The first slot that the shard owns, by which the record finds it.
    pub slot: u32,
    /// What happened.
    pub state: State,
    /// The block's slice; 0 unless a block is meant.
    pub slice: u64,
    /// The block's month; 0 unless a block is meant.
    pub month: u32,
    /// Rows of the block, or of all the unit's blocks on this shard.
    pub rows: u64,
    /// The sum of the block's row hashes; 0 unless a block is meant.
    pub checksum: u64,
    /// Rows of the whole unit that were rejected.
    pub rejected: u64,
}

/// One line of `backfill_files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileRecord {
    /// The job that loads it.
    pub job: String,
    /// What the ledger knows it by: this file, loaded in this way.
    pub file: String,
    /// Where it is, without secrets.
    pub location: String,
    /// What its bytes are known by.
    pub identity: String,
    /// The mapping's text.
    pub mapping: String,
    /// What the mapping means, as a hash.
    pub mapping_fingerprint: String,
    /// The team of all rows, where it is given.
    pub team_id: Option<i64>,
    /// The weights by which its rows were routed.
    pub weights: Vec<u32>,
    /// Where its slices were cut.
    pub slice_bytes: u64,
    /// Where its units were cut.
    pub unit_bytes: u64,
    /// Its rows, by its footer.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

impl Record {
    /// A record of a unit on a shard, without a block.
    pub fn new(job: &str, file: &str, unit: UnitId, shard: u32, slot: u32, state: State) -> Self {
        Self { file: file.to_owned(), unit: unit.to_string(), ..Self::of_job(job, shard, slot, state) }
    }

    /// A record of a job as a whole.
    pub fn of_job(job: &str, shard: u32, slot: u32, state: State) -> Self {
        let (job, file, unit) = (job.to_owned(), String::new(), String::new());
        Self { job, file, unit, shard, slot, state, slice: 0, month: 0, rows: 0, checksum: 0, rejected: 0 }
    }
}

/// Adds records to the ledger table called `table` on one of `nodes`, each as good as the others.
///
/// # Errors
/// See [`LedgerError`], after a fault that does not pass. Adding them again does no harm.
pub async fn record(
    nodes: &[Node],
    database: &str,
    table: &str,
    records: &[Record],
) -> Result<(), LedgerError> {
    let sql = sql::render("backfill/record_ledger.sql", minijinja::context! { database, table })?;
    insert(nodes, &sql, records).await
}

/// Adds files to `backfill_files` through one of `nodes`.
///
/// # Errors
/// See [`LedgerError`]. Adding them again does no harm.
pub async fn record_files(nodes: &[Node], database: &str, files: &[FileRecord]) -> Result<(), LedgerError> {
    let sql = sql::render("backfill/record_files.sql", minijinja::context! { database })?;
    insert(nodes, &sql, files).await
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
    let (lines, begin) = (Bytes::from(lines), Instant::now());
    for (tries, node) in (1_u32..).zip(nodes.iter().cycle()) {
        // Acknowledged means stored, on the shard it belongs to.
        let insert = node.insert(sql).setting("async_insert", 0).setting("distributed_foreground_insert", 1);
        match insert.send(lines.clone(), &mut VecDeque::new()).await {
            Err(error) if is_passing(&error) && begin.elapsed() < PATIENCE => sleep(wait(tries)).await,
            done => return Ok(done?),
        }
    }
    Ok(())
}
