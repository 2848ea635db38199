//! Missing rows that were merged into other rows of their events.
//!
//! `sharded_events` keeps one row of an event, so a merge removes the others. A source may hold an
//! event twice, or hold one that also came through Kafka. The units of short blocks are therefore
//! read a second time, and the event of each missing row is looked up. If it exists on the same
//! shard, the row was merged.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::{BlockSum, Proof};
use crate::backfill::insert::Route;
use crate::backfill::ledger::LedgerError;
use crate::backfill::place::{ROW_BITS, SLICE_ROWS};
use crate::backfill::plan::LoadPlan;
use crate::backfill::read::MemoryBounds;
use crate::backfill::run::{DEFAULT_ANSWER_HOLDS, Limits, RejectLimit, RunError, UnitReader};
use crate::backfill::shard::{Block, SortingKey};
use crate::node::Node;
use crate::sql;

/// Missing rows in memory at once. Rows of the same event among them are looked up once.
const ROWS_TOGETHER: usize = 2_000;
/// Events per query: its parameters travel in the URL, and servers accept up to 1 MiB of it.
const EVENTS_PER_QUERY: usize = 200;
/// Limit on names and distinct ids of a query, in bytes. Servers accept parameters of up to 128 KiB
/// (`http_max_field_value_size`), and an escaped byte takes up to four.
const TEXT_BYTES_PER_QUERY: usize = 32 << 10;

/// A block, by shard, slice and month.
type BlockId = (u32, u64, u32);

#[derive(Deserialize)]
struct Present {
    place: u64,
}

#[derive(Deserialize)]
struct EventCount {
    events: u64,
}

/// Looks up the events of missing rows, and removes existing ones from the proof's differences.
///
/// # Errors
/// Fails if the files of the job no longer exist.
pub(crate) async fn explain(
    database: &str,
    route: &Route,
    plan: Arc<LoadPlan>,
    decoding: MemoryBounds,
    proof: &mut Proof,
) -> anyhow::Result<()> {
    if proof.short.is_empty() {
        return Ok(());
    }
    let limits = Limits {
        // Each slice is checked and dropped before the next is built.
        block_bytes: 0,
        decoding,
        rejects: RejectLimit::Rows(u64::MAX),
        quarantine: None,
        answer_holds: DEFAULT_ANSWER_HOLDS,
    };
    let blocks = ShortBlocks {
        reading: UnitReader::new(route, plan, &limits, Arc::default()),
        database: database.to_owned(),
        node: route.any().clone(),
        units: proof.short.iter().map(|block| block.unit.clone()).collect(),
        blocks: proof.short.iter().map(id).collect(),
    };
    let merged = tokio::task::spawn_blocking(move || blocks.merged()).await.map_err(RunError::from)??;
    for ((shard, _, month), rows) in merged {
        proof.forgive(shard, month, rows);
    }
    Ok(())
}

fn id(block: &BlockSum) -> BlockId {
    (block.shard, block.slice, block.month)
}

/// Blocks of which a shard stores fewer rows than were sent.
struct ShortBlocks {
    reading: UnitReader,
    database: String,
    node: Node,
    units: BTreeSet<String>,
    blocks: BTreeSet<BlockId>,
}

impl ShortBlocks {
    /// Returns the blocks whose missing rows were all merged, with the number of these rows.
    fn merged(&self) -> anyhow::Result<Vec<(BlockId, u64)>> {
        let mut merged = Vec::new();
        for unit in self.reading.plan.units.iter().filter(|unit| self.units.contains(&unit.id.to_string())) {
            for slice in self.reading.slices(unit)? {
                let slice = slice?;
                for block in &slice.blocks {
                    let id = (block.shard, slice.id.number(), block.month);
                    if self.blocks.contains(&id)
                        && let Some(rows) = self.merged_rows(id, block)?
                    {
                        merged.push((id, rows));
                    }
                }
            }
        }
        Ok(merged)
    }

    /// Returns the number of a block's missing rows, or `None` if the event of one is missing too.
    fn merged_rows(&self, id: BlockId, block: &Block) -> anyhow::Result<Option<u64>> {
        let runtime = &self.reading.runtime;
        let present = runtime.block_on(present_rows(&self.database, &self.node, id))?;
        let is_missing = |key: &SortingKey| !present.get(row_of(key.place)).is_some_and(|row| *row);
        let mut missing = block.keys().filter(is_missing);
        let mut rows = 0;
        loop {
            let some: Vec<SortingKey> = missing.by_ref().take(ROWS_TOGETHER).collect();
            if some.is_empty() {
                return Ok(Some(rows));
            }
            rows += some.len() as u64;
            if !runtime.block_on(all_events_exist(&self.database, &self.node, block.shard, some))? {
                return Ok(None);
            }
        }
    }
}

/// Returns for each row of a slice whether a shard stores it in the block's month.
async fn present_rows(
    database: &str,
    node: &Node,
    (shard, slice, month): BlockId,
) -> Result<Vec<bool>, LedgerError> {
    let sql = sql::render("backfill/present_rows.sql", minijinja::context! { database })?;
    let first = 1 << 63 | slice << ROW_BITS;
    let query =
        node.query(&sql).param("first_offset", first).param("last_offset", first + u64::from(SLICE_ROWS) - 1);
    let mut rows = query.param("month", month).param("shard", shard).stream::<Present>()?;
    let mut present = vec![false; SLICE_ROWS as usize];
    while let Some(row) = rows.next().await? {
        if let Some(present) = present.get_mut(row_of(row.place)) {
            *present = true;
        }
    }
    Ok(present)
}

/// Returns the number of a row in its slice.
fn row_of(place: u64) -> usize {
    (place & ((1 << ROW_BITS) - 1)) as usize
}

/// Whether the events of all rows exist on the shard.
async fn all_events_exist(
    database: &str,
    node: &Node,
    shard: u32,
    mut rows: Vec<SortingKey>,
) -> Result<bool, LedgerError> {
    let sql = sql::render("backfill/stored_events.sql", minijinja::context! { database })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    rows.sort_by(|one, other| event(one).cmp(&event(other)));
    rows.dedup_by(|one, other| event(one) == event(other));
    let mut rest = &rows[..];
    while !rest.is_empty() {
        let (events, later) = rest.split_at(per_query(rest));
        let query = node
            .query(&sql)
            .param("shard", shard)
            .param("team_ids", events.iter().map(|key| key.team_id).collect::<Vec<_>>())
            .param("days", events.iter().map(|key| key.day).collect::<Vec<_>>())
            .param("names", events.iter().map(|key| text(&key.event)).collect::<Vec<_>>())
            .param("distinct_ids", events.iter().map(|key| text(&key.distinct_id)).collect::<Vec<_>>())
            .param(
                "uuids",
                events.iter().map(|key| Uuid::from_u128(key.uuid).to_string()).collect::<Vec<_>>(),
            );
        let stored: Vec<EventCount> = query.rows().await?;
        if stored.first().map(|row| row.events) != Some(events.len() as u64) {
            return Ok(false);
        }
        rest = later;
    }
    Ok(true)
}

/// Returns how many of the first events one query asks for: one at least.
fn per_query(events: &[SortingKey]) -> usize {
    let mut bytes = 0_usize;
    let fits = |key: &&SortingKey| {
        bytes = bytes.saturating_add(key.event.len()).saturating_add(key.distinct_id.len());
        bytes <= TEXT_BYTES_PER_QUERY
    };
    events.iter().take(EVENTS_PER_QUERY).take_while(fits).count().max(1)
}

/// The key without its row id.
fn event(key: &SortingKey) -> (i64, i64, &[u8], &[u8], u128) {
    (key.team_id, key.day, &key.event, &key.distinct_id, key.uuid)
}
