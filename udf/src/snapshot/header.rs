//! Header of a file: its identity, counts, and the places of its sections.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::{FORMAT, HEADER_BYTES, Identity, LINE, RECORD, SnapshotError};

/// First bytes of every file.
const MAGIC: [u8; 8] = *b"phperson";
/// Bytes of the header that have a meaning, with the checksum in the last 8. The others are zero.
const FIELDS: usize = 8 + 4 + 4 + 16 + 9 * 8 + 8;

/// The fields of a header. Sections follow it in this order: records, directory, versions,
/// checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: Identity,
    pub(super) entries: u64,
    /// Buckets of the key space in the directory.
    pub(super) buckets: u64,
    /// Smallest version.
    pub(super) min_version: i64,
    /// Greatest version.
    pub(super) max_version: i64,
    /// Bytes of a version.
    pub(super) version_bytes: u64,
    /// Bytes of the file.
    pub(super) length: u64,
    /// Checksum of the section of checksums.
    pub(super) checksums_sum: u64,
    /// Entries that are deletions.
    pub(super) deletions: u64,
}

/// Byte ranges of the sections, after the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sections {
    pub(super) directory: usize,
    pub(super) versions: usize,
    pub(super) checksums: usize,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend(MAGIC);
        fields.extend(FORMAT.to_le_bytes());
        fields.extend([0; 4]);
        fields.extend(self.identity.seed.to_le_bytes());
        for field in [
            self.identity.source,
            self.entries,
            self.buckets,
            self.min_version.cast_unsigned(),
            self.max_version.cast_unsigned(),
            self.version_bytes,
            self.length,
            self.checksums_sum,
            self.deletions,
        ] {
            fields.extend(field.to_le_bytes());
        }
        fields.extend(xxh3_64(&fields).to_le_bytes());
        let mut bytes = [0; HEADER_BYTES];
        for (byte, field) in bytes.iter_mut().zip(fields) {
            *byte = field;
        }
        bytes
    }

    /// Reads a header. `found` is the length of the file.
    pub(super) fn read(bytes: &[u8], found: u64, path: &Path) -> Result<Self, SnapshotError> {
        let header = bytes.get(..HEADER_BYTES);
        let magic = bytes.get(..MAGIC.len());
        if magic.is_some_and(|magic| magic != MAGIC) {
            return Err(SnapshotError::Format { path: path.to_owned(), found: 0 });
        }
        let length = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
        let too_short = || SnapshotError::Length { path: path.to_owned(), expected: length, found };
        let mut fields = Fields(header.ok_or_else(too_short)?);
        let damaged = || SnapshotError::damaged(path, "header");
        let (_, format) = (fields.bytes::<8>(), fields.bytes().map(u32::from_le_bytes));
        let format = format.ok_or_else(damaged)?;
        if format != FORMAT {
            return Err(SnapshotError::Format { path: path.to_owned(), found: format });
        }
        let sum = header.and_then(|header| header.get(FIELDS - 8..FIELDS)?.first_chunk().copied());
        let summed = header.and_then(|header| header.get(..FIELDS - 8)).map(xxh3_64);
        let rest = header.and_then(|header| header.get(FIELDS..)).unwrap_or_default();
        if summed.is_none() || summed != sum.map(u64::from_le_bytes) || rest.iter().any(|byte| *byte != 0) {
            return Err(damaged());
        }
        let read = (|| {
            fields.bytes::<4>()?;
            let seed = fields.bytes().map(u128::from_le_bytes)?;
            Some(Self {
                identity: Identity { seed, source: fields.u64()? },
                entries: fields.u64()?,
                buckets: fields.u64()?,
                min_version: fields.u64()?.cast_signed(),
                max_version: fields.u64()?.cast_signed(),
                version_bytes: fields.u64()?,
                length: fields.u64()?,
                checksums_sum: fields.u64()?,
                deletions: fields.u64()?,
            })
        })();
        let header = read.ok_or_else(damaged)?;
        if header.length != found {
            return Err(SnapshotError::Length { path: path.to_owned(), expected: header.length, found });
        }
        Ok(header)
    }

    /// Returns where the sections begin, counted from the end of the header; `None` if they don't
    /// fit into the file.
    pub(super) fn sections(&self) -> Option<Sections> {
        let entries = usize::try_from(self.entries).ok()?;
        let buckets = usize::try_from(self.buckets).ok().filter(|buckets| *buckets > 0)?;
        let version_bytes =
            usize::try_from(self.version_bytes).ok().filter(|bytes| (1..=9).contains(bytes))?;
        let length = usize::try_from(self.length).ok()?;
        let line_up = |position: usize| position.checked_next_multiple_of(LINE);
        let directory = line_up(entries.checked_mul(RECORD)?)?;
        let versions = directory.checked_add(super::directory::bytes(buckets)?)?;
        let checksums = line_up(versions.checked_add(entries.checked_mul(version_bytes)?)?)?;
        (checksums <= length.checked_sub(HEADER_BYTES)?).then_some(Sections {
            directory,
            versions,
            checksums,
        })
    }
}

/// The rest of a header's fields.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }
}
