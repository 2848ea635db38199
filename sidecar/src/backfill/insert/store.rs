//! One block into its shard, for sure and once: a try, and after any doubt a look before the next.

use std::time::Instant;

use serde::Deserialize;
use tokio::time::sleep;

use super::ghosts::Ghosts;
use super::parcel::Parcel;
use super::route::Destination;
use crate::backfill::place::SLICE_ROWS;
use crate::backfill::retry::{PATIENCE, is_passing, wait};
use crate::node::{Node, NodeError};
use crate::sql::{self, RenderError};

/// How a block came to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// By this insert.
    Now,
    /// By an earlier one, of this or another run, whose answer was lost.
    Before,
}

/// A block that is not stored, or not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The shard did not take it.
    #[error("shard {shard} did not take a block of month {month} in {tries} tries")]
    Refused {
        /// The shard.
        shard: u32,
        /// The block's month.
        month: u32,
        /// How often it was sent.
        tries: u32,
        /// What the last answer was.
        #[source]
        source: NodeError,
    },
    /// The shard did not take it, for a reason that passes, and its rows are sent already: they must be read again.
    #[error(
        "shard {shard} did not take a block of month {month}, whose rows are no longer in memory: the same command goes on from there"
    )]
    Gone {
        /// The shard.
        shard: u32,
        /// The block's month.
        month: u32,
        /// What the answer was.
        #[source]
        source: NodeError,
    },
    /// The shard acknowledged it and has not one of its rows: it knew its token without having its part. It is sent under
    /// another one when its rows are read again.
    #[error(
        "shard {shard} knew the token of a block of month {month} and has no row of it, as after a kill: the same command goes on from there"
    )]
    Ghost {
        /// The shard.
        shard: u32,
        /// The block's month.
        month: u32,
    },
    /// More rows stand at the block's places than it has.
    #[error(
        "shard {shard} holds {found} rows at places of a block of month {month} that has {rows}: stored twice, or not by \
         posthouse; look at them with SELECT * FROM {database}.events WHERE _offset BETWEEN {first} AND {last}"
    )]
    Twice {
        /// The shard.
        shard: u32,
        /// The database.
        database: String,
        /// The block's month.
        month: u32,
        /// Its rows.
        rows: u64,
        /// What stands there.
        found: u64,
        /// The first place.
        first: u64,
        /// The last place.
        last: u64,
    },
    /// A template does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
}

#[derive(Debug, Deserialize)]
struct Found {
    rows: u64,
}

/// Stores a block. While `in_doubt` says so, another run may have sent it; `again` hears of failures that may pass before
/// any row was sent, such as a node that is not reached, and says whether to try once more.
///
/// The token makes the shard drop what it has just seen; a shard that has forgotten the token still has the rows, which
/// their places tell. An insert of one part is there whole or not at all. A block in doubt is looked for after it was sent
/// too, since its token may be one of `ghosts`.
///
/// # Errors
/// See [`StoreError`]: a fault that does not pass, one that did not pass in [`PATIENCE`], or one that came when rows were
/// sent.
pub async fn store(
    database: &str,
    destination: &Destination,
    parcel: &mut Parcel,
    ghosts: &Ghosts,
    in_doubt: impl Fn() -> bool,
    again: impl Fn(&NodeError) -> bool,
) -> Result<Stored, StoreError> {
    let begin = Instant::now();
    let mut tries = 0;
    loop {
        let node = &destination.nodes[tries as usize % destination.nodes.len()];
        tries += 1;
        match attempt(database, destination, node, parcel, ghosts, tries > 1 || in_doubt()).await {
            Ok(stored) => return Ok(stored),
            Err(AttemptError::Node(source)) if is_passing(&source) && !parcel.is_whole() => {
                return Err(StoreError::Gone { shard: parcel.shard, month: parcel.month, source });
            }
            Err(AttemptError::Node(error))
                if is_passing(&error) && begin.elapsed() < PATIENCE && again(&error) =>
            {
                sleep(wait(tries)).await;
            }
            Err(AttemptError::Node(source)) => {
                return Err(StoreError::Refused { shard: parcel.shard, month: parcel.month, tries, source });
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
    parcel: &mut Parcel,
    ghosts: &Ghosts,
    in_doubt: bool,
) -> Result<Stored, AttemptError> {
    if in_doubt && is_anywhere(database, destination, node, parcel).await? {
        return Ok(Stored::Before);
    }
    let table = destination.events;
    let sql = sql::render("backfill/insert_block.sql", minijinja::context! { database, table })?;
    let mut insert = node.insert(&sql);
    for (name, value) in &destination.settings {
        insert = insert.setting(name, value);
    }
    insert
        .setting("insert_deduplication_token", ghosts.token(&parcel.token))
        .setting("insert_deduplicate", 1)
        // The block as it stands, as one part, before the answer.
        .setting("async_insert", 0)
        .setting("distributed_foreground_insert", 1)
        .setting("min_insert_block_size_rows", 0)
        .setting("min_insert_block_size_bytes", 0)
        .setting("max_insert_block_size", SLICE_ROWS)
        // Every row of the source, so that it can be counted; merges collapse what is equal, as ever.
        .setting("optimize_on_insert", 0)
        .send(parcel.head.clone(), &mut parcel.pieces)
        .await?;
    // The shard takes one insert into a table after the other, so what another attempt was writing is there by now.
    if in_doubt && !is_anywhere(database, destination, node, parcel).await? {
        ghosts.found(&parcel.token);
        return Err(AttemptError::Store(StoreError::Ghost { shard: parcel.shard, month: parcel.month }));
    }
    Ok(Stored::Now)
}

/// Whether the shard has the block's rows. A replica may not have yet what another one has acknowledged, so each that answers
/// is asked.
async fn is_anywhere(
    database: &str,
    destination: &Destination,
    node: &Node,
    parcel: &Parcel,
) -> Result<bool, AttemptError> {
    let through_others = destination.stored == "events";
    let nodes = if through_others { std::slice::from_ref(node) } else { &destination.nodes };
    for node in nodes {
        match is_there(database, destination, node, parcel).await {
            Ok(false) => {}
            Err(AttemptError::Node(NodeError::Unreachable { .. })) if nodes.len() > 1 => {}
            there => return there,
        }
    }
    Ok(false)
}

/// Whether the block's rows are there. Fewer rows than it has were merged since, or changed by somebody: a part comes whole.
async fn is_there(
    database: &str,
    destination: &Destination,
    node: &Node,
    parcel: &Parcel,
) -> Result<bool, AttemptError> {
    let table = destination.stored;
    let sql = sql::render("backfill/stored_block.sql", minijinja::context! { database, table })?;
    let mut query = node
        .query(&sql)
        .param("first_offset", parcel.places.0)
        .param("last_offset", parcel.places.1)
        .param("first", parcel.times.0)
        .param("last", parcel.times.1)
        .param("month", parcel.month);
    if table == "events" {
        query = query.param("shard", parcel.shard);
    }
    let found = query.rows::<Found>().await?.into_iter().next().map_or(0, |found| found.rows);
    if found > parcel.rows {
        return Err(AttemptError::Store(StoreError::Twice {
            shard: parcel.shard,
            database: database.to_owned(),
            month: parcel.month,
            rows: parcel.rows,
            found,
            first: parcel.places.0,
            last: parcel.places.1,
        }));
    }
    Ok(found > 0)
}
