//! Inserts whose rows are sent as bytes of a format.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use clickhouse::Compression;
use clickhouse::insert_formatted::InsertFormatted;

use super::access::NodeAccess;
use super::error::NodeError;
use crate::secret::Secret;

/// Bytes of an insert that go to the connection at once and are compressed as one frame.
const SENT_AT_ONCE: usize = 1 << 20;

/// Rows for one node, sent verbatim. See `Node::insert`.
#[must_use = "rows are sent only by `send`"]
pub(crate) struct Insert<'n> {
    access: &'n NodeAccess,
    password: Option<Secret>,
    insert: InsertFormatted,
}

impl<'n> Insert<'n> {
    /// The bytes are compressed unless the node is on this machine, where a copy is cheaper than
    /// LZ4.
    pub(super) fn new(access: &'n NodeAccess, sql: &str) -> Self {
        let compression = if access.is_local() { Compression::None } else { Compression::Lz4 };
        let password = access.password();
        let client = access.complete(password.as_ref()).with_compression(compression);
        Self { access, password, insert: client.insert_formatted_with(sql) }
    }

    /// Sets a ClickHouse setting for this statement alone.
    pub(crate) fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.insert = self.insert.with_setting(name, value.to_string());
        self
    }

    /// Sends `head`, then the pieces, and returns when the server has stored all rows.
    ///
    /// # Errors
    /// After [`NodeError::Unreachable`] the rows may or may not be stored.
    pub(crate) async fn send(self, head: Bytes, pieces: &mut VecDeque<Bytes>) -> Result<(), NodeError> {
        self.upload(head, pieces).await?.end().await
    }

    /// Sends `head`, then the pieces, without the end of the request. The server stores no row
    /// before it has that.
    ///
    /// A piece leaves `pieces` when the connection has taken it, so that its memory is freed while
    /// others are sent. Without a connection all pieces stay.
    ///
    /// # Errors
    /// No row is stored after an error.
    pub(crate) async fn upload(
        self,
        head: Bytes,
        pieces: &mut VecDeque<Bytes>,
    ) -> Result<Upload<'n>, NodeError> {
        let Self { access, password, mut insert } = self;
        let sent = access.answered(async move {
            // The client holds one piece until the connection asks for it. The first of
            // `pieces` waits for that.
            insert.send(head).await?;
            while let Some(piece) = pieces.front_mut() {
                let next = piece.slice(..piece.len().min(SENT_AT_ONCE));
                let sent = next.len();
                insert.send(next).await?;
                piece.advance(sent);
                if piece.is_empty() {
                    pieces.pop_front();
                }
            }
            Ok(insert)
        });
        match sent.await {
            Ok(insert) => Ok(Upload { access, password, insert }),
            Err(error) => Err(access.explain_insert(error, password.as_ref()).await),
        }
    }
}

/// Rows that a node has received, and stores after [`Upload::end`]. If it is dropped before, the
/// node discards them.
#[must_use = "rows are stored only by `end`"]
pub(crate) struct Upload<'n> {
    access: &'n NodeAccess,
    password: Option<Secret>,
    insert: InsertFormatted,
}

impl Upload<'_> {
    /// Ends the request, and returns when the server has stored all rows.
    ///
    /// # Errors
    /// After [`NodeError::Unreachable`] the rows may or may not be stored.
    pub(crate) async fn end(self) -> Result<(), NodeError> {
        let Self { access, password, insert } = self;
        match access.answered(async move { insert.end().await }).await {
            Err(error) => Err(access.explain_insert(error, password.as_ref()).await),
            Ok(()) => Ok(()),
        }
    }
}
