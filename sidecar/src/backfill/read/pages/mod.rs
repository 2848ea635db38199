//! Pages of one column chunk, each checked before decoding.
//!
//! This replaces the Parquet library's page reader, which trusts page headers: it decompresses
//! gzip, brotli and LZ4 to any length, and allocates as many values as a page claims. Delete it
//! when the library bounds both.

mod codec;
mod compact;
mod dictionary;
mod header;

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;

use self::codec::Codec;
use self::compact::Unread;
use self::dictionary::{longest, width};
use self::header::{Body, Header};
use super::footer::place;
use super::memory_budget::{Admission, Cause, MemoryBudget, PageError, PageMemory};

/// A header without statistics has about thirty bytes. Most headers with statistics fit too.
const HEADER_BYTES: u64 = 256;
/// Statistics may hold two whole values, but no writer puts a megabyte of them into a header.
const MAX_HEADER_BYTES: u64 = 1 << 20;

pub(super) struct Pages<R> {
    input: Arc<R>,
    memory_budget: Arc<MemoryBudget>,
    /// Index of the column in the projection.
    column: usize,
    path: String,
    physical: Physical,
    /// Bytes of one value, for types of fixed size.
    width: Option<u64>,
    is_repeated: bool,
    codec: Codec,
    /// Byte offset of the next header, or of its page once the header has been read.
    offset: u64,
    end: u64,
    next: Option<Header>,
    /// Values in the footer's count and in no page so far.
    values_left: u64,
    longest_in_dictionary: u64,
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
            physical: metadata.column_type(),
            width: width(metadata.column_type(), metadata.column_descr().type_length()),
            is_repeated: metadata.column_descr().max_rep_level() > 0,
            codec: Codec::new(metadata.compression()).map_err(wrong)?,
            offset,
            end: offset.saturating_add(bytes),
            next: None,
            values_left: values.map_err(|_| wrong("it has a negative number of values".to_owned()))?,
            longest_in_dictionary: 0,
        })
    }

    /// Reads the next header if necessary; `None` behind the last page.
    fn header(&mut self) -> Result<Option<Header>> {
        while self.next.is_none() && self.offset < self.end {
            let (header, length) = self.read_header()?;
            let begin = self.offset + length;
            if begin + u64::from(header.compressed) > self.end {
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
            let left = self.end - self.offset;
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
        let bytes = u64::from(header.uncompressed.max(header.compressed));
        if let Admission::TooLarge { what, bytes } = self.memory_budget.admits(self.column, bytes) {
            return Err(self.too_large(what, bytes));
        }
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
        let mut output = Vec::with_capacity(length);
        output.extend_from_slice(levels);
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
            let longest = longest(buf, *num_values, self.physical, self.width);
            self.longest_in_dictionary = longest
                .ok_or_else(|| self.damaged("its dictionary has fewer values than declared".to_owned()))?;
            self.memory_budget.dictionary(self.column, bytes);
            return Ok(());
        }
        let weight = match page.encoding() {
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                PageMemory::DictionaryEncoded { longest: self.longest_in_dictionary }
            }
            // A value may repeat the one before it.
            Encoding::DELTA_BYTE_ARRAY => PageMemory::DictionaryEncoded { longest: bytes },
            Encoding::DELTA_BINARY_PACKED | Encoding::RLE => {
                PageMemory::DictionaryEncoded { longest: self.width.unwrap_or(1) }
            }
            _ => PageMemory::Plain,
        };
        let values = self.is_repeated.then(|| page.num_values().into());
        match self.memory_budget.page(self.column, bytes, weight, values) {
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
