//! Footers of writers that bend the format, rewritten for the Parquet library.
//!
//! fastparquet marks fixed-size columns as UTF8, and writes empty lists without the type of their
//! elements. pyarrow before 3.0 writes a number of its own for columns of nulls.

/// Limit on nesting, which metadata does not reach.
const MAX_DEPTH: usize = 16;
/// Bytes that a variable-length integer of 64 bits may take.
const MAX_VARINT_BYTES: usize = 10;

/// Types of the compact protocol.
const I32: u8 = 5;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Fields of `FileMetaData`.
const SCHEMA: i16 = 2;
const ROW_GROUPS: i16 = 4;
/// Fields of `SchemaElement`, and of the union of its logical types.
const PHYSICAL_TYPE: i16 = 1;
const CONVERTED_TYPE: i16 = 6;
const LOGICAL_TYPE: i16 = 10;
const UNKNOWN: i16 = 11;

const FIXED_LEN_BYTE_ARRAY: u64 = 7;
const UTF8: u64 = 0;
/// The last converted type of the format.
const INTERVAL: u64 = 21;
/// pyarrow's number for a column of nulls.
const NULLS: u64 = 24;

/// Structs of a footer that need a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FooterStruct {
    File,
    SchemaElement,
    Other,
}

/// Returns `footer`, a `FileMetaData`, in a form that the library reads. `None` if it is no Thrift.
pub(super) fn repaired(footer: &[u8]) -> Option<Vec<u8>> {
    let mut copy = FooterCopy { rest: footer, output: Vec::with_capacity(footer.len()) };
    copy.structure(FooterStruct::File, 0)?;
    Some(copy.output)
}

/// A copy in progress.
struct FooterCopy<'a> {
    rest: &'a [u8],
    output: Vec<u8>,
}

impl FooterCopy<'_> {
    fn structure(&mut self, of: FooterStruct, depth: usize) -> Option<()> {
        let (mut id, mut written_id, mut physical, mut is_null) = (0_i16, 0_i16, None, false);
        loop {
            let head = self.byte()?;
            if head == 0 {
                break;
            }
            id = match head >> 4 {
                0 => i16::try_from(zigzag(self.varint()?)).ok()?,
                step => id.checked_add(i16::from(step))?,
            };
            let kind = head & 0x0f;
            match (of, id, kind) {
                (FooterStruct::SchemaElement, PHYSICAL_TYPE, I32) => physical = Some(self.peeked()? >> 1),
                (FooterStruct::SchemaElement, CONVERTED_TYPE, I32) => {
                    let converted = self.peeked()? >> 1;
                    if converted > INTERVAL || (converted == UTF8 && physical == Some(FIXED_LEN_BYTE_ARRAY)) {
                        is_null = converted == NULLS;
                        self.varint()?;
                        continue;
                    }
                }
                (_, _, LIST) if self.rest.first()? >> 4 == 0 => {
                    self.byte()?;
                    if (of, id) == (FooterStruct::File, ROW_GROUPS) {
                        self.field(&mut written_id, id, kind);
                        self.output.push(STRUCT);
                    }
                    continue;
                }
                _ => {}
            }
            self.field(&mut written_id, id, kind);
            let inner = if (of, id) == (FooterStruct::File, SCHEMA) {
                FooterStruct::SchemaElement
            } else {
                FooterStruct::Other
            };
            self.value(kind, inner, depth + 1)?;
        }
        if is_null {
            self.field(&mut written_id, LOGICAL_TYPE, STRUCT);
            self.field(&mut 0, UNKNOWN, STRUCT);
            self.output.extend([0, 0]);
        }
        self.output.push(0);
        Some(())
    }

    /// Writes the head of a field behind the field `last`.
    fn field(&mut self, last: &mut i16, id: i16, kind: u8) {
        match u8::try_from(i32::from(id) - i32::from(*last)) {
            Ok(step @ 1..=15) => self.output.push(step << 4 | kind),
            _ => {
                self.output.push(kind);
                let mut rest = (id << 1 ^ id >> 15) as u16;
                while rest > 0x7f {
                    self.output.push((rest & 0x7f) as u8 | 0x80);
                    rest >>= 7;
                }
                self.output.push(rest as u8);
            }
        }
        *last = id;
    }

    fn value(&mut self, kind: u8, inner: FooterStruct, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            // Booleans of fields have no bytes.
            1 | 2 => Some(()),
            3 => self.copy(1),
            4..=6 => self.integer().map(drop),
            7 => self.copy(8),
            8 => {
                let length = self.integer()?;
                self.copy(usize::try_from(length).ok()?)
            }
            LIST | 10 => {
                let head = *self.rest.first()?;
                self.copy(1)?;
                let count = if head >> 4 == 15 { self.integer()? } else { u64::from(head >> 4) };
                let element = head & 0x0f;
                (0..count).try_for_each(|_| match element {
                    1 | 2 => self.copy(1),
                    element => self.value(element, inner, depth + 1),
                })
            }
            STRUCT => self.structure(inner, depth),
            _ => None,
        }
    }

    /// Copies a variable-length integer, and returns it.
    fn integer(&mut self) -> Option<u64> {
        let before = self.rest;
        let value = self.varint()?;
        self.output.extend_from_slice(&before[..before.len() - self.rest.len()]);
        Some(value)
    }

    fn copy(&mut self, bytes: usize) -> Option<()> {
        let (copied, rest) = self.rest.split_at_checked(bytes)?;
        self.output.extend_from_slice(copied);
        self.rest = rest;
        Some(())
    }

    /// Returns the next variable-length integer without moving.
    fn peeked(&mut self) -> Option<u64> {
        let before = self.rest;
        let value = self.varint();
        self.rest = before;
        value
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for place in 0..MAX_VARINT_BYTES {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * place).ok()?).unwrap_or(0);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
