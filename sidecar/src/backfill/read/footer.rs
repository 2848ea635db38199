//! A file's schema and row groups, checked before use.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::reader::ChunkReader;

use super::error::ReadError;
use super::panics::caught;
use super::repair::repaired;
use super::schema;

/// Larger footers are refused. A footer of events takes about a kilobyte per row group, so a
/// careful writer stays far below the limit. The parsed form of the largest footer still fits into
/// memory.
const MAX_FOOTER_BYTES: u64 = 64 << 20;
/// The footer's length and the magic at a file's end.
const TAIL_BYTES: u64 = 8;
/// The same allowance as in parquet-cpp.
const MAX_DICTIONARY_HEADER: u64 = 100;

/// A file's metadata.
#[derive(Debug, Clone)]
pub(crate) struct Footer {
    pub(super) file: Arc<str>,
    pub(super) metadata: Arc<ParquetMetaData>,
    /// The Parquet schema that columns are decoded by.
    pub(super) decoded: schema::Decoded,
}

/// Reads the footer of `input`; `file` is its name in messages. An embedded Arrow schema is
/// ignored: types come from Parquet's own schema alone.
///
/// # Errors
/// [`ReadError::Footer`].
pub(crate) fn footer<R: ChunkReader>(file: &str, input: &R) -> Result<Footer, ReadError> {
    let wrong = |problem: String| ReadError::Footer { file: file.to_owned(), problem };
    check_length(input).map_err(wrong)?;
    // The parser has many checks, but no guarantee that it never panics.
    let (metadata, decoded) = caught(|| {
        let metadata = parse(input)?;
        check(&metadata, input.len())?;
        let decoded = schema::decoded(metadata.file_metadata().schema_descr())?;
        Ok::<_, String>((metadata, decoded))
    })
    .map_err(wrong)?;
    Ok(Footer { file: file.into(), metadata: Arc::new(metadata), decoded })
}

impl Footer {
    /// Returns the file's name in messages.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Returns the Parquet library's metadata: row groups with rows, bytes and statistics.
    pub(crate) fn metadata(&self) -> &Arc<ParquetMetaData> {
        &self.metadata
    }

    /// Returns the types of the batches. Strings are `BinaryView` with the mark
    /// [`DeclaredType::Text`](super::DeclaredType::Text), because their UTF-8 is not checked yet;
    /// INT96 is a timestamp in microseconds.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.decoded.schema
    }

    /// Returns the types that the file declares, for example `Utf8` for strings.
    pub(crate) fn declared(&self) -> &SchemaRef {
        &self.decoded.declared
    }

    /// Returns the decoding levels of the leaf columns `leaves`.
    pub(super) fn levels(&self, leaves: &[usize]) -> parquet::errors::Result<FieldLevels> {
        let mask = ProjectionMask::leaves(&self.decoded.parquet, leaves.iter().copied());
        parquet_to_arrow_field_levels(&self.decoded.parquet, mask, Some(self.decoded.schema.fields()))
    }
}

/// Parses the footer as it is, or else with the faults of known writers repaired.
fn parse<R: ChunkReader>(input: &R) -> Result<ParquetMetaData, String> {
    ParquetMetaDataReader::new().parse_and_finish(input).or_else(|error| {
        let wrong = || error.to_string();
        let footer = footer_bytes(input).and_then(|bytes| repaired(&bytes)).ok_or_else(wrong)?;
        ParquetMetaDataReader::decode_metadata(&footer).map_err(|_| wrong())
    })
}

/// Returns the bytes of the footer, whose length was checked.
fn footer_bytes<R: ChunkReader>(input: &R) -> Option<Bytes> {
    let end = input.len().checked_sub(TAIL_BYTES)?;
    let length = input.get_bytes(end, 4).ok()?;
    let length = u32::from_le_bytes(length.as_ref().try_into().ok()?);
    input.get_bytes(end.checked_sub(length.into())?, usize::try_from(length).ok()?).ok()
}

fn check_length<R: ChunkReader>(input: &R) -> Result<(), String> {
    let bytes = input.len();
    let Some(start) = bytes.checked_sub(TAIL_BYTES).filter(|start| *start > 0) else {
        return Err(format!("{bytes} bytes are too few for a Parquet file"));
    };
    let tail = input.get_bytes(start, 8).map_err(|error| error.to_string())?;
    let [a, b, c, d, magic @ ..] = tail.as_ref() else {
        return Err("its last bytes can't be read".to_owned());
    };
    let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    if magic == b"PARE" {
        return Err("it is encrypted, which posthouse can't read".to_owned());
    }
    if magic != b"PAR1" {
        return Err("it does not end with PAR1".to_owned());
    }
    if length > bytes - TAIL_BYTES || length > MAX_FOOTER_BYTES {
        return Err(format!("it claims {length} bytes in a file of {bytes} (at most {MAX_FOOTER_BYTES})"));
    }
    Ok(())
}

/// Checks that counts and byte offsets are possible.
fn check(metadata: &ParquetMetaData, file_bytes: u64) -> Result<(), String> {
    let mut rows = 0_i64;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let wrong = |problem: String| format!("row group {index}: {problem}");
        if group.num_rows() < 0 {
            return Err(wrong(format!("{} rows", group.num_rows())));
        }
        rows = rows.checked_add(group.num_rows()).ok_or_else(|| wrong("too many rows".to_owned()))?;
        check_columns(metadata, group, file_bytes).map_err(wrong)?;
    }
    if rows != metadata.file_metadata().num_rows() {
        let said = metadata.file_metadata().num_rows();
        return Err(format!("it declares {said} rows, and its row groups {rows}"));
    }
    Ok(())
}

fn check_columns(
    metadata: &ParquetMetaData,
    group: &RowGroupMetaData,
    file_bytes: u64,
) -> Result<(), String> {
    let leaves = metadata.file_metadata().schema_descr().num_columns();
    if group.num_columns() != leaves {
        return Err(format!("{} columns, and the schema has {leaves}", group.num_columns()));
    }
    for column in group.columns() {
        let path = column.column_path().string();
        let (start, bytes) =
            place(column).ok_or_else(|| format!("column {path} has a negative offset or size"))?;
        if column.file_path().is_some_and(|path| !path.is_empty()) {
            return Err(format!("column {path} is kept in another file, which posthouse can't read"));
        }
        if start.checked_add(bytes).is_none_or(|end| end > file_bytes) {
            return Err(format!("column {path} ends after the end of the file"));
        }
    }
    Ok(())
}

/// Returns the bytes by which a column chunk may be longer than its footer says. parquet-cpp before
/// 1.2.9, and pyarrow with it, did not count the header of the dictionary page (PARQUET-816).
pub(super) fn uncounted_bytes(metadata: &ParquetMetaData) -> u64 {
    let created_by = metadata.file_metadata().created_by().unwrap_or_default();
    let Some(version) = created_by.strip_prefix("parquet-cpp version ") else { return 0 };
    let parts = version.split(|character: char| !character.is_ascii_digit());
    let parts: Vec<u32> = parts.map_while(|part| part.parse().ok()).take(3).collect();
    if parts.as_slice() < [1, 2, 9].as_slice() { MAX_DICTIONARY_HEADER } else { 0 }
}

/// Returns the byte offset and length of a column chunk. Some writers set a dictionary offset
/// without a dictionary.
pub(super) fn place(column: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let data = column.data_page_offset();
    let dictionary = column.dictionary_page_offset().filter(|offset| (1..data).contains(offset));
    let start = dictionary.unwrap_or(data);
    Some((start.try_into().ok()?, column.compressed_size().try_into().ok()?))
}
