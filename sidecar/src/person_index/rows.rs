//! Versions of distinct ids from a node's table or from messages, as they arrive in RowBinary.

use bytes::{Buf, Bytes, BytesMut};
use minijinja::context;
use posthouse_udf::person::Version;

use super::table;
use crate::cluster::Cluster;
use crate::node::{ByteChunks, Node, Query};
use crate::sql;

/// Longest distinct id. ClickHouse itself reads no string above 1 GiB.
const MAX_ID_BYTES: u64 = 64 << 20;
/// Bytes of a row beside its distinct id and the length of that.
const FIXED_BYTES: usize = 8 + 16 + 8 + 1;

/// One version of a distinct id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VersionRow {
    pub(super) team_id: i64,
    pub(super) distinct_id: Bytes,
    pub(super) version: Version,
}

/// The rows of an answer, in the order in which the node sends them.
pub(super) struct VersionRows<'n> {
    chunks: ByteChunks<'n>,
    rest: BytesMut,
    ended: bool,
}

impl<'n> VersionRows<'n> {
    /// Asks the node for the rows of its table.
    pub(super) fn of_table(cluster: &Cluster, node: &'n Node) -> anyhow::Result<Self> {
        let values = context! { database => &cluster.config.database, table => table(&cluster.config) };
        Self::of(node.query(&sql::render("inspect/distinct_id_versions.sql", values)?))
    }

    /// Asks the node for the rows that it would store of these messages.
    pub(super) fn of_messages(
        cluster: &Cluster,
        node: &'n Node,
        payloads: &[Vec<u8>],
    ) -> anyhow::Result<Self> {
        let values = context! { database => &cluster.config.database, messages => in_hexadecimal(payloads) };
        let sql = sql::render("inspect/distinct_id_messages.sql", values)?;
        let query = node.query(&sql).setting("max_query_size", sql.len() + 1);
        // It is one query a second or more, and none that a person has asked.
        Self::of(query.setting("log_queries", 0).setting("wait_end_of_query", 1))
    }

    fn of(query: Query<'n>) -> anyhow::Result<Self> {
        Ok(Self { chunks: query.chunks("RowBinary")?, rest: BytesMut::new(), ended: false })
    }

    /// Returns the next row, or `None` after the last one.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<VersionRow>> {
        loop {
            if let Some(row) = split_row(&mut self.rest)? {
                return Ok(Some(row));
            }
            if self.ended {
                anyhow::ensure!(
                    self.rest.is_empty(),
                    "the last row of the node's answer is cut off: try again"
                );
                return Ok(None);
            }
            match self.chunks.next().await? {
                Some(bytes) => self.rest.extend_from_slice(&bytes),
                None => self.ended = true,
            }
        }
    }
}

/// Returns texts in hexadecimal, with commas between them.
fn in_hexadecimal(payloads: &[Vec<u8>]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(payloads.iter().map(|payload| 2 * payload.len() + 1).sum());
    for (number, payload) in payloads.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        for byte in payload {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    text
}

/// Splits a whole row from the start of `bytes`; `None` if it has not arrived yet.
fn split_row(bytes: &mut BytesMut) -> anyhow::Result<Option<VersionRow>> {
    let Some((length, length_bytes)) = id_length(bytes.get(8..).unwrap_or_default())? else {
        return Ok(None);
    };
    if bytes.len() < FIXED_BYTES + length_bytes + length {
        return Ok(None);
    }
    let team_id = bytes.get_i64_le();
    bytes.advance(length_bytes);
    let distinct_id = bytes.split_to(length).freeze();
    let person_id = bytes.get_u128_le();
    let version = bytes.get_i64_le();
    let is_deleted = bytes.get_u8() != 0;
    Ok(Some(VersionRow { team_id, distinct_id, version: Version { version, is_deleted, person_id } }))
}

/// Reads the length of a distinct id, and returns it with the number of its own bytes.
fn id_length(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let mut length = 0_u64;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            anyhow::ensure!(
                length <= MAX_ID_BYTES,
                "a distinct id of {length} bytes: posthouse reads at most 64 MiB"
            );
            return Ok(Some((usize::try_from(length)?, place + 1)));
        }
    }
    anyhow::ensure!(
        bytes.len() < 5,
        "the node's answer is not RowBinary: check that its URL is a ClickHouse"
    );
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_pieces_of_any_size() {
        let mut sent = Vec::new();
        for (team_id, id, deleted) in [(2_i64, "a".repeat(300), 0_u8), (-1, String::new(), 1)] {
            sent.extend(team_id.to_le_bytes());
            let length = id.len();
            sent.extend(if length < 0x80 {
                vec![length as u8]
            } else {
                vec![length as u8 | 0x80, (length >> 7) as u8]
            });
            sent.extend(id.as_bytes());
            sent.extend(7_u128.to_le_bytes());
            sent.extend(9_i64.to_le_bytes());
            sent.push(deleted);
        }
        for size in [1, 7, 1000] {
            let (mut rest, mut rows) = (BytesMut::new(), Vec::new());
            for piece in sent.chunks(size) {
                rest.extend_from_slice(piece);
                while let Some(row) = split_row(&mut rest).expect("valid rows") {
                    rows.push((
                        row.team_id,
                        row.distinct_id.len(),
                        row.version.is_deleted,
                        row.version.person_id,
                    ));
                }
            }
            assert_eq!(rows, [(2, 300, false, 7), (-1, 0, true, 7)]);
            assert!(rest.is_empty());
        }
        let mut endless = BytesMut::from(&[0xff; 20][..]);
        assert!(split_row(&mut endless).is_err());
    }
}
