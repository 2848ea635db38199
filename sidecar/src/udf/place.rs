//! Files in the folders of a node, written without following links.
//!
//! `user_scripts` often belongs to the user of ClickHouse, and posthouse may run as root. So a link
//! in it could lead a write or a change of mode to any file of the machine. Below a folder of the
//! config each step works on an open folder, and refuses links.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;

/// Suffix of a file that is being written. Only a crash leaves a file with it behind.
pub(super) const TEMPORARY: &str = ".posthouse-tmp";
/// Mode of folders and programs, which the server's user reads and runs.
pub(super) const PROGRAM_MODE: u32 = 0o755;
/// Right of every user of the machine to write.
const OTHERS_WRITE: u32 = 0o002;
/// Minimum time between the old file and its replacement. A node rereads a declaration only if its
/// modification time differs, in whole seconds.
pub(super) const FILE_TIME_STEP: Duration = Duration::from_secs(1);
/// Attempts at a name for a temporary file. One succeeds unless names are guessed.
const NAME_ATTEMPTS: usize = 16;
/// A declaration has some kilobytes.
const MAX_DECLARATION_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileState {
    /// New or different.
    Written,
    /// Identical to the existing file.
    Unchanged,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct OpenFolder {
    file: File,
    path: PathBuf,
    /// The users who may own its files: root, posthouse's own, and the owner of the folder.
    trusted: [u32; 3],
}

impl OpenFolder {
    /// Opens a folder of the config, whose path may have links. Creates it if it is missing.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        create_missing(path).with_context(|| cant_write(path))?;
        Self::open(path)
    }

    /// Like [`OpenFolder::create`], for a folder that must exist.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        // The folder of a bare file name.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let file = File::open(path).with_context(|| cant_write(path))?;
        let metadata = file.metadata().with_context(|| cant_write(path))?;
        if !metadata.is_dir() {
            return Err(io::Error::from(Errno::NOTDIR)).with_context(|| cant_write(path));
        }
        refuse_writable_by_all(path, metadata.mode())?;
        let trusted = [0, rustix::process::geteuid().as_raw(), metadata.uid()];
        Ok(Self { file, path: path.to_owned(), trusted })
    }

    /// Opens the folder `name` inside this one, or creates it. All users may read it, whatever the
    /// process's umask is.
    pub(super) fn create_inside(&self, name: &str) -> anyhow::Result<Self> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.file, name, Mode::RWXU) {
            Err(Errno::EXIST) | Ok(()) => {}
            Err(error) => return Err(io::Error::from(error)).with_context(|| cant_write(&path)),
        }
        let file = self.open_inside(name, OFlags::DIRECTORY)?;
        let metadata = file.metadata().with_context(|| cant_write(&path))?;
        if !self.trusted.contains(&metadata.uid()) {
            bail!(
                "{} belongs to another user (uid {}), who could replace the program: remove the folder",
                path.display(),
                metadata.uid()
            );
        }
        if metadata.mode() & 0o7777 != PROGRAM_MODE {
            file.set_permissions(Permissions::from_mode(PROGRAM_MODE)).with_context(|| cant_write(&path))?;
        }
        Ok(Self { file, path, trusted: self.trusted })
    }

    /// Opens an entry, but no link.
    fn open_inside(&self, name: &str, kind: OFlags) -> anyhow::Result<File> {
        // A FIFO would block otherwise.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | kind;
        let opened: Result<OwnedFd, _> = rustix::fs::openat(&self.file, name, flags, Mode::empty());
        opened.map(File::from).map_err(|error| self.refusal(name, error))
    }

    fn refusal(&self, name: &str, error: Errno) -> anyhow::Error {
        let path = self.path.join(name);
        match rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => is_link(&path),
            _ => anyhow::Error::from(io::Error::from(error)).context(cant_write(&path)),
        }
    }

    /// Writes `content` to `name` atomically: the file is always complete, old or new, even after a
    /// crash.
    pub(super) fn put(&self, name: &str, content: &[u8], mode: u32) -> anyhow::Result<FileState> {
        let path = self.path.join(name);
        let old = self.regular(name)?;
        if let Some(file) = &old
            && self.holds(file, content, mode).with_context(|| cant_write(&path))?
        {
            return Ok(FileState::Unchanged);
        }
        self.replace(name, old.as_ref(), content, mode).with_context(|| cant_write(&path))?;
        Ok(FileState::Written)
    }

    /// Opens the file `name`; `None` if it is missing. Refuses other entries than files.
    fn regular(&self, name: &str) -> anyhow::Result<Option<File>> {
        let path = self.path.join(name);
        match rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(io::Error::from(error)).with_context(|| cant_write(&path)),
            Ok(found) => match FileType::from_raw_mode(found.st_mode) {
                FileType::RegularFile => {}
                FileType::Symlink => return Err(is_link(&path)),
                _ => bail!("{} is no file: move it away", path.display()),
            },
        }
        let file = self.open_inside(name, OFlags::empty())?;
        let metadata = file.metadata().with_context(|| cant_write(&path))?;
        if !metadata.is_file() {
            bail!("{} is no file: move it away", path.display());
        }
        Ok(Some(file))
    }

    /// Whether a file has this content and mode, and no other user can change it.
    fn holds(&self, file: &File, content: &[u8], mode: u32) -> io::Result<bool> {
        let found = file.metadata()?;
        let is_own = self.trusted.contains(&found.uid()) && found.nlink() == 1;
        if !is_own || found.mode() & 0o7777 != mode || found.len() != content.len() as u64 {
            return Ok(false);
        }
        let mut bytes = Vec::with_capacity(content.len());
        file.take(content.len() as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes == content)
    }

    fn replace(&self, name: &str, old: Option<&File>, content: &[u8], mode: u32) -> io::Result<()> {
        let (mut file, temporary) = self.temporary()?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        if let Some(old) = old {
            file.set_modified(SystemTime::now().max(old.metadata()?.modified()? + FILE_TIME_STEP))?;
        }
        file.sync_all()?;
        rustix::fs::renameat(&self.file, temporary.name.as_str(), &self.file, name)?;
        self.file.sync_all()
    }

    /// Creates a new file without the suffix `.xml`, because the server must not read an incomplete
    /// declaration.
    fn temporary(&self) -> io::Result<(File, Temporary<'_>)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..NAME_ATTEMPTS {
            let name = format!(".{:016x}{TEMPORARY}", RandomState::new().build_hasher().finish());
            match rustix::fs::openat(&self.file, name.as_str(), flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok((file.into(), Temporary { folder: &self.file, name })),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }
}

/// A temporary file, removed on every way out. After a rename there is none.
struct Temporary<'f> {
    folder: &'f File,
    name: String,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // A remaining file is removed with its folder.
        let _ = rustix::fs::unlinkat(self.folder, self.name.as_str(), AtFlags::empty());
    }
}

/// Creates the missing folders of a path, readable for all users whatever the umask is.
fn create_missing(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder)?;
        // The folder may not be replaced by a link meanwhile.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let created: OwnedFd = rustix::fs::open(folder, flags, Mode::empty())?;
        File::from(created).set_permissions(Permissions::from_mode(PROGRAM_MODE))?;
    }
    Ok(())
}

fn refuse_writable_by_all(path: &Path, mode: u32) -> anyhow::Result<()> {
    if mode & OTHERS_WRITE != 0 {
        bail!(
            "every user of this machine can write to {0}, and so run programs as ClickHouse's user: chmod o-w {0}",
            path.display()
        );
    }
    Ok(())
}

/// Reads the declaration at `path`; `None` if it is missing. Refuses links.
pub(super) fn read_declaration(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
        bail!("{} is no path of a file: correct functions_config_file in the config", path.display());
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let file = match File::open(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| cant_read(path))?,
    };
    let opened = OpenFolder { file, path: folder.to_owned(), trusted: [0; 3] };
    let Some(file) = opened.regular(name)? else { return Ok(None) };
    let mut content = Vec::new();
    file.take(MAX_DECLARATION_BYTES).read_to_end(&mut content).with_context(|| cant_read(path))?;
    Ok(Some(content))
}

/// Removes temporary files, then the program, which may be missing, and the folder. The folder may
/// not be a link.
pub(super) fn remove_folder(path: &Path, program: &str) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let parent = File::open(parent)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder: OwnedFd = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        if entry.file_name().to_bytes().ends_with(TEMPORARY.as_bytes()) {
            rustix::fs::unlinkat(&folder, entry.file_name(), AtFlags::empty())?;
        }
    }
    match rustix::fs::unlinkat(&folder, program, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
}

fn is_link(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} is a symbolic link, which is not followed: remove it", path.display())
}

/// The message for a file or folder of a node that can't be read.
pub(super) fn cant_read(path: &Path) -> String {
    format!(
        "can't read {}: let this user read there, or correct user_scripts_path and functions_config_file in the config",
        path.display()
    )
}

fn cant_write(path: &Path) -> String {
    format!(
        "can't write {}: let this user write there, or correct user_scripts_path and functions_config_file in the config",
        path.display()
    )
}
