//! What each side tells of its rows: sums of buckets, and the rows of some buckets.

use std::collections::BTreeSet;

use minijinja::{Value, context};
use serde::Deserialize;

use crate::config::Postgres;
use crate::node::{Node, NodeError};
use crate::sql::{self, RenderError};

use super::AuditError;
use super::compare::{NodeRow, NodeRows, SourceRows, Sum, Sums};
use crate::persons::postgres::{PostgresError, SCAN_TIMEOUT, Session, quoted, text};
use crate::persons::slot::qualified;
use crate::persons::table::Kind;

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::DistinctId => "distinct_id",
        }
    }
}

const SUMS: &str = "sum up a table";
const ROWS: &str = "give rows with their hashes";

/// The sums of PostgreSQL.
pub(super) async fn source_sums(
    session: &Session,
    config: &Postgres,
    kind: Kind,
) -> Result<Sums, PostgresError> {
    let rows = session
        .rows_within(SCAN_TIMEOUT, SUMS, "audit/postgres_sums.sql", values(config, kind, &BTreeSet::new()))
        .await?;
    let sums = rows.iter().map(|row| {
        let [bucket, count, sum] = &row.iter().map(text).collect::<Vec<_>>()[..] else { return None };
        // 48 bits a row: 65,536 rows of a bucket fit, and more wrap as the node's sum does.
        let sum = sum.parse::<u128>().ok()? as u64;
        Some((bucket.parse().ok()?, Sum { count: count.parse().ok()?, sum }))
    });
    sums.collect::<Option<_>>().ok_or_else(|| session.odd(SUMS, "no numbers"))
}

/// The rows of PostgreSQL in these buckets.
pub(super) async fn source_rows(
    session: &Session,
    config: &Postgres,
    kind: Kind,
    buckets: &BTreeSet<u16>,
) -> Result<SourceRows, PostgresError> {
    let rows = session
        .rows_within(SCAN_TIMEOUT, ROWS, "audit/postgres_rows.sql", values(config, kind, buckets))
        .await?;
    let rows = rows.iter().map(|row| {
        let [key, hash] = &row.iter().map(text).collect::<Vec<_>>()[..] else { return None };
        Some((key.clone(), hash.parse().ok()?))
    });
    rows.collect::<Option<_>>().ok_or_else(|| session.odd(ROWS, "no hashes"))
}

fn values(config: &Postgres, kind: Kind, buckets: &BTreeSet<u16>) -> Value {
    let (person, mapping) = (&config.person, &config.distinct_id);
    context! {
        kind => kind.file(),
        buckets => list(buckets),
        person => qualified(&person.table),
        id => quoted(&person.id),
        uuid => quoted(&person.uuid),
        team_id => quoted(&person.team_id),
        is_identified => quoted(&person.is_identified),
        created_at => quoted(&person.created_at),
        properties => quoted(&person.properties),
        mapping => qualified(&mapping.table),
        mapping_team_id => quoted(&mapping.team_id),
        distinct_id => quoted(&mapping.distinct_id),
        person_id => quoted(&mapping.person_id),
    }
}

#[derive(Deserialize)]
struct SumRow {
    bucket: u16,
    count: u64,
    sum: u64,
}

#[derive(Deserialize)]
struct HashRow {
    key: String,
    hash: u64,
    newest: u64,
    is_deleted: u8,
    was_deleted: u8,
}

/// The sums of a node.
pub(super) async fn node_sums(node: &Node, database: &str, kind: Kind) -> Result<Sums, AuditError> {
    let sql = statement("audit/node_sums.sql", database, kind, &BTreeSet::new())?;
    let rows: Vec<SumRow> = ask(node, &sql).await?;
    Ok(rows.into_iter().map(|row| (row.bucket, Sum { count: row.count, sum: row.sum })).collect())
}

/// The rows of a node in these buckets, tombstones among them.
pub(super) async fn node_rows(
    node: &Node,
    database: &str,
    kind: Kind,
    buckets: &BTreeSet<u16>,
) -> Result<NodeRows, AuditError> {
    let sql = statement("audit/node_rows.sql", database, kind, buckets)?;
    let rows: Vec<HashRow> = ask(node, &sql).await?;
    let row = |HashRow { key, hash, newest, is_deleted, was_deleted }| {
        (key, NodeRow { hash, newest, is_deleted: is_deleted != 0, was_deleted: was_deleted != 0 })
    };
    Ok(rows.into_iter().map(row).collect())
}

async fn ask<T: for<'de> Deserialize<'de>>(node: &Node, sql: &str) -> Result<Vec<T>, NodeError> {
    // In the order of the tables' keys, so that one row's versions are in memory at a time and not all.
    node.query(sql).setting("optimize_aggregation_in_order", 1).rows().await
}

fn statement(path: &str, database: &str, kind: Kind, buckets: &BTreeSet<u16>) -> Result<String, RenderError> {
    sql::render(path, context! { database, kind => kind.file(), buckets => list(buckets) })
}

fn list(buckets: &BTreeSet<u16>) -> String {
    buckets.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}
