//! Queries of an audit: sums of buckets, and rows of pages.

use anyhow::anyhow;
use futures_util::StreamExt;
use minijinja::{Value, context};
use serde::Deserialize;
use tokio::time::timeout;

use super::compare::{Digest, NodePage, NodeRow, PostgresRow, SecondLook, Sum, Sums};
use super::pages::AuditPage;
use crate::config::{Config, Postgres};
use crate::node::{Node, RowStream};
use crate::persons::postgres::pgoutput::Cell;
use crate::persons::postgres::session::{PostgresError, SCAN_TIMEOUT, Session, quoted, text};
use crate::persons::postgres::slot::qualified;
use crate::persons::postgres::table::TableKind;
use crate::sql;

impl TableKind {
    fn file(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::DistinctId => "distinct_id",
        }
    }
}

const SUMS: &str = "return the sums of a table";
const ROWS: &str = "return rows with their hashes";
const KEYS: &str = "return the keys of rows";

/// PostgreSQL's sums.
pub(super) async fn source_sums(
    session: &Session,
    config: &Postgres,
    kind: TableKind,
) -> Result<Sums, PostgresError> {
    let rows = session
        .rows_within(SCAN_TIMEOUT, SUMS, "audit/postgres_sums.sql", values(config, kind, context! {}))
        .await?;
    let sums = rows.iter().map(|row| {
        let [bucket, count, sum] = &row.iter().map(text).collect::<Vec<_>>()[..] else { return None };
        let count = count.parse().ok()?;
        Some((bucket.parse().ok()?, Sum { count, sum: wrapped(sum)?, stored: count }))
    });
    sums.collect::<Option<_>>().ok_or_else(|| session.odd(SUMS, "no sums"))
}

/// ClickHouse adds modulo 2^64, PostgreSQL exactly.
fn wrapped(sum: &str) -> Option<u64> {
    let sum: u128 = sum.parse().ok()?;
    u64::try_from(sum & u128::from(u64::MAX)).ok()
}

/// Compares PostgreSQL's rows on a page with every node's rows.
pub(super) async fn compare_source(
    session: &Session,
    config: &Postgres,
    kind: TableKind,
    page: &AuditPage,
    nodes: &mut [NodePage],
) -> Result<(), PostgresError> {
    let values = values(config, kind, context! { page => page.hex() });
    let read = async {
        let mut rows = session.stream(ROWS, "audit/postgres_rows.sql", values).await?;
        while let Some(row) = rows.next().await.transpose()? {
            let row = source_row(&row)
                .ok_or_else(|| session.odd(ROWS, format!("a row of {} values without a hash", row.len())))?;
            nodes.iter_mut().for_each(|node| node.compare(row));
        }
        Ok(())
    };
    timeout(SCAN_TIMEOUT, read).await.map_err(|_| session.silent(ROWS, SCAN_TIMEOUT))?
}

fn source_row(row: &[Cell]) -> Option<PostgresRow> {
    let [digest, id, hash] = row else { return None };
    let digest = Digest::from_str_radix(&text(digest), 16).ok()?;
    Some(PostgresRow { digest, id: text(id).parse().ok()?, hash: text(hash).parse().ok()? })
}

/// Returns the keys in ClickHouse of rows, by their primary keys.
pub(super) async fn keys_of(
    session: &Session,
    config: &Postgres,
    kind: TableKind,
    ids: &[i64],
) -> Result<Vec<(i64, String)>, PostgresError> {
    let ids = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let values = values(config, kind, context! { ids });
    let rows = session.rows_within(SCAN_TIMEOUT, KEYS, "audit/postgres_keys.sql", values).await?;
    let keys = rows.iter().map(|row| {
        let [id, key] = &row.iter().map(text).collect::<Vec<_>>()[..] else { return None };
        Some((id.parse().ok()?, key.clone()))
    });
    keys.collect::<Option<_>>().ok_or_else(|| session.odd(KEYS, "no keys"))
}

fn values(config: &Postgres, kind: TableKind, more: Value) -> Value {
    let (person, mapping) = (&config.person, &config.distinct_id);
    context! {
        kind => kind.file(),
        person => qualified(&person.table),
        id => quoted(&person.id),
        uuid => quoted(&person.uuid),
        team_id => quoted(&person.team_id),
        is_identified => quoted(&person.is_identified),
        created_at => quoted(&person.created_at),
        properties => quoted(&person.properties),
        mapping => qualified(&mapping.table),
        mapping_id => quoted(&mapping.id),
        mapping_team_id => quoted(&mapping.team_id),
        distinct_id => quoted(&mapping.distinct_id),
        person_id => quoted(&mapping.person_id),
        is_deleted => person.is_deleted.as_deref().map(quoted),
        merged_into_id => person.merged_into_id.as_deref().map(quoted),
        mapping_is_deleted => mapping.is_deleted.as_deref().map(quoted),
        ..more
    }
}

#[derive(Deserialize)]
struct SumRow {
    bucket: u16,
    count: u64,
    sum: u64,
    stored: u64,
}

#[derive(Deserialize)]
struct HashRow {
    digest: String,
    key: String,
    hash: u64,
    newest: u64,
    is_deleted: u8,
    was_deleted: u8,
}

/// A node's sums.
pub(super) async fn node_sums(node: &Node, config: &Config, kind: TableKind) -> anyhow::Result<Sums> {
    let values = context! { page => (), ..node_values(config, kind) };
    let sql = sql::render("audit/node_sums.sql", values)?;
    let rows: Vec<SumRow> = ask(node, &sql).rows().await?;
    let sum = |SumRow { bucket, count, sum, stored }| (bucket, Sum { count, sum, stored });
    Ok(rows.into_iter().map(sum).collect())
}

/// A node's rows on a page, including tombstones.
pub(super) async fn node_page(
    node: &Node,
    config: &Config,
    kind: TableKind,
    page: &AuditPage,
) -> anyhow::Result<NodePage> {
    let values = context! { page => page.hex(), with_key => false, ..node_values(config, kind) };
    let sql = sql::render("audit/node_rows.sql", values)?;
    let mut stream = ask(node, &sql).stream()?;
    let mut rows = Vec::new();
    while let Some((digest, row, _)) = next(node, &mut stream).await? {
        rows.push((digest, row));
    }
    Ok(NodePage::new(rows))
}

/// Reads the same rows once more and compares them with the first read.
pub(super) async fn look_again(
    node: &Node,
    config: &Config,
    kind: TableKind,
    page: &AuditPage,
    mut look: SecondLook,
) -> anyhow::Result<SecondLook> {
    let values = context! { page => page.hex(), with_key => true, ..node_values(config, kind) };
    let sql = sql::render("audit/node_rows.sql", values)?;
    let mut stream = ask(node, &sql).stream()?;
    while let Some((digest, row, key)) = next(node, &mut stream).await? {
        look.take(digest, &key, &row);
    }
    Ok(look)
}

fn node_values(config: &Config, kind: TableKind) -> Value {
    let distinct_id_table = config.persons.as_ref().map(|persons| persons.distinct_id_table);
    context! { database => &config.database, kind => kind.file(), distinct_id_table }
}

async fn next(
    node: &Node,
    stream: &mut RowStream<'_, HashRow>,
) -> anyhow::Result<Option<(Digest, NodeRow, String)>> {
    let Some(HashRow { digest, key, hash, newest, is_deleted, was_deleted }) = stream.next().await? else {
        return Ok(None);
    };
    let row = NodeRow { hash, newest, is_deleted: is_deleted != 0, was_deleted: was_deleted != 0 };
    let digest = Digest::from_str_radix(&digest, 16).map_err(|_| {
        anyhow!("node {} answered {digest:?} as the digest of a key: please report this", node.name)
    })?;
    Ok(Some((digest, row, key)))
}

fn ask<'n>(node: &'n Node, sql: &str) -> crate::node::Query<'n> {
    // Aggregates in the order of the table's key, so that only one row's versions are in memory at
    // a time.
    node.query(sql).setting("optimize_aggregation_in_order", 1)
}
