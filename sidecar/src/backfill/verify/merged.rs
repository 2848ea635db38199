//! Missing rows that were merged into other rows of their events.
//!
//! `sharded_events` keeps one row of an event, so a merge removes the others. A source may hold an
//! event twice, or hold one that also came through Kafka. The units of short blocks are therefore
//! read a second time, and the event of each missing row is looked up. If it exists on the same
//! shard, the row was merged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
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
use crate::backfill::shard::SortingKey;
use crate::node::Node;
use crate::sql;

/// Events per query: its parameters travel in the URL, and servers accept up to 1 MiB of it.
const EVENTS_PER_QUERY: usize = 200;

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
    let mut present = BTreeMap::new();
    for block in &proof.short {
        present.insert((block.shard, block.slice, block.month), places(database, route.any(), block).await?);
    }
    let units: BTreeSet<String> = proof.short.iter().map(|block| block.unit.clone()).collect();
    let limits = Limits {
        // Each slice is checked and dropped before the next is built.
        block_bytes: 0,
        decoding,
        rejects: RejectLimit::Rows(u64::MAX),
        quarantine: None,
        answer_holds: DEFAULT_ANSWER_HOLDS,
    };
    let reading = UnitReader::new(route, plan, &limits, Arc::default());
    let missing = tokio::task::spawn_blocking(move || missing(&reading, &units, &present));
    let missing = missing.await.map_err(RunError::from)??;
    for ((shard, _, month), keys) in missing {
        if all_events_exist(database, route.any(), shard, &keys).await? {
            proof.forgive(shard, month, keys.len() as u64);
        }
    }
    Ok(())
}

/// Returns the row ids of a block that are stored.
async fn places(database: &str, node: &Node, block: &BlockSum) -> Result<HashSet<u64>, LedgerError> {
    let sql = sql::render("backfill/present_rows.sql", minijinja::context! { database })?;
    let first = 1 << 63 | block.slice << ROW_BITS;
    let query =
        node.query(&sql).param("first_offset", first).param("last_offset", first + u64::from(SLICE_ROWS) - 1);
    let rows: Vec<Present> = query.param("month", block.month).param("shard", block.shard).rows().await?;
    Ok(rows.into_iter().map(|row| row.place).collect())
}

/// Returns the keys of rows that the files have and the shards don't.
fn missing(
    reading: &UnitReader,
    units: &BTreeSet<String>,
    present: &BTreeMap<BlockId, HashSet<u64>>,
) -> anyhow::Result<BTreeMap<BlockId, Vec<SortingKey>>> {
    let mut missing: BTreeMap<BlockId, Vec<SortingKey>> = BTreeMap::new();
    for unit in reading.plan.units.iter().filter(|unit| units.contains(&unit.id.to_string())) {
        for slice in reading.slices(unit)? {
            let slice = slice?;
            for block in &slice.blocks {
                let place = (block.shard, slice.id.number(), block.month);
                if let Some(present) = present.get(&place) {
                    let gone = block.keys().filter(|key| !present.contains(&key.place));
                    missing.entry(place).or_default().extend(gone);
                }
            }
        }
    }
    Ok(missing)
}

/// Whether every event exists on the shard.
async fn all_events_exist(
    database: &str,
    node: &Node,
    shard: u32,
    keys: &[SortingKey],
) -> Result<bool, LedgerError> {
    let sql = sql::render("backfill/stored_events.sql", minijinja::context! { database })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut events: Vec<&SortingKey> = keys.iter().collect();
    events.sort_by(|one, other| event(one).cmp(&event(other)));
    events.dedup_by(|one, other| event(one) == event(other));
    for events in events.chunks(EVENTS_PER_QUERY) {
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
    }
    Ok(true)
}

/// The key without its row id.
fn event(key: &SortingKey) -> (i64, i64, &[u8], &[u8], u128) {
    (key.team_id, key.day, &key.event, &key.distinct_id, key.uuid)
}
