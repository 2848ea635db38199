//! Writing a file of an index from entries in the order of their hashes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::checksums::ChunkWriter;
use super::directory::{self, DirectoryWriter};
use super::header::Header;
use super::{Entry, HEADER_BYTES, Hashed, Identity, LINE, NO_PERSON};
use crate::person::Version;

/// Bytes of a section aside that go to the disk at once.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes of the file that go to the disk at once: two huge pages of most processors.
const PIECE_BYTES: usize = 4 << 20;

/// The smallest and the greatest version of a file's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The smallest version.
    pub min: i64,
    /// The greatest version.
    pub max: i64,
}

impl VersionRange {
    /// Returns the range of one version.
    pub fn of(version: i64) -> Self {
        Self { min: version, max: version }
    }

    /// Returns the range that also has `version`.
    #[must_use]
    pub fn with(self, version: i64) -> Self {
        Self { min: self.min.min(version), max: self.max.max(version) }
    }

    /// Bytes of the largest encoded version.
    fn bytes(self) -> usize {
        let largest = encode_version(self.max, true, self.min);
        let bits = usize::try_from(u128::BITS - largest.leading_zeros()).unwrap_or(16);
        bits.div_ceil(8).max(1)
    }
}

/// A version above the smallest one, with the deletion in its last bit. Their order is that of
/// [`Version`].
fn encode_version(version: i64, is_deleted: bool, min: i64) -> u128 {
    let above = u128::try_from(i128::from(version) - i128::from(min)).unwrap_or_default();
    above * 2 + u128::from(is_deleted)
}

/// Decodes a version.
pub(super) fn decode_version(encoded: u128, min: i64) -> Option<(i64, bool)> {
    let above = i128::try_from(encoded / 2).ok()?;
    Some((i64::try_from(i128::from(min).checked_add(above)?).ok()?, encoded % 2 == 1))
}

/// The counts of a written file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// Number of entries.
    pub entries: u64,
    /// Entries that are deletions.
    pub deletions: u64,
    /// Bytes of the file.
    pub length: u64,
}

/// A file that is written in whole huge pages. ext4 (Linux 6.18) then keeps it in huge pages of the
/// page cache, with which a lookup misses the processor's table of addresses less often.
struct HugePageWriter {
    file: File,
    piece: Vec<u8>,
}

impl HugePageWriter {
    fn new(file: File) -> Self {
        Self { file, piece: Vec::with_capacity(PIECE_BYTES) }
    }

    /// Writes the rest, and returns the file.
    fn finish(mut self) -> io::Result<File> {
        self.flush()?;
        Ok(self.file)
    }
}

impl Write for HugePageWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let free = PIECE_BYTES.saturating_sub(self.piece.len());
        let taken = bytes.get(..free.min(bytes.len())).unwrap_or_default();
        self.piece.extend_from_slice(taken);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

/// A section that is written beside the file, until the sections before it are complete.
struct SectionAside {
    path: PathBuf,
    file: BufWriter<File>,
}

impl SectionAside {
    fn create(file: &Path, extension: &str) -> io::Result<Self> {
        let path = file.with_extension(extension);
        let create = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Self { path, file: BufWriter::with_capacity(WRITE_BYTES, create) })
    }

    /// Copies the section to its place.
    fn copy_to(&mut self, sections: &mut impl Write) -> io::Result<()> {
        self.file.flush()?;
        let file = self.file.get_mut();
        file.seek(SeekFrom::Start(0))?;
        io::copy(file, sections)?;
        Ok(())
    }
}

impl Drop for SectionAside {
    fn drop(&mut self) {
        // What stays is removed by the next writer of the folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes a file and syncs it. `entries` come in the order of their hashes, each id once; there are
/// at most `most`. Memory is bounded: versions and directory go to files beside the first until the
/// records are complete.
///
/// # Errors
/// Fails if the file exists, can't be written, or if the entries are not in order or more than
/// announced.
pub fn write_file(
    path: &Path,
    identity: Identity,
    range: VersionRange,
    most: u64,
    entries: impl IntoIterator<Item = io::Result<Entry>>,
) -> io::Result<FileSummary> {
    let mut file = HugePageWriter::new(OpenOptions::new().write(true).create_new(true).open(path)?);
    // The header comes last, so that a file without an end has none.
    file.write_all(&[0; HEADER_BYTES])?;
    let mut versions = SectionAside::create(path, "versions")?;
    let mut lines = SectionAside::create(path, "directory")?;
    let mut sections = ChunkWriter::new(file);
    let buckets = directory::buckets(most);
    let mut directory = DirectoryWriter::new(buckets, &mut lines.file);
    let (mut count, mut deletions, mut last) = (0_u64, 0_u64, None);
    let width = range.bytes();
    for entry in entries {
        let Entry { id, version: Version { version, is_deleted, person_id } } = entry?;
        check_order(last, id)?;
        check_version(range, version)?;
        directory.push(id.key, count)?;
        sections.write_all(&record(id, if is_deleted { NO_PERSON } else { person_id }))?;
        let encoded = encode_version(version, is_deleted, range.min).to_le_bytes();
        versions.file.write_all(encoded.get(..width).unwrap_or_default())?;
        count = count.saturating_add(1);
        deletions = deletions.saturating_add(u64::from(is_deleted));
        last = Some(id);
    }
    if count > most {
        return Err(io::Error::other(format!("{count} entries instead of at most {most}")));
    }
    directory.finish(count)?;
    let line = u64::try_from(LINE).unwrap_or(1);
    sections.align(line)?;
    lines.copy_to(&mut sections)?;
    versions.copy_to(&mut sections)?;
    sections.align(line)?;
    let before = sections.written();
    let (mut file, sums) = sections.finish()?;
    let sums: Vec<u8> = sums.into_iter().flat_map(u64::to_le_bytes).collect();
    file.write_all(&sums)?;
    let mut file = file.finish()?;
    let bytes = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let length = bytes(HEADER_BYTES).saturating_add(before).saturating_add(bytes(sums.len()));
    let header = Header {
        identity,
        entries: count,
        buckets,
        min_version: range.min,
        max_version: range.max,
        version_bytes: bytes(width),
        length,
        checksums_sum: xxhash_rust::xxh3::xxh3_64(&sums),
        deletions,
    };
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header.to_bytes())?;
    file.sync_all()?;
    Ok(FileSummary { entries: count, deletions, length })
}

fn record(id: Hashed, person_id: u128) -> [u8; super::RECORD] {
    let mut record = [0; super::RECORD];
    let fields =
        id.key.to_le_bytes().into_iter().chain(id.check.to_le_bytes()).chain(person_id.to_le_bytes());
    for (byte, field) in record.iter_mut().zip(fields) {
        *byte = field;
    }
    record
}

fn check_order(last: Option<Hashed>, id: Hashed) -> io::Result<()> {
    if last.is_some_and(|last| last >= id) {
        return Err(io::Error::other("entries of a person index are out of order"));
    }
    Ok(())
}

fn check_version(range: VersionRange, version: i64) -> io::Result<()> {
    if (range.min..=range.max).contains(&version) {
        return Ok(());
    }
    Err(io::Error::other(format!("version {version} is outside of {} to {}", range.min, range.max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_keep_their_order_in_as_few_bytes_as_they_need() {
        for (min, max, bytes) in
            [(0, 0, 1), (7, 134, 1), (0, 128, 2), (-5, 1 << 46, 6), (i64::MIN, i64::MAX, 9)]
        {
            let range = VersionRange { min, max };
            assert_eq!(range.bytes(), bytes, "{range:?}");
            for version in [min, max] {
                for is_deleted in [false, true] {
                    let encoded = encode_version(version, is_deleted, min);
                    assert!(encoded < 1 << (8 * bytes));
                    assert_eq!(decode_version(encoded, min), Some((version, is_deleted)));
                }
            }
        }
        assert!(encode_version(3, true, 0) > encode_version(3, false, 0));
        assert!(encode_version(4, false, 0) > encode_version(3, true, 0));
    }
}
