//! Folder of a node's index, and its lock.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use posthouse_udf::functions::INDEX_FOLDER;
use posthouse_udf::snapshot::{Entry, FileName, FileSummary, Identity, Manifest, VersionRange, write_file};
use tempfile::TempDir;

use super::sorted::PIECES;
use crate::node::Node;

/// File that the writer of an index locks.
const LOCK: &str = "lock";
/// Start of the name of a folder with the pieces of a comparison.
const COMPARISON: &str = ".comparing-";
/// A folder that is older belongs to a comparison that was killed.
const OLD_COMPARISON: Duration = Duration::from_secs(86_400);
/// Ends of the names of a file's sections while it is written.
const ASIDE: [&str; 2] = [".versions", ".directory"];
/// The server runs the functions as a user of its own, which reads the index.
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// The folder of a node's index; `None` if its disk is elsewhere.
pub(super) fn path(node: &Node) -> Option<PathBuf> {
    node.files.as_ref().map(|files| files.user_scripts_path.join(INDEX_FOLDER))
}

/// Refuses a link and a folder of another user: user scripts often belong to the user of the
/// server, and a planted link would lead changes of modes and removals elsewhere.
fn check_own(path: &Path) -> anyhow::Result<()> {
    let found = fs::symlink_metadata(path).with_context(|| format!("can't read {}", path.display()))?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        bail!("{} is a link or belongs to another user: remove it, the index is built again", path.display());
    }
    Ok(())
}

/// Whether another process writes the index now. It changes no file.
pub(super) fn is_kept(index: &Path) -> anyhow::Result<bool> {
    let lock = index.join(LOCK);
    let opened = File::open(&lock).with_context(|| format!("can't read {}", lock.display()))?;
    Ok(matches!(opened.try_lock(), Err(TryLockError::WouldBlock)))
}

/// A folder for the pieces of a comparison, which other processes leave alone. Its drop removes it.
pub(super) fn for_comparison(index: &Path) -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix(COMPARISON).tempdir_in(index);
    folder.with_context(|| format!("can't write {}: let the user of posthouse write there", index.display()))
}

/// The folder of an index that only this process writes.
pub(super) struct IndexFolder {
    pub(super) path: PathBuf,
    /// Held until the end.
    _lock: File,
}

impl IndexFolder {
    /// Makes the folder, and locks it. `None` if another process writes the index.
    ///
    /// # Errors
    /// Fails if the folder can't be written, is a link or belongs to another user.
    pub(super) fn try_lock(path: PathBuf) -> anyhow::Result<Option<Self>> {
        let cant_write = || format!("can't write {}: let the user of posthouse write there", path.display());
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => created.with_context(cant_write)?,
        }
        check_own(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(FOLDER_MODE)).with_context(cant_write)?;
        let options = File::options().write(true).create(true).truncate(false).open(path.join(LOCK));
        let lock = options.with_context(cant_write)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(cant_write),
        }
    }

    /// As [`IndexFolder::try_lock`], and fails if another process writes the index.
    pub(super) fn lock(path: PathBuf) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let refusal = || {
            format!(
                "another process writes the person index in {shown}: posthouse run keeps it, and builds it \
                 when it has to"
            )
        };
        Self::try_lock(path)?.with_context(refusal)
    }

    /// Removes what a crash has left in the folder.
    pub(super) fn clean(&self) -> anyhow::Result<()> {
        let current = Manifest::read(&self.path).map(|manifest| manifest.files).unwrap_or_default();
        self.remove_others(&current)
    }

    /// The name of a file that does not exist.
    pub(super) fn new_name(&self) -> FileName {
        let names = std::iter::repeat_with(|| FileName(rand::random()));
        names.into_iter().find(|name| !name.path(&self.path).exists()).unwrap_or(FileName(0))
    }

    /// The writer of files, also beside other work.
    pub(super) fn writer(&self) -> FileWriter {
        FileWriter { folder: self.path.clone() }
    }

    /// Publishes a generation.
    pub(super) fn publish(&self, manifest: &Manifest) -> anyhow::Result<()> {
        manifest
            .publish(&self.path)
            .with_context(|| format!("can't publish the person index in {}", self.path.display()))
    }

    /// Removes files of earlier generations. Processes that have mapped them keep them until they
    /// see the current one.
    pub(super) fn remove(&self, names: &[FileName]) -> anyhow::Result<()> {
        for name in names {
            fs::remove_file(name.path(&self.path)).with_context(|| self.cant_clean())?;
        }
        Ok(())
    }

    /// Removes the files of an index that are not in `current`, and the pieces of a crash.
    pub(super) fn remove_others(&self, current: &[FileName]) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.path).with_context(|| self.cant_clean())? {
            let entry = entry.with_context(|| self.cant_clean())?;
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            let is_replaced = FileName::parse(&name).is_some_and(|name| !current.contains(&name))
                || ASIDE.iter().any(|aside| name.strip_suffix(aside).is_some_and(|stem| stem.len() == 16));
            if is_replaced {
                fs::remove_file(&path).with_context(|| self.cant_clean())?;
            } else if name.starts_with(PIECES) || (name.starts_with(COMPARISON) && is_old(&path)) {
                fs::remove_dir_all(&path).with_context(|| self.cant_clean())?;
            }
        }
        Ok(())
    }

    fn cant_clean(&self) -> String {
        format!("can't remove old files in {}", self.path.display())
    }
}

/// A writer of files that become part of an index when they are published.
pub(super) struct FileWriter {
    pub(super) folder: PathBuf,
}

impl FileWriter {
    /// Writes a file that the server may read, or none.
    pub(super) fn write(
        &self,
        name: FileName,
        identity: Identity,
        versions: VersionRange,
        most: u64,
        entries: impl IntoIterator<Item = io::Result<Entry>>,
    ) -> io::Result<FileSummary> {
        let path = name.path(&self.folder);
        let written = write_file(&path, identity, versions, most, entries)
            .and_then(|summary| share(&path).map(|()| summary));
        if written.is_err() {
            // What a full disk has left would keep it full.
            drop(fs::remove_file(&path));
        }
        written
    }
}

fn is_old(path: &Path) -> bool {
    let age = path.metadata().and_then(|file| file.modified()).map(|modified| modified.elapsed());
    age.is_ok_and(|age| age.is_ok_and(|age| age > OLD_COMPARISON))
}

/// Lets the server read a file.
fn share(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(FILE_MODE))
}
