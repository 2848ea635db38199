//! Proof of a load: stored rows against expected rows, by shard.

mod cells;
mod compare;
mod merged;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::cells::FilledByFile;
pub(crate) use self::compare::Proof;
use self::compare::compare;
pub(crate) use self::merged::explain;
use super::extra::HashedColumn;
use super::ledger::{Job, LedgerError};
use super::place::ROW_BITS;
use crate::config::Config;
use crate::node::Node;
use crate::sql;

/// Rows of one slice and month on one shard, expected or observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct BlockSum {
    /// From 1.
    pub(crate) shard: u32,
    pub(crate) slice: u64,
    /// The partition.
    pub(crate) month: u32,
    pub(crate) rows: u64,
    /// The sum of the rows' hashes, with those of the columns that the file has filled.
    pub(crate) checksum: u64,
    /// Rows that the shard rule gives to another shard.
    #[serde(default)]
    pub(crate) wrong_shard: u64,
    /// Set for expected blocks only.
    #[serde(default)]
    pub(crate) unit: String,
    /// Set for expected blocks only.
    #[serde(default)]
    pub(crate) file: String,
    /// Set for observed blocks only: the sum of the hashes of each column beyond the core.
    #[serde(default)]
    pub(crate) cells: Vec<u64>,
}

/// Compares all acknowledged blocks of a job's files with the rows on their shards, month by month.
/// Calls `say` with each month before its count. Skips the counts if the job is not complete.
pub(crate) async fn verify(
    config: &Config,
    node: &Node,
    job: &Job,
    mut say: impl FnMut(u32),
) -> Result<Proof, LedgerError> {
    if !job.is_complete() {
        return Ok(Proof::incomplete(job));
    }
    let (database, name) = (&config.database, &job.job);
    let sql = sql::render("backfill/job_blocks.sql", minijinja::context! { database })?;
    let expected: Vec<BlockSum> = node.query(&sql).param("job", name).rows().await?;
    let months: BTreeSet<u32> = expected.iter().map(|block| block.month).collect();
    let filled = FilledByFile::of_job(node, database, name).await?;
    let sql = stored_blocks(config, &filled.hashed()?)?;
    let mut found = Vec::new();
    for month in months {
        say(month);
        let query = node.query(&sql).param("job", name).param("month", month);
        found.extend(query.rows::<BlockSum>().await?);
    }
    filled.add_cells(&expected, &mut found);
    Ok(compare(job, &expected, &found))
}

fn stored_blocks(config: &Config, columns: &[HashedColumn]) -> Result<String, sql::RenderError> {
    let weights: Vec<u32> = config.shards.iter().map(|shard| shard.weight).collect();
    let slots_before: Vec<u32> = weights
        .iter()
        .scan(0, |next, weight| {
            let first = *next;
            *next += weight;
            Some(first)
        })
        .collect();
    let slots: u32 = weights.iter().sum();
    let (database, row_bits) = (&config.database, ROW_BITS);
    let values = StoredBlocks { database, row_bits, weights, slots_before, slots, columns };
    sql::render("backfill/stored_blocks.sql", values)
}

/// Values of `stored_blocks.sql`.
#[derive(Serialize)]
struct StoredBlocks<'a> {
    database: &'a str,
    row_bits: u32,
    weights: Vec<u32>,
    slots_before: Vec<u32>,
    slots: u32,
    columns: &'a [HashedColumn],
}
