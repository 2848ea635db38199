//! Manifest of an index: the files of the current generation.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::{FORMAT, Identity, SnapshotError};

/// Name of the manifest in the index's folder.
const NAME: &str = "current";
/// Mode of a manifest.
const MODE: u32 = 0o644;
/// First bytes of a manifest.
const MAGIC: [u8; 8] = *b"phcurren";
/// Largest manifest that is read. Files and watermarks are some hundreds; a billion ids have some
/// keys in common.
const MAX_BYTES: u64 = 1 << 24;

/// A generation of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The index that all files belong to.
    pub identity: Identity,
    /// Rises with every publication.
    pub generation: u64,
    /// When the generation was published, in milliseconds since 1970.
    pub published_ms: u64,
    /// Up to when changes are known, in milliseconds since 1970: the time of the newest message, or
    /// of the last look that found no newer one.
    pub fresh_ms: u64,
    /// The next offset of each topic partition.
    pub offsets: Vec<u64>,
    /// The files: the base, and changes from old to new.
    pub files: Vec<FileName>,
    /// Keys of more than one id, in order.
    pub shared_keys: Vec<u64>,
}

/// The number that names a file of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(pub u64);

impl FileName {
    /// Returns the path of the file.
    pub fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("{:016x}.persons", self.0))
    }

    /// Reads the name of a file; `None` if it is no file of an index.
    pub fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".persons").filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().map(Self)
    }
}

impl Manifest {
    /// Returns the path of the manifest of a folder.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(NAME)
    }

    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// Fails if it is missing, damaged or of another format.
    pub fn read(folder: &Path) -> Result<Self, SnapshotError> {
        let path = Self::path(folder);
        let unreadable = |source| SnapshotError::unreadable(&path, source);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(unreadable)?;
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
        Self::decode(&bytes, &path)
    }

    /// Replaces the manifest of a folder at once, and syncs both. Everybody may read it, whatever
    /// the umask, because the server runs functions as a user of its own.
    ///
    /// # Errors
    /// Fails if it can't be written. The old one remains then.
    pub fn publish(&self, folder: &Path) -> io::Result<()> {
        let (path, new) = (Self::path(folder), folder.join("current.new"));
        let mut file = File::create(&new)?;
        file.write_all(&self.encode())?;
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.identity.seed.to_le_bytes());
        for field in [self.identity.source, self.generation, self.published_ms, self.fresh_ms] {
            bytes.extend(field.to_le_bytes());
        }
        let files: Vec<u64> = self.files.iter().map(|file| file.0).collect();
        for list in [&self.offsets, &files, &self.shared_keys] {
            bytes.extend(u64::try_from(list.len()).unwrap_or(u64::MAX).to_le_bytes());
            bytes.extend(list.iter().flat_map(|number| number.to_le_bytes()));
        }
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, SnapshotError> {
        let damaged = || SnapshotError::damaged(path, "manifest");
        let (fields, sum) = bytes.split_last_chunk::<8>().ok_or_else(damaged)?;
        let Some((magic, rest)) = fields.split_first_chunk::<8>() else { return Err(damaged()) };
        let Some((format, mut rest)) = rest.split_first_chunk::<4>() else { return Err(damaged()) };
        let format = if *magic == MAGIC { u32::from_le_bytes(*format) } else { 0 };
        if format != FORMAT {
            return Err(SnapshotError::Format { path: path.to_owned(), found: format });
        }
        if xxh3_64(fields) != u64::from_le_bytes(*sum) {
            return Err(damaged());
        }
        let read = (|| {
            let seed = u128::from_le_bytes(take(&mut rest)?);
            Some(Self {
                identity: Identity { seed, source: number(&mut rest)? },
                generation: number(&mut rest)?,
                published_ms: number(&mut rest)?,
                fresh_ms: number(&mut rest)?,
                offsets: list(&mut rest)?,
                files: list(&mut rest)?.into_iter().map(FileName).collect(),
                shared_keys: list(&mut rest)?,
            })
        })();
        read.filter(|manifest| rest.is_empty() && manifest.is_in_order()).ok_or_else(damaged)
    }

    /// Whether keys are in order, so that they can be found, and each file has one place.
    fn is_in_order(&self) -> bool {
        let mut files = self.files.clone();
        files.sort_unstable();
        files.dedup();
        files.len() == self.files.len() && self.shared_keys.is_sorted()
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (field, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*field)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

/// Reads a list. A count is no reason to allocate: the bytes are there already.
fn list(bytes: &mut &[u8]) -> Option<Vec<u64>> {
    let count = usize::try_from(number(bytes)?).ok()?;
    let (list, rest) = bytes.split_at_checked(count.checked_mul(8)?)?;
    *bytes = rest;
    Some(list.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect())
}
