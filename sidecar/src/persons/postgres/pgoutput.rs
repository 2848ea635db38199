//! Decoder for `pgoutput` messages, protocol version 1, values as text.
//!
//! Layout: <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>.

use bytes::{Buf, Bytes};

/// A message that posthouse uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The beginning of a transaction.
    Begin {
        /// The position of its commit record.
        commit: u64,
        /// Microseconds since 2000-01-01.
        micros: i64,
        /// The lower half of its number.
        transaction: u32,
    },
    /// The end of a transaction, and of its commit record.
    Commit { end: u64 },
    /// The layout of a table for the rows that follow. Sent once more when it has changed.
    Relation(Relation),
    /// An inserted row.
    Insert { relation: u32, new: Vec<Cell> },
    /// An updated row.
    Update {
        relation: u32,
        /// Old values of the replica identity, or all old values; absent if the identity is
        /// unchanged.
        old: Option<Vec<Cell>>,
        new: Vec<Cell>,
    },
    /// A deleted row.
    Delete {
        relation: u32,
        /// Values of the replica identity, or all values.
        old: Vec<Cell>,
    },
    /// All rows of these tables were deleted.
    Truncate { relations: Vec<u32> },
    /// Messages without relevance here: types, origins, logical messages.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// The id that rows refer to.
    pub(crate) id: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Its columns, in the order of a row's values.
    pub(crate) columns: Vec<RelationColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    pub(crate) name: String,
    /// PostgreSQL's OID of its type.
    pub(crate) type_id: u32,
    /// Whether it belongs to the replica identity.
    pub(crate) is_identity: bool,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Cell {
    /// NULL, or not sent: an old row may have only its replica identity.
    Null,
    /// An unchanged TOASTed value, not sent by PostgreSQL.
    Unchanged,
    /// A value as UTF-8 text.
    Text(Bytes),
}

impl Cell {
    /// Length of its text in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Null | Self::Unchanged => 0,
        }
    }
}

/// Why a message can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The message ends too early.
    #[error("a pgoutput message of type {kind} ends before its {part}")]
    End {
        kind: char,
        /// The missing part.
        part: &'static str,
    },
    /// Ignoring it could lose changes.
    #[error("a pgoutput message has the unknown type {kind:?}: please report this")]
    Unknown { kind: char },
    /// A byte has an unexpected value.
    #[error("a pgoutput message of type {kind} has {found} as its {part}")]
    Wrong {
        kind: char,
        /// The expected part.
        part: &'static str,
        found: u8,
    },
}

pub(crate) fn decode(data: Bytes) -> Result<Message, DecodeError> {
    let mut input = Input { kind: ' ', data };
    let kind = input.byte("type")?;
    input.kind = char::from(kind);
    match kind {
        b'B' => Ok(Message::Begin {
            commit: input.u64("commit position")?,
            micros: input.u64("commit time")?.cast_signed(),
            transaction: input.u32("transaction")?,
        }),
        b'C' => {
            input.byte("flags")?;
            input.u64("commit position")?;
            Ok(Message::Commit { end: input.u64("end position")? })
        }
        b'R' => input.relation().map(Message::Relation),
        b'I' => {
            let relation = input.u32("table")?;
            input.expect(b'N', "kind of row")?;
            Ok(Message::Insert { relation, new: input.row()? })
        }
        b'U' => {
            let relation = input.u32("table")?;
            let old = match input.byte("kind of row")? {
                b'K' | b'O' => {
                    let old = input.row()?;
                    input.expect(b'N', "kind of row")?;
                    Some(old)
                }
                b'N' => None,
                found => return Err(input.wrong("kind of row", found)),
            };
            Ok(Message::Update { relation, old, new: input.row()? })
        }
        b'D' => {
            let relation = input.u32("table")?;
            match input.byte("kind of row")? {
                b'K' | b'O' => Ok(Message::Delete { relation, old: input.row()? }),
                found => Err(input.wrong("kind of row", found)),
            }
        }
        b'T' => {
            let count = input.u32("count of tables")?;
            input.byte("options")?;
            let relations = (0..count).map(|_| input.u32("table")).collect::<Result<_, _>>()?;
            Ok(Message::Truncate { relations })
        }
        // Types, origins, logical messages.
        b'Y' | b'O' | b'M' => Ok(Message::Other),
        found => Err(DecodeError::Unknown { kind: char::from(found) }),
    }
}

/// The rest of a message.
struct Input {
    kind: char,
    data: Bytes,
}

impl Input {
    fn relation(&mut self) -> Result<Relation, DecodeError> {
        let id = self.u32("number")?;
        let (schema, name) = (self.text("schema")?, self.text("name")?);
        self.byte("replica identity")?;
        let count = self.u16("count of columns")?;
        let column = |_| {
            let is_identity = self.byte("flags of a column")? & 1 != 0;
            let name = self.text("name of a column")?;
            let type_id = self.u32("type of a column")?;
            self.u32("type modifier of a column")?;
            Ok(RelationColumn { name, type_id, is_identity })
        };
        let columns = (0..count).map(column).collect::<Result<_, _>>()?;
        Ok(Relation { id, schema, name, columns })
    }

    fn row(&mut self) -> Result<Vec<Cell>, DecodeError> {
        let count = self.u16("count of values")?;
        (0..count).map(|_| self.cell()).collect()
    }

    fn cell(&mut self) -> Result<Cell, DecodeError> {
        match self.byte("kind of a value")? {
            b'n' => Ok(Cell::Null),
            b'u' => Ok(Cell::Unchanged),
            b't' => {
                let length = self.u32("length of a value")? as usize;
                self.take(length, "value").map(Cell::Text)
            }
            found => Err(self.wrong("kind of a value", found)),
        }
    }

    fn expect(&mut self, wanted: u8, part: &'static str) -> Result<(), DecodeError> {
        let found = self.byte(part)?;
        if found == wanted { Ok(()) } else { Err(self.wrong(part, found)) }
    }

    fn text(&mut self, part: &'static str) -> Result<String, DecodeError> {
        let end = self.data.iter().position(|&byte| byte == 0).ok_or_else(|| self.end(part))?;
        let text = self.take(end, part)?;
        self.data.advance(1);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn byte(&mut self, part: &'static str) -> Result<u8, DecodeError> {
        self.data.try_get_u8().map_err(|_| self.end(part))
    }

    fn u16(&mut self, part: &'static str) -> Result<u16, DecodeError> {
        self.data.try_get_u16().map_err(|_| self.end(part))
    }

    fn u32(&mut self, part: &'static str) -> Result<u32, DecodeError> {
        self.data.try_get_u32().map_err(|_| self.end(part))
    }

    fn u64(&mut self, part: &'static str) -> Result<u64, DecodeError> {
        self.data.try_get_u64().map_err(|_| self.end(part))
    }

    fn take(&mut self, length: usize, part: &'static str) -> Result<Bytes, DecodeError> {
        if self.data.len() < length {
            return Err(self.end(part));
        }
        Ok(self.data.split_to(length))
    }

    fn end(&self, part: &'static str) -> DecodeError {
        DecodeError::End { kind: self.kind, part }
    }

    fn wrong(&self, part: &'static str, found: u8) -> DecodeError {
        DecodeError::Wrong { kind: self.kind, part, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An update with the old row, as the server sends it. `old` has one value, `new` a NULL, an
    /// unchanged value and a text.
    const UPDATE: &[u8] = b"U\0\0\x40\x01K\0\x01t\0\0\0\x017N\0\x03nut\0\0\0\x02ab";

    #[test]
    fn values_are_told_from_null_and_unchanged_ones() {
        let text = |text: &'static [u8]| Cell::Text(Bytes::from_static(text));
        let wanted = Message::Update {
            relation: 0x4001,
            old: Some(vec![text(b"7")]),
            new: vec![Cell::Null, Cell::Unchanged, text(b"ab")],
        };
        assert_eq!(decode(Bytes::from_static(UPDATE)), Ok(wanted));
    }

    #[test]
    fn a_message_cut_short_is_an_error_wherever_it_is_cut() {
        for end in 0..UPDATE.len() {
            let cut = decode(Bytes::from_static(&UPDATE[..end]));
            assert!(matches!(cut, Err(DecodeError::End { .. })), "{end}: {cut:?}");
        }
    }

    #[test]
    fn an_unknown_type_is_an_error_and_unused_types_are_not() {
        assert_eq!(decode(Bytes::from_static(b"Y\0\0")), Ok(Message::Other));
        let unknown = decode(Bytes::from_static(b"S\0\0")).expect_err("an error").to_string();
        assert!(unknown.contains("the unknown type 'S'"), "{unknown}");
    }

    #[test]
    fn a_table_is_read_with_its_columns() {
        let data =
            b"R\0\0\0\x09public\0t\0d\0\x02\x01id\0\0\0\0\x14\xff\xff\xff\xff\0b\0\0\0\0\x19\xff\xff\xff\xff";
        let Ok(Message::Relation(relation)) = decode(Bytes::from_static(data)) else { panic!("no table") };
        let columns: Vec<_> =
            relation.columns.iter().map(|c| (c.name.as_str(), c.type_id, c.is_identity)).collect();
        assert_eq!((relation.schema.as_str(), relation.name.as_str()), ("public", "t"));
        assert_eq!(columns, [("id", 20, true), ("b", 25, false)]);
    }

    #[test]
    fn random_bytes_are_no_panic() {
        let seed: u64 = rand::random();
        println!("SEED={seed}");
        let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
        for _ in 0..20_000 {
            let length = rand::RngExt::random_range(&mut random, 0..64);
            let mut bytes = vec![0; length];
            rand::Rng::fill_bytes(&mut random, &mut bytes);
            if let Some(kind) = bytes.first_mut() {
                *kind = b"BCRIUDTY"[usize::from(*kind) % 8];
            }
            let _ = decode(bytes.into());
        }
    }
}
