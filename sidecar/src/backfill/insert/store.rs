//! Storage of a block in its shard, exactly once.
//!
//! After a failed attempt, the shard is queried for the block before the next one.

use std::time::{Instant, SystemTime};

use serde::Deserialize;
use tokio::time::sleep;

use super::ledger_answer::LedgerAnswer;
use super::pending_insert::PendingInsert;
use super::route::Destination;
use super::stale_tokens::StaleTokens;
use crate::backfill::place::SLICE_ROWS;
use crate::backfill::retry::{PATIENCE, backoff, is_passing};
use crate::node::{Node, NodeError};
use crate::sql::{self, RenderError};

/// The next step of a load whose file was undone.
pub(crate) const AFTER_UNDO: &str =
    "when posthouse backfill undo has finished, run the same command again to load it again";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Stored by this insert.
    Now,
    /// Stored by an earlier insert of this or another run, whose acknowledgement was lost.
    Before,
}

/// A block is not stored, or not exactly once.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The shard did not accept the block.
    #[error("shard {shard} did not accept a block of month {month} in {tries} attempts")]
    Refused {
        shard: u32,
        month: u32,
        /// Number of attempts.
        tries: u32,
        /// The last response.
        #[source]
        source: NodeError,
    },
    /// A transient error occurred after rows were sent. The rows are no longer in memory, so the
    /// source must be reread.
    #[error(
        "shard {shard} did not accept a block of month {month}, and its rows are no longer in memory: run the same command again to resume"
    )]
    Gone {
        shard: u32,
        month: u32,
        #[source]
        source: NodeError,
    },
    /// The shard acknowledged the block but has none of its rows: the token is stale. The block is
    /// sent with another token after the source is reread.
    #[error(
        "shard {shard} has a stale token of a block of month {month} and no row of it, as after a kill: run the same command again to resume"
    )]
    Ghost { shard: u32, month: u32 },
    /// The shard has more rows with the block's row ids than the block has.
    #[error(
        "shard {shard} has {found} rows with the row ids of a block of month {month} that has {rows}: stored twice, or not by \
         posthouse. Inspect them with SELECT * FROM {database}.events WHERE _offset BETWEEN {first} AND {last}"
    )]
    Twice {
        shard: u32,
        database: String,
        month: u32,
        /// Rows of the block.
        rows: u64,
        /// Rows in the shard.
        found: u64,
        /// First row id.
        first: u64,
        /// Last row id.
        last: u64,
    },
    /// The block's file was undone while it was loaded.
    #[error("shard {shard} has an undo of the file of a block of month {month}: {AFTER_UNDO}")]
    Undone { shard: u32, month: u32 },
    #[error(transparent)]
    Render(#[from] RenderError),
}

#[derive(Debug, Default, Deserialize)]
struct StoredBlock {
    rows: u64,
    /// Records of an undo of its file.
    undone: u64,
}

/// Stores a block of a unit of which the ledger has given `answer`. `again` is called after
/// a transient failure before any row was sent, such as an unreachable node, and returns whether to
/// retry.
///
/// The token makes the shard drop a block that it has just stored. A shard that has forgotten the
/// token still has the rows, which are found by their row ids. An insert of one part is atomic. A
/// block in doubt is also looked up after the insert, because its token may be one of
/// `stale_tokens`. A block that took longer to send than an answer holds is looked up before its
/// request ends: this process may have been paused, or the line slow, while another run stored the
/// block and the shard forgot the token.
///
/// # Errors
/// Fails on a permanent error, on a transient one that lasts longer than [`PATIENCE`], and on any
/// error after rows were sent.
pub(crate) async fn store(
    database: &str,
    destination: &Destination,
    pending_insert: &mut PendingInsert,
    stale_tokens: &StaleTokens,
    answer: &LedgerAnswer,
    again: impl Fn(&NodeError) -> bool,
) -> Result<Stored, StoreError> {
    let (begin, mut backoff) = (Instant::now(), backoff());
    let mut tries = 0;
    loop {
        let node = &destination.nodes[tries as usize % destination.nodes.len()];
        tries += 1;
        let answer = LedgerAnswer { is_begun: answer.is_begun || tries > 1, ..answer.clone() };
        match attempt(database, destination, node, pending_insert, stale_tokens, &answer).await {
            Ok(stored) => return Ok(stored),
            Err(AttemptError::Node(source)) if is_passing(&source) && !pending_insert.is_whole() => {
                return Err(StoreError::Gone {
                    shard: pending_insert.shard,
                    month: pending_insert.month,
                    source,
                });
            }
            Err(AttemptError::Node(error))
                if is_passing(&error) && begin.elapsed() < PATIENCE && again(&error) =>
            {
                sleep(backoff.wait()).await;
            }
            Err(AttemptError::Node(source)) => {
                return Err(StoreError::Refused {
                    shard: pending_insert.shard,
                    month: pending_insert.month,
                    tries,
                    source,
                });
            }
            Err(AttemptError::Store(error)) => return Err(error),
        }
    }
}

enum AttemptError {
    Node(NodeError),
    Store(StoreError),
}

impl From<NodeError> for AttemptError {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl From<RenderError> for AttemptError {
    fn from(error: RenderError) -> Self {
        Self::Store(error.into())
    }
}

async fn attempt(
    database: &str,
    destination: &Destination,
    node: &Node,
    pending_insert: &mut PendingInsert,
    stale_tokens: &StaleTokens,
    answer: &LedgerAnswer,
) -> Result<Stored, AttemptError> {
    let (begin, mut in_doubt) = (SystemTime::now(), answer.is_in_doubt());
    if in_doubt && is_anywhere(database, destination, node, pending_insert).await? {
        return Ok(Stored::Before);
    }
    let table = destination.events;
    let extras = &pending_insert.extras;
    let sql = sql::render("backfill/insert_block.sql", minijinja::context! { database, table, extras })?;
    let mut insert = node.insert(&sql);
    for (name, value) in &destination.settings {
        insert = insert.setting(name, value);
    }
    let upload = insert
        .setting("insert_deduplication_token", stale_tokens.token(&pending_insert.token))
        .setting("insert_deduplicate", 1)
        // Inserts the block unchanged, as one part, before the acknowledgement.
        .setting("async_insert", 0)
        .setting("distributed_foreground_insert", 1)
        .setting("min_insert_block_size_rows", 0)
        .setting("min_insert_block_size_bytes", 0)
        .setting("max_insert_block_size", SLICE_ROWS)
        // Keeps every source row so that rows can be counted. Merges collapse equal rows later.
        .setting("optimize_on_insert", 0)
        .upload(pending_insert.head.clone(), &mut pending_insert.pieces)
        .await?;
    if answer.is_outdated(if in_doubt { begin } else { answer.asked_at }) {
        in_doubt = true;
        if is_anywhere(database, destination, node, pending_insert).await? {
            return Ok(Stored::Before);
        }
    }
    upload.end().await?;
    // A shard processes inserts into a table one after the other, so another attempt's insert is
    // complete by now.
    if in_doubt && !is_anywhere(database, destination, node, pending_insert).await? {
        stale_tokens.found(&pending_insert.token);
        return Err(AttemptError::Store(StoreError::Ghost {
            shard: pending_insert.shard,
            month: pending_insert.month,
        }));
    }
    Ok(Stored::Now)
}

/// Whether the shard has the block's rows. Queries every reachable replica, because one replica may
/// lack rows that another has acknowledged.
async fn is_anywhere(
    database: &str,
    destination: &Destination,
    node: &Node,
    pending_insert: &PendingInsert,
) -> Result<bool, AttemptError> {
    let through_others = destination.stored == "events";
    let nodes = if through_others { std::slice::from_ref(node) } else { &destination.nodes };
    for node in nodes {
        match is_there(database, destination, node, pending_insert).await {
            Ok(false) => {}
            Err(AttemptError::Node(NodeError::Unreachable { .. })) if nodes.len() > 1 => {}
            there => return there,
        }
    }
    Ok(false)
}

/// Whether the block's rows exist. Fewer rows than in the block count too: a part is stored
/// completely, so the other rows were merged or changed since. A block whose file is undone is an
/// error, because its rows must not come back.
async fn is_there(
    database: &str,
    destination: &Destination,
    node: &Node,
    pending_insert: &PendingInsert,
) -> Result<bool, AttemptError> {
    let table = destination.stored;
    let ledger = destination.ledger;
    let sql = sql::render("backfill/stored_block.sql", minijinja::context! { database, table, ledger })?;
    let mut query = node
        .query(&sql)
        .param("first_offset", pending_insert.places.0)
        .param("last_offset", pending_insert.places.1)
        .param("first", pending_insert.times.0)
        .param("last", pending_insert.times.1)
        .param("month", pending_insert.month)
        .param("file", &pending_insert.file);
    if table == "events" {
        query = query.param("shard", pending_insert.shard);
    }
    let StoredBlock { rows: found, undone } =
        query.rows::<StoredBlock>().await?.into_iter().next().unwrap_or_default();
    if undone > 0 {
        let (shard, month) = (pending_insert.shard, pending_insert.month);
        return Err(AttemptError::Store(StoreError::Undone { shard, month }));
    }
    if found > pending_insert.rows {
        return Err(AttemptError::Store(StoreError::Twice {
            shard: pending_insert.shard,
            database: database.to_owned(),
            month: pending_insert.month,
            rows: pending_insert.rows,
            found,
            first: pending_insert.places.0,
            last: pending_insert.places.1,
        }));
    }
    Ok(found > 0)
}
