//! Pages of one column chunk, each checked before decoding.
//!
//! This replaces the Parquet library's page reader, which trusts page headers: it decompresses
//! gzip, brotli and LZ4 to any length, and allocates as many values as a page claims. Delete it
//! when the library bounds both.

mod codec;
mod compact;
mod delta;
mod dictionary;
mod header;
mod levels;

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;

use self::codec::Codec;
use self::compact::Unread;
use self::delta::{ExpandedLengths, LENGTHS_BYTES, expanded_lengths};
use self::dictionary::is_complete;
pub(super) use self::dictionary::width;
use self::header::{Body, Header};
use self::levels::{longest_row, values};
use super::footer::place;
use super::memory_budget::{Admission, Cause, MemoryBudget, PageError, PageMemory};

/// A header without statistics has about thirty bytes. Most headers with statistics fit too.
const HEADER_BYTES: u64 = 256;
/// Statistics may hold two whole values, but no writer puts a megabyte of them into a header.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// The longest row of a page matters only if all of its values take more than this share of the
/// memory.
const LONG_SHARE: u64 = 8;
/// Bytes of a view of a text.
pub(super) const VIEW_BYTES: u64 = 16;
/// Bytes of a value's repetition and definition levels.
pub(super) const LEVEL_BYTES: u64 = 4;

pub(super) struct Pages<R> {
    input: Arc<R>,
    memory_budget: Arc<MemoryBudget>,
    /// Index of the column in the projection.
    column: usize,
    path: String,
    /// Bytes of one value, for types of fixed size.
    width: Option<u64>,
    /// Greater than 0 if a row may have many values.
    max_repetition: i16,
    max_definition: i16,
    codec: Codec,
    /// Byte offset of the next header, or of its page once the header has been read.
    offset: u64,
    end: u64,
    /// Bytes by which the last page may pass the end.
    uncounted: u64,
    next: Option<Header>,
    /// Values in the footer's count and in no page so far.
    values_left: u64,
}

/// Sizes of a column chunk's first pages, in bytes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct FirstPages {
    pub(super) dictionary: u64,
    pub(super) data: u64,
    /// Of the larger of the two in the file, 0 without compression.
    pub(super) compressed: u64,
}

impl<R: ChunkReader> Pages<R> {
    /// A reader of the chunk that `metadata` describes.
    ///
    /// # Errors
    /// Fails if its codec is unknown, or if its byte offset or number of values is impossible.
    pub(super) fn new(
        input: Arc<R>,
        metadata: &ColumnChunkMetaData,
        column: usize,
        memory_budget: Arc<MemoryBudget>,
        uncounted: u64,
    ) -> Result<Self> {
        let wrong = |problem: String| ParquetError::General(problem);
        let (offset, bytes) =
            place(metadata).ok_or_else(|| wrong("it has a negative offset or size".to_owned()))?;
        let values = u64::try_from(metadata.num_values());
        Ok(Self {
            input,
            memory_budget,
            column,
            path: metadata.column_path().string(),
            width: width(metadata.column_type(), metadata.column_descr().type_length()),
            max_repetition: metadata.column_descr().max_rep_level(),
            max_definition: metadata.column_descr().max_def_level(),
            codec: Codec::new(metadata.compression()).map_err(wrong)?,
            offset,
            end: offset.saturating_add(bytes),
            uncounted,
            next: None,
            values_left: values.map_err(|_| wrong("it has a negative number of values".to_owned()))?,
        })
    }

    /// Reads the next header if necessary; `None` behind the last page.
    fn header(&mut self) -> Result<Option<Header>> {
        while self.next.is_none() && self.offset < self.end {
            let (header, length) = self.read_header()?;
            let begin = self.offset + length;
            if begin + u64::from(header.compressed) > self.end + self.uncounted {
                return Err(self.damaged("it ends after the end of its column".to_owned()));
            }
            self.offset = begin;
            if header.body == Body::Index {
                self.offset += u64::from(header.compressed);
                continue;
            }
            self.check(&header)?;
            self.next = Some(header);
        }
        if self.next.is_none() && self.values_left > 0 {
            let left = self.values_left;
            return Err(
                self.damaged(format!("{left} values that the footer declares are missing from its pages"))
            );
        }
        Ok(self.next)
    }

    fn read_header(&mut self) -> Result<(Header, u64)> {
        let mut length = HEADER_BYTES;
        loop {
            let left = (self.end + self.uncounted).min(self.input.len()) - self.offset;
            let bytes = self.bytes(self.offset, length.min(left))?;
            match header::read(&bytes) {
                Ok((header, length)) => return Ok((header, length as u64)),
                Err(Unread::Short) if length < left && length < MAX_HEADER_BYTES => length *= 4,
                Err(_) => return Err(self.damaged("its header can't be read".to_owned())),
            }
        }
    }

    /// Checks that a page with this header may be read into memory, and that its counts are
    /// possible.
    fn check(&mut self, header: &Header) -> Result<()> {
        let compressed = if self.codec.is_identity() { 0 } else { header.compressed };
        let bytes = u64::from(header.uncompressed.max(header.compressed));
        self.admitted(self.memory_budget.admits(bytes, compressed.into()))?;
        let values = match header.body {
            Body::Index | Body::Dictionary { .. } => return Ok(()),
            Body::Data { values, .. } => values,
            Body::DataV2(page) => {
                let levels = page.definition_bytes.saturating_add(page.repetition_bytes);
                if levels > header.uncompressed.min(header.compressed)
                    || page.nulls > page.values
                    || page.rows > page.values
                {
                    return Err(self.damaged("the counts in its header contradict each other".to_owned()));
                }
                page.values
            }
        };
        let Some(left) = self.values_left.checked_sub(values.into()) else {
            return Err(self.damaged("it has more values than the footer declares".to_owned()));
        };
        self.values_left = left;
        Ok(())
    }

    /// Returns the sizes of the dictionary and of the first data page, by their headers.
    pub(super) fn first_pages(&mut self) -> Result<FirstPages> {
        let mut sizes = FirstPages::default();
        while let Some(header) = self.header()? {
            let bytes = u64::from(header.uncompressed.max(header.compressed));
            if !self.codec.is_identity() {
                sizes.compressed = sizes.compressed.max(header.compressed.into());
            }
            if !matches!(header.body, Body::Dictionary { .. }) {
                sizes.data = bytes;
                break;
            }
            sizes.dictionary = bytes;
            self.skip_next_page()?;
        }
        Ok(sizes)
    }

    fn read_page(&mut self, header: &Header) -> Result<Page> {
        let raw = self.bytes(self.offset, header.compressed.into())?;
        if header.crc.is_some_and(|crc| crc != crc32fast::hash(&raw)) {
            return Err(self.damaged("its checksum is wrong".to_owned()));
        }
        let buf = self.decompressed(header, raw)?;
        let page = header.page(buf).ok_or_else(|| self.damaged("it is not a data page".to_owned()))?;
        self.weigh(&page)?;
        self.offset += u64::from(header.compressed);
        Ok(page)
    }

    /// The levels of a page of the second version are never compressed.
    fn decompressed(&mut self, header: &Header, raw: Bytes) -> Result<Bytes> {
        let levels = match header.body {
            Body::DataV2(page) if !page.is_compressed => return Ok(raw),
            Body::DataV2(page) => page.definition_bytes.saturating_add(page.repetition_bytes) as usize,
            _ => 0,
        };
        if self.codec.is_identity() {
            return Ok(raw);
        }
        let length = header.uncompressed as usize;
        let Some((levels, values)) =
            raw.split_at_checked(levels).filter(|(levels, _)| levels.len() <= length)
        else {
            return Err(self.damaged("its levels are longer than the page".to_owned()));
        };
        let mut output = levels.to_vec();
        // Some writers store no bytes at all for a page without values.
        if length > levels.len() {
            let decompressed = self.codec.decompress(values, length - levels.len(), &mut output);
            decompressed.map_err(|problem| self.damaged(problem))?;
        }
        Ok(output.into())
    }

    /// Adds `page` to the memory budget.
    fn weigh(&mut self, page: &Page) -> Result<()> {
        let bytes = page.buffer().len() as u64;
        if let Page::DictionaryPage { buf, num_values, .. } = page {
            if !is_complete(buf, *num_values, self.width) {
                return Err(self.damaged("its dictionary has fewer values than declared".to_owned()));
            }
            self.memory_budget.dictionary(self.column, bytes);
            return Ok(());
        }
        let lengths = u64::from(page.num_values()).saturating_mul(LENGTHS_BYTES);
        if page.encoding() == Encoding::DELTA_BYTE_ARRAY && lengths > self.memory_budget.bound() {
            return Err(self.too_large("the lengths of its values", lengths));
        }
        let memory = self.memory_of(page, bytes);
        self.admitted(self.memory_budget.page(self.column, bytes, memory))
    }

    /// Texts are views of the page or of the dictionary. All other values are copied.
    fn memory_of(&self, page: &Page, bytes: u64) -> PageMemory {
        let count = u64::from(page.num_values());
        let copies = match page.encoding() {
            Encoding::DELTA_BYTE_ARRAY => self.expanded(page, bytes),
            _ => ExpandedLengths::default(),
        };
        let value = self.width.unwrap_or(VIEW_BYTES).saturating_add(copies.longest);
        if self.max_repetition == 0 {
            let row = if page.encoding() == Encoding::PLAIN { 0 } else { value };
            return PageMemory { all: bytes.saturating_add(copies.all), row };
        }
        let value = value + LEVEL_BYTES;
        let is_long = value.saturating_mul(count) > self.memory_budget.bound() / LONG_SHARE;
        let row = if is_long { value.saturating_mul(longest_row(page, self.max_repetition)) } else { 0 };
        let levels = count.saturating_mul(self.width.unwrap_or(VIEW_BYTES) + LEVEL_BYTES);
        PageMemory { all: levels.saturating_add(bytes).saturating_add(copies.all), row }
    }

    /// Lengths that can't be read count as if each value were as long as the page.
    fn expanded(&self, page: &Page, bytes: u64) -> ExpandedLengths {
        let count = page.num_values();
        let lengths = values(page, self.max_repetition, self.max_definition)
            .and_then(|values| expanded_lengths(&values, usize::try_from(count).ok()?));
        lengths.unwrap_or(ExpandedLengths { all: bytes.saturating_mul(count.into()), longest: bytes })
    }

    fn admitted(&self, admission: Admission) -> Result<()> {
        match admission {
            Admission::Fits => Ok(()),
            Admission::Fewer(_) => Err(ParquetError::General("the batch would be too large".to_owned())),
            Admission::TooLarge { what, bytes } => Err(self.too_large(what, bytes)),
        }
    }

    fn bytes(&self, offset: u64, length: u64) -> Result<Bytes> {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        match self.input.get_bytes(offset, wanted) {
            Ok(bytes) if bytes.len() == wanted => Ok(bytes),
            Ok(bytes) => Err(self.damaged(format!("{} of {wanted} bytes could be read", bytes.len()))),
            Err(error) => {
                let text = error.to_string();
                self.memory_budget.report(PageError {
                    column: self.path.clone(),
                    offset,
                    cause: Cause::Input(error),
                });
                Err(ParquetError::General(text))
            }
        }
    }

    fn damaged(&self, problem: String) -> ParquetError {
        self.report(Cause::Damaged(problem.clone()));
        ParquetError::General(problem)
    }

    fn too_large(&self, what: &'static str, bytes: u64) -> ParquetError {
        self.report(Cause::TooLarge { what, bytes, bound: self.memory_budget.bound() });
        ParquetError::General(format!("{bytes} bytes for {what} are too many"))
    }

    fn report(&self, cause: Cause) {
        self.memory_budget.report(PageError { column: self.path.clone(), offset: self.offset, cause });
    }
}

impl<R: ChunkReader> PageReader for Pages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(header) = self.header()? else { return Ok(None) };
        let page = self.read_page(&header)?;
        self.next = None;
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        let Some(header) = self.header()? else { return Ok(None) };
        let (num_rows, num_levels, is_dict) = match header.body {
            Body::Index | Body::Dictionary { .. } => (None, None, true),
            Body::Data { values, .. } => (None, Some(values as usize), false),
            Body::DataV2(page) => (Some(page.rows as usize), Some(page.values as usize), false),
        };
        Ok(Some(PageMetadata { num_rows, num_levels, is_dict }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        if let Some(header) = self.header()? {
            self.offset += u64::from(header.compressed);
            self.next = None;
        }
        Ok(())
    }
}

impl<R: ChunkReader> Iterator for Pages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
