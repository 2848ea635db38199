//! Lookups in one file of an index.

use std::fs::File;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::checksums::VerifiedChunks;
use super::directory::{self, RecordRange, bucket_of, place_of};
use super::header::{Header, Sections};
use super::lookup::{Asked, LookupSections};
use super::mapping::Mapping;
use super::writer::decode_version;
use super::{Entry, HEADER_BYTES, Hashed, Identity, LINE, RECORD, SnapshotError, VersionRange};
use crate::person::Version;

/// Records of a bucket that are compared one by one. A larger bucket is the work of somebody who
/// chose the ids, and is searched by halves.
const MAX_SCANNED: u64 = 16;

/// A file of an index, open for lookups.
#[derive(Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    mapping: Mapping,
    header: Header,
    sections: Sections,
    verified: VerifiedChunks,
}

/// A record: the hashes of an id and its person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: Hashed,
    pub(super) person_id: u128,
    /// Number of the record in its file.
    number: u64,
}

impl SnapshotFile {
    /// Opens a file of the index `identity`.
    ///
    /// # Errors
    /// Fails if the file is missing, damaged, of another format or of another index. Damage of a
    /// record is found at its first use.
    pub fn open(path: &Path, identity: &Identity) -> Result<Self, SnapshotError> {
        let unreadable = |source| SnapshotError::unreadable(path, source);
        let file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?.len();
        if found == 0 {
            let expected = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
            return Err(SnapshotError::Length { path: path.to_owned(), expected, found });
        }
        let mapping = Mapping::new(&file).map_err(unreadable)?;
        let header = Header::read(mapping.bytes(), found, path)?;
        if header.identity != *identity {
            return Err(SnapshotError::Foreign { path: path.to_owned() });
        }
        let sections = header.sections().ok_or_else(|| SnapshotError::damaged(path, "header"))?;
        let sums = mapping.bytes().get(HEADER_BYTES.saturating_add(sections.checksums)..).unwrap_or_default();
        if xxh3_64(sums) != header.checksums_sum
            || sums.len() / 8 != sections.checksums.div_ceil(super::CHUNK)
        {
            return Err(SnapshotError::damaged(path, "checksums"));
        }
        let sums = sums.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect();
        Ok(Self {
            path: path.to_owned(),
            verified: VerifiedChunks::new(sums, sections.versions),
            mapping,
            header,
            sections,
        })
    }

    /// Number of entries.
    pub fn entries(&self) -> u64 {
        self.header.entries
    }

    /// Entries that are deletions.
    pub fn deletions(&self) -> u64 {
        self.header.deletions
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.header.length
    }

    /// The versions of the entries.
    pub fn versions(&self) -> VersionRange {
        VersionRange { min: self.header.min_version, max: self.header.max_version }
    }

    /// Whether another id has the key of `id`.
    ///
    /// # Errors
    /// Fails if the part of the file that has the key is damaged.
    pub fn shares_key(&mut self, id: Hashed) -> Result<bool, SnapshotError> {
        let Some(first) = self.find(id.key)? else { return Ok(false) };
        let (next, range) = (first.number.saturating_add(1), self.range(id.key)?);
        Ok(first.id != id || next < range.end && self.record(next)?.id.key == id.key)
    }

    /// Returns the entry of an id.
    ///
    /// # Errors
    /// Fails if the part of the file that has it is damaged.
    pub fn entry(&mut self, id: Hashed) -> Result<Option<Entry>, SnapshotError> {
        match self.find(id)? {
            Some(record) => self.versioned(record).map(Some),
            None => Ok(None),
        }
    }

    /// Returns all entries in the order of their hashes.
    pub fn into_entries(mut self) -> impl Iterator<Item = Result<Entry, SnapshotError>> {
        let count = self.header.entries;
        (0..count).map(move |number| {
            let record = self.record(number)?;
            self.versioned(record)
        })
    }

    /// Checks every byte.
    ///
    /// # Errors
    /// Fails if a part is damaged.
    pub fn verify(&mut self) -> Result<(), SnapshotError> {
        self.verified(0, self.sections.checksums, "content").map(drop)
    }

    /// Checks some bytes after the header. Returns whether there are further ones.
    pub(super) fn verify_part(&mut self, start: u64, bytes: u64) -> Result<bool, SnapshotError> {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        let end = end.min(self.sections.checksums);
        if start < end {
            self.verified(start, end, "content")?;
        }
        Ok(end < self.sections.checksums)
    }

    /// Returns the sections that lookups read, once all of their bytes are verified.
    #[inline(always)]
    pub(super) fn lookup_sections(&self) -> Option<LookupSections<'_>> {
        let sections = self.body().get(..self.sections.versions).filter(|_| self.verified.is_complete())?;
        let (records, lines) = sections.split_at_checked(self.sections.directory)?;
        let (records, lines) = (records.as_chunks().0, lines.as_chunks().0);
        Some(LookupSections { records, lines, buckets: self.header.buckets })
    }

    /// Verifies one of the last chunks, so that a file is verified even if no lookup needs it.
    /// Damage is reported by the lookup that does.
    pub(super) fn verify_next(&mut self) {
        let body = self.mapping.bytes().get(HEADER_BYTES..).unwrap_or_default();
        self.verified.verify_next(body.get(..self.sections.checksums).unwrap_or_default());
    }

    /// Returns the records among which those of a key are.
    pub(super) fn range(&mut self, key: u64) -> Result<RecordRange, SnapshotError> {
        let (line, place) = place_of(bucket_of(key, self.header.buckets));
        let start = self.sections.directory.saturating_add(line.saturating_mul(LINE));
        let bytes = self.verified(start, start.saturating_add(2 * LINE), "directory")?;
        let lines = bytes.as_chunks::<LINE>().0;
        let range = match lines {
            [line, next, ..] => directory::range(line, next, place),
            _ => RecordRange::default(),
        };
        Ok(RecordRange { end: range.end.min(self.header.entries), ..range })
    }

    /// Returns the first record of an id or a key.
    pub(super) fn find<T: Asked>(&mut self, asked: T) -> Result<Option<Record>, SnapshotError> {
        let least = asked.least();
        let range = self.range(least.key)?;
        let range = self.narrow(range, least)?;
        let (bytes, first) = (self.records(range)?, range.start);
        // In this order, a damaged range without records asks for no number after the last one.
        let numbered = bytes.as_chunks::<RECORD>().0.iter().zip(first..);
        let mut records = numbered.map(|(bytes, number)| Record::read(bytes, number));
        Ok(records.find(|record| record.id >= least).filter(|record| asked.is(record.id)))
    }

    /// Returns the few records of a range among which the first one from `id` on is.
    fn narrow(&mut self, range: RecordRange, id: Hashed) -> Result<RecordRange, SnapshotError> {
        let RecordRange { mut start, mut end } = range;
        while end.saturating_sub(start) > MAX_SCANNED {
            let middle = start.midpoint(end);
            if self.record(middle)?.id < id {
                start = middle;
            } else {
                end = middle;
            }
        }
        // The record at the end can be the one.
        Ok(RecordRange { start, end: end.saturating_add(1).min(range.end) })
    }

    fn versioned(&mut self, record: Record) -> Result<Entry, SnapshotError> {
        let width = usize::try_from(self.header.version_bytes).unwrap_or(1);
        let number = usize::try_from(record.number).unwrap_or(usize::MAX);
        let start = self.sections.versions.saturating_add(number.saturating_mul(width));
        let bytes = self.verified(start, start.saturating_add(width), "versions")?;
        let mut encoded = [0; 16];
        for (to, from) in encoded.iter_mut().zip(bytes) {
            *to = *from;
        }
        let decoded = decode_version(u128::from_le_bytes(encoded), self.header.min_version);
        let (version, is_deleted) = decoded.ok_or_else(|| SnapshotError::damaged(&self.path, "versions"))?;
        Ok(Entry { id: record.id, version: Version { version, is_deleted, person_id: record.person_id } })
    }

    fn record(&mut self, number: u64) -> Result<Record, SnapshotError> {
        let bytes = self.records(RecordRange { start: number, end: number.saturating_add(1) })?;
        let record = bytes.first_chunk().map(|bytes| Record::read(bytes, number));
        record.ok_or_else(|| SnapshotError::damaged(&self.path, "records"))
    }

    /// Returns the bytes of records.
    fn records(&mut self, range: RecordRange) -> Result<&[u8], SnapshotError> {
        let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(RECORD);
        if range.start >= range.end {
            return Ok(&[]);
        }
        self.verified(place(range.start), place(range.end), "records")
    }

    /// Returns bytes after the header, once their checksums are right.
    fn verified(&mut self, start: usize, end: usize, part: &'static str) -> Result<&[u8], SnapshotError> {
        let body = self.mapping.bytes().get(HEADER_BYTES..).unwrap_or_default();
        let body = body.get(..self.sections.checksums).unwrap_or_default();
        match body.get(start..end) {
            Some(bytes) if self.verified.are_undamaged(body, start, end) => Ok(bytes),
            _ => Err(SnapshotError::damaged(&self.path, part)),
        }
    }

    #[inline(always)]
    fn body(&self) -> &[u8] {
        self.mapping.bytes().get(HEADER_BYTES..).unwrap_or_default()
    }
}

impl Record {
    fn read(bytes: &[u8; RECORD], number: u64) -> Self {
        let (id, person_id) = read(bytes);
        Self { id, person_id, number }
    }
}

/// Reads the id and the person of a record: key, check, person.
#[inline(always)]
pub(super) fn read(bytes: &[u8; RECORD]) -> (Hashed, u128) {
    let [key, check, person @ ..] = bytes.as_chunks::<8>().0 else { return (Hashed::default(), 0) };
    let id = Hashed { key: u64::from_le_bytes(*key), check: u64::from_le_bytes(*check) };
    let person = person.as_flattened().first_chunk().copied();
    (id, u128::from_le_bytes(person.unwrap_or_default()))
}
