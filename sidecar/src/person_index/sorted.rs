//! Entries of any number in the order of their hashes, sorted in pieces on disk.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use bytes::{Buf, BufMut};
use posthouse_udf::person::Version;
use posthouse_udf::snapshot::{Entry, Hashed, VersionRange};
use tempfile::TempDir;

/// Start of the name of a folder with pieces. Only a crash leaves one behind.
pub(super) const PIECES: &str = ".sorting-";
/// Bytes of a written entry.
const ENTRY_BYTES: usize = 8 + 8 + 16 + 8 + 1;
/// Bytes of a piece, which is sorted in memory.
const PIECE_BYTES: u64 = 64 << 20;
/// Most pieces. With a billion versions, one has 160 MB.
const MAX_PIECES: u64 = 256;
/// Bytes of a piece that are written at once.
const WRITE_BYTES: usize = 64 << 10;

/// Takes entries in any order, and any number for an id.
pub(super) struct EntrySorter {
    folder: TempDir,
    pieces: Vec<BufWriter<File>>,
    versions: Option<VersionRange>,
    rows: u64,
}

/// The winner of each id, in the order of the hashes.
pub(super) struct SortedEntries {
    _folder: TempDir,
    /// The pieces that were not sorted yet, the last one first.
    pieces: Vec<File>,
    current: std::vec::IntoIter<Entry>,
    last_key: Option<u64>,
    /// All versions of all ids.
    pub(super) versions: VersionRange,
    /// Versions, of which an id can have several.
    pub(super) rows: u64,
    /// Keys of more than one id, in order, of the entries that were returned.
    pub(super) shared_keys: Vec<u64>,
}

impl EntrySorter {
    /// Makes a sorter for about `expected` entries, with its pieces in `folder`.
    pub(super) fn new(folder: &Path, expected: u64) -> io::Result<Self> {
        let bytes = expected.saturating_mul(ENTRY_BYTES as u64);
        let count = bytes.div_ceil(PIECE_BYTES).next_power_of_two().clamp(1, MAX_PIECES);
        let folder = tempfile::Builder::new().prefix(PIECES).tempdir_in(folder)?;
        let create = |number| {
            let path = folder.path().join(format!("{number}"));
            let file = File::options().read(true).write(true).create_new(true).open(path)?;
            Ok(BufWriter::with_capacity(WRITE_BYTES, file))
        };
        let pieces = (0..count).map(create).collect::<io::Result<_>>()?;
        Ok(Self { folder, pieces, versions: None, rows: 0 })
    }

    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        let Entry { id, version: Version { version, is_deleted, person_id } } = entry;
        self.rows += 1;
        let range = VersionRange::of(version);
        self.versions = Some(self.versions.map_or(range, |known| known.with(version)));
        let mut bytes = [0; ENTRY_BYTES];
        let mut free = &mut bytes[..];
        free.put_u64_le(id.key);
        free.put_u64_le(id.check);
        free.put_u128_le(person_id);
        free.put_i64_le(version);
        free.put_u8(u8::from(is_deleted));
        // The number of pieces is a power of two, so the first bits of the key name one.
        let piece = (u128::from(id.key) * self.pieces.len() as u128) >> 64;
        self.pieces[piece as usize].write_all(&bytes)
    }

    pub(super) fn finish(self) -> io::Result<SortedEntries> {
        let pieces = self.pieces.into_iter().rev();
        let pieces = pieces.map(|piece| piece.into_inner().map_err(io::IntoInnerError::into_error));
        Ok(SortedEntries {
            pieces: pieces.collect::<io::Result<_>>()?,
            _folder: self.folder,
            current: Vec::new().into_iter(),
            last_key: None,
            versions: self.versions.unwrap_or(VersionRange::of(0)),
            rows: self.rows,
            shared_keys: Vec::new(),
        })
    }
}

impl Iterator for SortedEntries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        loop {
            if let Some(entry) = self.current.next() {
                let key = entry.id.key;
                if self.last_key == Some(key) && self.shared_keys.last() != Some(&key) {
                    self.shared_keys.push(key);
                }
                self.last_key = Some(key);
                return Some(Ok(entry));
            }
            match winners(self.pieces.pop()?) {
                Ok(winners) => self.current = winners.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Reads a piece, and returns the winner of each id in order.
fn winners(mut piece: File) -> io::Result<Vec<Entry>> {
    use std::io::Seek;

    piece.rewind()?;
    let mut bytes = Vec::new();
    piece.read_to_end(&mut bytes)?;
    let mut entries: Vec<Entry> = bytes.chunks_exact(ENTRY_BYTES).map(read).collect();
    drop(bytes);
    entries.sort_unstable_by(|a, b| a.id.cmp(&b.id).then(b.version.cmp(&a.version)));
    entries.dedup_by_key(|entry| entry.id);
    Ok(entries)
}

fn read(mut bytes: &[u8]) -> Entry {
    let id = Hashed { key: bytes.get_u64_le(), check: bytes.get_u64_le() };
    let (person_id, version, is_deleted) = (bytes.get_u128_le(), bytes.get_i64_le(), bytes.get_u8() != 0);
    Entry { id, version: Version { version, is_deleted, person_id } }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn each_id_has_its_winner_in_order_whatever_the_number_of_pieces() {
        let seed: u64 = rand::random();
        println!("SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for expected in [0, 1_000_000, 10_000_000_000] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut sorter = EntrySorter::new(folder.path(), expected).expect("a sorter");
            let mut wanted: BTreeMap<Hashed, Version> = BTreeMap::new();
            for _ in 0..5_000 {
                let key = random.random_range(0..1_000_u64) << 54;
                let id = Hashed { key, check: random.random_range(0..2) };
                let version = Version {
                    version: random.random_range(-3..3),
                    is_deleted: random.random(),
                    person_id: random.random_range(0..3),
                };
                sorter.push(Entry { id, version }).expect("a write");
                let known = wanted.entry(id).or_insert(version);
                *known = version.max(*known);
            }
            let mut sorted = sorter.finish().expect("entries");
            let found: Vec<_> = sorted.by_ref().map(|entry| entry.expect("an entry")).collect();
            let wanted: Vec<_> = wanted.into_iter().map(|(id, version)| Entry { id, version }).collect();
            assert_eq!(found, wanted);
            let mut shared: Vec<u64> = found
                .windows(2)
                .filter(|two| two[0].id.key == two[1].id.key)
                .map(|two| two[0].id.key)
                .collect();
            shared.dedup();
            assert_eq!((sorted.rows, sorted.shared_keys.clone()), (5_000, shared));
            drop(sorted);
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "pieces are left");
        }
    }
}
