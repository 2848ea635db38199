//! Folder of a node's index, and its lock.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use posthouse_udf::functions::INDEX_FOLDER;
use posthouse_udf::snapshot::{FileName, Manifest};

use super::sorted::PIECES;
use crate::node::Node;

/// File that the writer of an index locks.
const LOCK: &str = "lock";
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

/// The folder of an index that only this process writes.
pub(super) struct IndexFolder {
    pub(super) path: PathBuf,
    /// Held until the end.
    _lock: File,
}

impl IndexFolder {
    /// Makes the folder, and locks it.
    ///
    /// # Errors
    /// Fails if another process writes the index, or if the folder is a link or of another user.
    pub(super) fn lock(path: PathBuf) -> anyhow::Result<Self> {
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
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another process writes the person index in {}: wait for it, or stop it",
                    path.display()
                )
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(cant_write),
        }
        Ok(Self { path, _lock: lock })
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

    /// Lets the server read a file.
    pub(super) fn share(&self, path: &Path) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(FILE_MODE))
    }

    /// Publishes a generation, and removes the files of earlier ones. Processes that have mapped
    /// them keep them until they see the new generation.
    pub(super) fn publish(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let published = manifest.publish(&self.path).and_then(|()| self.share(&Manifest::path(&self.path)));
        published.with_context(|| format!("can't publish the person index in {}", self.path.display()))?;
        self.remove_others(&manifest.files)
    }

    /// Removes the files of an index that are not in `current`, and the pieces of a crash.
    fn remove_others(&self, current: &[FileName]) -> anyhow::Result<()> {
        let cant_clean = || format!("can't remove old files in {}", self.path.display());
        for entry in fs::read_dir(&self.path).with_context(cant_clean)? {
            let entry = entry.with_context(cant_clean)?;
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            let is_old = FileName::parse(&name).is_some_and(|name| !current.contains(&name))
                || name.strip_suffix(".versions").is_some_and(|stem| stem.len() == 16);
            if is_old {
                fs::remove_file(&path).with_context(cant_clean)?;
            } else if name.starts_with(PIECES) {
                fs::remove_dir_all(&path).with_context(cant_clean)?;
            }
        }
        Ok(())
    }
}
