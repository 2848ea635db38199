//! Statements of the simple query protocol, and their rows.

use std::io;

use bytes::Buf;
use postgres_protocol::message::frontend;

use super::wire::{Frame, FrameFields, MAX_MESSAGE_BYTES, Wire, WireError};
use crate::persons::postgres::pgoutput::Cell;

/// Why a statement gave no complete answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A pooler or a proxy lost a part of the answer.
    #[error("its answer has {rows} rows, and ends with {tag:?}: the answer was cut short on its way")]
    Cut { rows: u64, tag: String },
}

impl From<io::Error> for QueryError {
    fn from(error: io::Error) -> Self {
        Self::Wire(error.into())
    }
}

/// A session for one statement at a time.
pub(crate) struct QueryWire {
    wire: Wire,
    answer: AnswerState,
}

/// Progress of the current answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerState {
    /// No statement is running.
    None,
    /// Its rows arrive.
    Rows { read: u64 },
    /// All rows have arrived, and the server is not ready yet.
    Complete,
    /// The rest is of no use.
    Abandoned,
}

impl QueryWire {
    pub(crate) fn new(wire: Wire) -> Self {
        Self { wire, answer: AnswerState::None }
    }

    pub(crate) fn into_wire(self) -> Wire {
        self.wire
    }

    /// Sends a statement. What is left of the previous answer is discarded first.
    pub(crate) async fn ask(&mut self, statement: &str) -> Result<(), QueryError> {
        self.wire.flush().await?;
        while self.answer != AnswerState::None {
            self.answer = AnswerState::Abandoned;
            let header = self.wire.header(MAX_MESSAGE_BYTES).await?;
            if self.wire.body(header).await?.tag == b'Z' {
                self.answer = AnswerState::None;
            }
        }
        frontend::query(statement, self.wire.output())?;
        // Also if this is cancelled before all of it is sent: the next call sends the rest.
        self.answer = AnswerState::Rows { read: 0 };
        Ok(self.wire.flush().await?)
    }

    /// The next row, of at most `limit` bytes.
    pub(crate) async fn row(&mut self, limit: usize) -> Result<Option<Vec<Cell>>, QueryError> {
        loop {
            let Frame { tag, body } = self.wire.read(limit).await?;
            match (tag, self.answer) {
                (b'D', AnswerState::Rows { read }) => {
                    self.answer = AnswerState::Rows { read: read + 1 };
                    return Ok(Some(cells(Frame { tag, body })?));
                }
                (b'C', AnswerState::Rows { read }) => {
                    let tag = String::from_utf8_lossy(&body);
                    let tag = tag.trim_end_matches('\0');
                    let rows = tag.strip_prefix("SELECT ").and_then(|rows| rows.parse::<u64>().ok());
                    if rows.is_some_and(|rows| rows != read) {
                        return Err(QueryError::Cut { rows: read, tag: tag.to_owned() });
                    }
                    self.answer = AnswerState::Complete;
                }
                (b'I', AnswerState::Rows { .. }) => self.answer = AnswerState::Complete,
                // A walsender completes some commands twice.
                (b'C', AnswerState::Complete) => {}
                (b'Z', AnswerState::Complete) => {
                    self.answer = AnswerState::None;
                    return Ok(None);
                }
                (b'Z', AnswerState::Rows { read }) => {
                    self.answer = AnswerState::None;
                    return Err(QueryError::Cut { rows: read, tag: String::new() });
                }
                // Description, notice, setting, notification.
                (b'T' | b'N' | b'S' | b'A', _) => {}
                _ => return Err(WireError::Unexpected(char::from(tag)).into()),
            }
        }
    }
}

fn cells(frame: Frame) -> Result<Vec<Cell>, WireError> {
    let mut fields = FrameFields::new(frame);
    let count = fields.u16("count of values")?;
    let mut cells = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        cells.push(match fields.i32("length of a value")? {
            -1 => Cell::Null,
            length => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Cell::Text(fields.take(length, "value")?)
            }
        });
    }
    match fields.rest().has_remaining() {
        true => Err(WireError::Short { tag: 'D', part: "end" }),
        false => Ok(cells),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn rows(answer: &'static [u8]) -> Result<usize, QueryError> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        theirs.write_all(answer).await.expect("an answer");
        let mut wire = QueryWire::new(Wire::new(Box::new(ours)));
        wire.ask("SELECT 1").await?;
        let mut rows = 0;
        while wire.row(1000).await?.is_some() {
            rows += 1;
        }
        Ok(rows)
    }

    const ROW: &[u8] = b"D\0\0\0\x0b\0\x01\0\0\0\x011";

    #[tokio::test]
    async fn an_answer_cut_short_is_an_error() {
        let answer = |parts: &[&[u8]]| -> &'static [u8] { parts.concat().leak() };
        let (end, ready) = (&b"C\0\0\0\x0dSELECT 2\0"[..], &b"Z\0\0\0\x05I"[..]);
        assert_eq!(rows(answer(&[ROW, ROW, end, ready])).await.expect("rows"), 2);
        for short in [&[ROW, end, ready][..], &[ROW, ROW, ready], &[end, ready], &[ready]] {
            assert!(matches!(rows(answer(short)).await, Err(QueryError::Cut { .. })), "{short:?}");
        }
        let long = b"D\0\0\0\x0a\0\x01\xff\xff\xff\xfe";
        assert!(matches!(rows(long).await, Err(QueryError::Wire(WireError::Short { .. }))));
    }

    #[tokio::test]
    async fn the_rest_of_an_abandoned_answer_is_not_taken_for_the_next_one() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let mut wire = QueryWire::new(Wire::new(Box::new(ours)));
        wire.ask("SELECT 1").await.expect("a statement");
        theirs.write_all(&[ROW, ROW].concat()).await.expect("two rows");
        assert!(wire.row(1000).await.expect("a row").is_some());
        let rest = [&b"C\0\0\0\x0dSELECT 2\0"[..], b"Z\0\0\0\x05I"].concat();
        theirs.write_all(&rest).await.expect("the end");
        wire.ask("SELECT 2").await.expect("a statement");
        theirs.write_all(b"C\0\0\0\x0dSELECT 0\0Z\0\0\0\x05I").await.expect("an answer");
        assert!(wire.row(1000).await.expect("an answer").is_none());
    }
}
