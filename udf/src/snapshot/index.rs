//! Lookups in the current generation of an index.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::lookup::Asked;
use super::{FileName, Hashed, Manifest, SnapshotError, SnapshotFile, VersionRange};

/// Lookups that are under way together. Their cache misses overlap.
pub const BATCH: usize = 64;
/// The person of ids that the index does not have: the zero UUID.
pub const UNKNOWN: u128 = super::NO_PERSON;

/// An index, open for lookups.
#[derive(Debug)]
pub struct PersonIndex {
    folder: PathBuf,
    manifest: Manifest,
    stamp: Stamp,
    /// From old to new.
    files: Vec<(FileName, SnapshotFile)>,
}

/// Up to where an index is checked: a file, and bytes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyPlace {
    file: usize,
    start: u64,
}

/// The identity of a manifest's file: inode, modification time and length. Each publication makes a
/// new file, milliseconds after the last one at least.
type Stamp = (u64, i64, i64, u64);

impl PersonIndex {
    /// Opens the current generation.
    ///
    /// # Errors
    /// Fails if the manifest or one of its files is missing, damaged, or of another index.
    pub fn open(folder: &Path) -> Result<Self, SnapshotError> {
        // A file can be removed between the manifest and its opening if a generation follows.
        let mut last = None;
        for _ in 0..OPEN_ATTEMPTS {
            let stamp = stamp(folder)?;
            let manifest = Manifest::read(folder)?;
            match open_files(folder, &manifest, &[]) {
                Ok(files) => return Ok(Self { folder: folder.to_owned(), manifest, stamp, files }),
                Err(error) => last = Some(error),
            }
            if self::stamp(folder)? == stamp {
                break;
            }
        }
        Err(last.unwrap_or_else(|| SnapshotError::Missing { path: Manifest::path(folder) }))
    }

    /// Opens a newer generation, if there is one. Files that both have stay open.
    ///
    /// # Errors
    /// Fails as [`PersonIndex::open`]. Lookups see the last generation then, and the next call
    /// tries the newer one once more.
    pub fn refresh(&mut self) -> Result<(), SnapshotError> {
        let mut last = None;
        for _ in 0..OPEN_ATTEMPTS {
            let stamp = stamp(&self.folder)?;
            if stamp == self.stamp {
                return Ok(());
            }
            let manifest = Manifest::read(&self.folder)?;
            let is_same = manifest.identity == self.manifest.identity;
            let known = if is_same { &self.files[..] } else { &[] };
            match open_files(&self.folder, &manifest, known) {
                Ok(opened) => {
                    self.replace(manifest, stamp, opened);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
            if self::stamp(&self.folder)? == stamp {
                break;
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Takes a generation, of which `opened` are the files that were not open.
    fn replace(&mut self, manifest: Manifest, stamp: Stamp, opened: Vec<(FileName, SnapshotFile)>) {
        let is_same = manifest.identity == self.manifest.identity;
        let known = if is_same { std::mem::take(&mut self.files) } else { Vec::new() };
        let mut files: Vec<_> = known.into_iter().chain(opened).collect();
        let place = |name: &FileName| manifest.files.iter().position(|file| file == name);
        files.retain(|(name, _)| place(name).is_some());
        files.sort_by_key(|(name, _)| place(name));
        (self.manifest, self.stamp, self.files) = (manifest, stamp, files);
    }

    /// The generation that lookups see.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Entries of all files. An id that has changed is in several of them.
    pub fn entries(&self) -> u64 {
        self.files.iter().map(|(_, file)| file.entries()).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, file)| file.length()).sum()
    }

    /// The files from old to new: name, entries and versions.
    pub fn files(&self) -> impl Iterator<Item = (FileName, u64, VersionRange)> {
        self.files.iter().map(|(name, file)| (*name, file.entries(), file.versions()))
    }

    /// Whether another id has the key of `id`.
    ///
    /// # Errors
    /// Fails if a part of a file is damaged.
    pub fn shares_key(&mut self, id: Hashed) -> Result<bool, SnapshotError> {
        for (_, file) in &mut self.files {
            if file.shares_key(id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks every byte of every file.
    ///
    /// # Errors
    /// Fails if a part of a file is damaged.
    pub fn verify(&mut self) -> Result<(), SnapshotError> {
        self.files.iter_mut().try_for_each(|(_, file)| file.verify())
    }

    /// Checks some bytes of the file after `place`, so that all are checked in time. Returns the
    /// next place.
    ///
    /// # Errors
    /// Fails if a part of the file is damaged.
    pub fn verify_part(&mut self, place: VerifyPlace, bytes: u64) -> Result<VerifyPlace, SnapshotError> {
        let VerifyPlace { file, start } = place;
        let Some((_, snapshot)) = self.files.get_mut(file) else { return Ok(VerifyPlace::default()) };
        Ok(match snapshot.verify_part(start, bytes)? {
            true => VerifyPlace { file, start: start.saturating_add(bytes) },
            false => VerifyPlace { file: file.saturating_add(1), start: 0 },
        })
    }

    /// Returns the entry of an id, also that of a deleted one.
    ///
    /// # Errors
    /// Fails if a part of a file is damaged.
    pub fn entry(&mut self, id: Hashed) -> Result<Option<super::Entry>, SnapshotError> {
        for (_, file) in self.files.iter_mut().rev() {
            if let Some(entry) = file.entry(id)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Looks up ids, and sets the person of each. Unknown and deleted ones have [`UNKNOWN`].
    ///
    /// # Errors
    /// Fails if a part of a file is damaged.
    #[inline]
    pub fn find(&mut self, ids: &[Hashed; BATCH], persons: &mut [u128; BATCH]) -> Result<(), SnapshotError> {
        self.find_batch(ids, persons)
    }

    /// Looks up keys, and sets the person of each. Unknown and deleted ones, and those of two ids,
    /// have [`UNKNOWN`].
    ///
    /// # Errors
    /// Fails if a part of a file is damaged.
    #[inline]
    pub fn find_keys(
        &mut self,
        keys: &[u64; BATCH],
        persons: &mut [u128; BATCH],
    ) -> Result<(), SnapshotError> {
        self.find_batch(keys, persons)?;
        if !self.manifest.shared_keys.is_empty() {
            for (person, key) in persons.iter_mut().zip(keys) {
                if self.manifest.shared_keys.binary_search(key).is_ok() {
                    *person = UNKNOWN;
                }
            }
        }
        Ok(())
    }

    /// Looks up a batch in every file. A newer file replaces what older ones have.
    #[inline(always)]
    fn find_batch<T: Asked>(
        &mut self,
        batch: &[T; BATCH],
        persons: &mut [u128; BATCH],
    ) -> Result<(), SnapshotError> {
        persons.fill(UNKNOWN);
        self.files.iter_mut().try_for_each(|(_, file)| file.find_batch(batch, persons))
    }
}

/// How often an index is opened while its generations follow each other.
const OPEN_ATTEMPTS: u32 = 10;

fn stamp(folder: &Path) -> Result<Stamp, SnapshotError> {
    let path = Manifest::path(folder);
    let file = path.metadata().map_err(|source| SnapshotError::unreadable(&path, source))?;
    Ok((file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
}

/// Opens the files of a generation that are not among `known`.
fn open_files(
    folder: &Path,
    manifest: &Manifest,
    known: &[(FileName, SnapshotFile)],
) -> Result<Vec<(FileName, SnapshotFile)>, SnapshotError> {
    let is_new = |name: &&FileName| known.iter().all(|(known, _)| known != *name);
    let open = |name: &FileName| SnapshotFile::open(&name.path(folder), &manifest.identity);
    manifest.files.iter().filter(is_new).map(|name| open(name).map(|file| (*name, file))).collect()
}
