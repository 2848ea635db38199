//! Page headers, read before the bytes of their pages.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::Page;

use super::compact::{Compact, ThriftType, Unread};

/// A page's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// In bytes, as stored in the file.
    pub(super) compressed: u32,
    /// In bytes, after decompression.
    pub(super) uncompressed: u32,
    /// CRC-32 of the bytes in the file.
    pub(super) crc: Option<u32>,
    pub(super) body: Body,
}

impl Header {
    /// Returns the page with this header and the decompressed bytes `buf`; `None` if it has no
    /// data.
    pub(super) fn page(&self, buf: Bytes) -> Option<Page> {
        Some(match self.body {
            Body::Index => return None,
            Body::Dictionary { values, encoding } => {
                Page::DictionaryPage { buf, num_values: values, encoding, is_sorted: false }
            }
            Body::Data { values, encoding, definition, repetition } => Page::DataPage {
                buf,
                num_values: values,
                encoding,
                def_level_encoding: definition,
                rep_level_encoding: repetition,
                statistics: None,
            },
            Body::DataV2(page) => Page::DataPageV2 {
                buf,
                num_values: page.values,
                encoding: page.encoding,
                num_nulls: page.nulls,
                num_rows: page.rows,
                def_levels_byte_len: page.definition_bytes,
                rep_levels_byte_len: page.repetition_bytes,
                is_compressed: page.is_compressed,
                statistics: None,
            },
        })
    }
}

/// Kind of a page, with its counts and encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Of no use to a reader of all rows.
    Index,
    Dictionary {
        values: u32,
        encoding: Encoding,
    },
    Data {
        values: u32,
        encoding: Encoding,
        definition: Encoding,
        repetition: Encoding,
    },
    DataV2(DataV2),
}

/// A data page of the format's second version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataV2 {
    pub(super) values: u32,
    pub(super) nulls: u32,
    pub(super) rows: u32,
    pub(super) encoding: Encoding,
    pub(super) definition_bytes: u32,
    pub(super) repetition_bytes: u32,
    pub(super) is_compressed: bool,
}

/// Reads the header at the beginning of `bytes`. Also returns its length in bytes.
pub(super) fn read(bytes: &[u8]) -> Result<(Header, usize), Unread> {
    let mut input = Compact::new(bytes);
    let (mut page, mut compressed, mut uncompressed, mut crc, mut body) = (None, None, None, None, None);
    input.fields(|input, id, kind| {
        match (id, kind) {
            (1, ThriftType::Integer) => page = Some(input.count()?),
            (2, ThriftType::Integer) => uncompressed = Some(input.count()?),
            (3, ThriftType::Integer) => compressed = Some(input.count()?),
            // Some writers store the checksum as a signed number, others as an unsigned one. Only
            // its 32 bits matter.
            (4, ThriftType::Integer) => crc = u32::try_from(input.integer()? & i64::from(u32::MAX)).ok(),
            (5, ThriftType::Struct) => body = Some((0, data(input)?)),
            (7, ThriftType::Struct) => body = Some((2, dictionary(input)?)),
            (8, ThriftType::Struct) => body = Some((3, data_v2(input)?)),
            (_, kind) => input.skip(kind)?,
        }
        Ok(())
    })?;
    let body = match (page, body) {
        (Some(1), _) => Body::Index,
        (Some(page), Some((said, body))) if page == said => body,
        _ => return Err(Unread::Wrong),
    };
    let (Some(compressed), Some(uncompressed)) = (compressed, uncompressed) else {
        return Err(Unread::Wrong);
    };
    Ok((Header { compressed, uncompressed, crc, body }, bytes.len() - input.left()))
}

fn data(input: &mut Compact<'_>) -> Result<Body, Unread> {
    let (mut values, mut encoding, mut definition, mut repetition) = (None, None, None, None);
    input.fields(|input, id, kind| {
        match (id, kind) {
            (1, ThriftType::Integer) => values = Some(input.count()?),
            (2, ThriftType::Integer) => encoding = Some(self::encoding(input)?),
            (3, ThriftType::Integer) => definition = Some(self::encoding(input)?),
            (4, ThriftType::Integer) => repetition = Some(self::encoding(input)?),
            (_, kind) => input.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(Body::Data {
        values: values.ok_or(Unread::Wrong)?,
        encoding: encoding.ok_or(Unread::Wrong)?,
        definition: definition.ok_or(Unread::Wrong)?,
        repetition: repetition.ok_or(Unread::Wrong)?,
    })
}

fn dictionary(input: &mut Compact<'_>) -> Result<Body, Unread> {
    let (mut values, mut encoding) = (None, None);
    input.fields(|input, id, kind| {
        match (id, kind) {
            (1, ThriftType::Integer) => values = Some(input.count()?),
            (2, ThriftType::Integer) => encoding = Some(self::encoding(input)?),
            (_, kind) => input.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(Body::Dictionary { values: values.ok_or(Unread::Wrong)?, encoding: encoding.ok_or(Unread::Wrong)? })
}

fn data_v2(input: &mut Compact<'_>) -> Result<Body, Unread> {
    let (mut values, mut nulls, mut rows, mut encoding) = (None, None, None, None);
    let (mut definition_bytes, mut repetition_bytes, mut is_compressed) = (None, None, true);
    input.fields(|input, id, kind| {
        match (id, kind) {
            (1, ThriftType::Integer) => values = Some(input.count()?),
            (2, ThriftType::Integer) => nulls = Some(input.count()?),
            (3, ThriftType::Integer) => rows = Some(input.count()?),
            (4, ThriftType::Integer) => encoding = Some(self::encoding(input)?),
            (5, ThriftType::Integer) => definition_bytes = Some(input.count()?),
            (6, ThriftType::Integer) => repetition_bytes = Some(input.count()?),
            (7, ThriftType::True) => is_compressed = true,
            (7, ThriftType::False) => is_compressed = false,
            (_, kind) => input.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(Body::DataV2(DataV2 {
        values: values.ok_or(Unread::Wrong)?,
        nulls: nulls.ok_or(Unread::Wrong)?,
        rows: rows.ok_or(Unread::Wrong)?,
        encoding: encoding.ok_or(Unread::Wrong)?,
        definition_bytes: definition_bytes.ok_or(Unread::Wrong)?,
        repetition_bytes: repetition_bytes.ok_or(Unread::Wrong)?,
        is_compressed,
    }))
}

#[expect(deprecated, reason = "old files use BIT_PACKED for levels")]
fn encoding(input: &mut Compact<'_>) -> Result<Encoding, Unread> {
    Ok(match input.count()? {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        _ => return Err(Unread::Wrong),
    })
}
