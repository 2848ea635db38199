//! Missing rows that were merged into other rows of their events.
//!
//! `sharded_events` keeps one row of an event, so a merge removes the others. A source may hold an
//! event twice, or hold one that also came through Kafka. The units of short blocks are therefore
//! read a second time, and the event of each missing row is looked up. If it exists on the same
//! shard, the row was merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::compare::ShortBlock;
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

/// Limit on missing rows in memory at once. Rows of the same event among them are looked up once.
const ROWS_TOGETHER: usize = 2_000;
/// Limit on the names and distinct ids of these rows, in bytes, unless one row has more.
const TEXT_BYTES_TOGETHER: usize = 1 << 20;
/// Events per query. Their UUIDs take 39 KB, and servers accept parameters of up to 128 KiB each
/// (`http_max_field_value_size`).
const EVENTS_PER_QUERY: usize = 1_000;
/// Limit on names and distinct ids of a query, in bytes, for the same reason. A byte takes up to
/// three there.
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
    let short = std::mem::take(&mut proof.short);
    let reading = SecondReading {
        reading: UnitReader::new(route, plan, &limits, Arc::default()),
        database: database.to_owned(),
        node: route.any().clone(),
    };
    let merged =
        tokio::task::spawn_blocking(move || reading.merged(short)).await.map_err(RunError::from)??;
    merged.iter().for_each(|short| proof.forgive(short));
    Ok(())
}

/// A second reading of files, and a node that is asked about their rows.
struct SecondReading {
    reading: UnitReader,
    database: String,
    node: Node,
}

impl SecondReading {
    /// Returns the blocks whose missing rows were all merged.
    fn merged(&self, short: Vec<ShortBlock>) -> anyhow::Result<Vec<ShortBlock>> {
        let units: BTreeSet<String> = short.iter().map(|short| short.block.unit.clone()).collect();
        let id = |BlockSum { shard, slice, month, .. }: &BlockSum| (*shard, *slice, *month);
        let mut short: BTreeMap<BlockId, _> =
            short.into_iter().map(|short| (id(&short.block), short)).collect();
        let mut merged = Vec::new();
        for unit in self.reading.plan.units.iter().filter(|unit| units.contains(&unit.id.to_string())) {
            for slice in self.reading.slices(unit)? {
                let slice = slice?;
                for block in &slice.blocks {
                    let id = (block.shard, slice.id.number(), block.month);
                    if let Some(short) = short.remove(&id)
                        && self.is_merged(id, block)?
                    {
                        merged.push(short);
                    }
                }
            }
        }
        Ok(merged)
    }

    /// Whether the event of every missing row exists, and every stored row is of the block.
    fn is_merged(&self, id: BlockId, block: &Block) -> anyhow::Result<bool> {
        let runtime = &self.reading.runtime;
        let present = runtime.block_on(present_rows(&self.database, &self.node, id))?;
        let stored = present.iter().filter(|row| **row).count();
        let is_missing = |key: &SortingKey| !present.get(row_of(key.place)).is_some_and(|row| *row);
        let (mut missing, mut explained) = (block.keys().filter(is_missing), 0);
        loop {
            let some = next_group(&mut missing);
            if some.is_empty() {
                return Ok(stored + explained == block.rows as usize);
            }
            explained += some.len();
            if !runtime.block_on(all_events_exist(&self.database, &self.node, block.shard, some))? {
                return Ok(false);
            }
        }
    }
}

/// Takes the next rows that may be in memory together.
fn next_group(rows: &mut impl Iterator<Item = SortingKey>) -> Vec<SortingKey> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    while group.len() < ROWS_TOGETHER && bytes < TEXT_BYTES_TOGETHER {
        let Some(row) = rows.next() else { break };
        bytes += text_bytes(&row);
        group.push(row);
    }
    group
}

fn text_bytes(row: &SortingKey) -> usize {
    row.event.len() + row.distinct_id.len()
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
            .param("days", events.iter().map(day).collect::<Vec<_>>())
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
    let mut bytes = 0;
    let fits = |key: &&SortingKey| {
        bytes += text_bytes(key);
        bytes <= TEXT_BYTES_PER_QUERY
    };
    events.iter().take(EVENTS_PER_QUERY).take_while(fits).count().max(1)
}

/// The key without its row id.
fn event(key: &SortingKey) -> (i64, u16, &[u8], &[u8], u128) {
    (key.team_id, day(key), &key.event, &key.distinct_id, key.uuid)
}

/// The day as `toDate` gives it: its `Date` wraps around before 1970 and after 2149-06-06, and rows
/// of days that are one `Date` are merged as those of one day.
fn day(key: &SortingKey) -> u16 {
    key.day as u16
}
