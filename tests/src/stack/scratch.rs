//! Scratch folders: one per stack, removed with it.
//!
//! The next start removes the folders of crashed stacks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The start of every scratch folder's name.
const PREFIX: &str = "posthouse-stack-";
/// A file in each scratch folder, locked as long as the stack lives. Holds the process id.
const ALIVE: &str = "alive.lock";

/// The folder of one living stack.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    // Children do not inherit it (close-on-exec), so the lock ends with this process alone.
    _alive: File,
    on_drop: OnDrop,
}

#[derive(Debug)]
enum OnDrop {
    Remove,
    Keep,
}

impl Scratch {
    /// Removes the folders of crashed stacks, and creates a new one.
    pub(crate) fn create() -> anyhow::Result<Self> {
        Self::create_in(&root())
    }

    fn create_in(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        // One at a time. Otherwise a folder that is created but not yet locked would look like a
        // leftover.
        let _turn = turn(root)?;
        for found in list_in(root).into_iter().filter(|found| !found.alive) {
            remove(&found.path).with_context(|| {
                format!("cannot remove {}, left by a crashed stack", found.path.display())
            })?;
        }
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(root)
            .with_context(|| format!("cannot make a scratch folder in {}", root.display()))?
            .keep();
        let mut alive = File::create(path.join(ALIVE))?;
        alive.lock()?;
        write!(alive, "{}", std::process::id())?;
        Ok(Self { path, _alive: alive, on_drop: OnDrop::Remove })
    }

    /// Leaves the folder for inspection after the stack's end. The next start removes it.
    pub(crate) fn keep(&mut self) {
        self.on_drop = OnDrop::Keep;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if matches!(self.on_drop, OnDrop::Keep) || std::thread::panicking() {
            eprintln!("stack: {} is kept for inspection until the next start", self.path.display());
        } else if let Err(error) = remove(&self.path) {
            eprintln!("stack: cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Removes a scratch folder, its marker last, so that no other process takes the rest for a
/// leftover meanwhile.
fn remove(scratch: &Path) -> io::Result<()> {
    for entry in fs::read_dir(scratch)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != ALIVE {
            fs::remove_file(entry.path())?;
        }
    }
    match fs::remove_dir_all(scratch) {
        // Two starts may remove the same leftover.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// A scratch folder as another process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// Whether its stack lives. Then the stack holds the marker's lock, so the process id in it is
    /// not reused.
    pub alive: bool,
    /// The process that created it.
    pub pid: Option<i32>,
}

/// All scratch folders of this user, living or left over.
pub fn list() -> Vec<Found> {
    list_in(&root())
}

fn list_in(root: &Path) -> Vec<Found> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut found = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            entry.file_name().to_string_lossy().starts_with(PREFIX)
                && entry.file_type().is_ok_and(|t| t.is_dir())
        })
        .filter_map(|entry| inspect(entry.path()))
        .collect::<Vec<_>>();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Returns None if the folder can't be read, because it is another user's.
fn inspect(path: PathBuf) -> Option<Found> {
    fs::read_dir(&path).ok()?;
    let marker = path.join(ALIVE);
    let pid = fs::read_to_string(&marker).ok().and_then(|text| text.trim().parse().ok());
    let alive = File::open(&marker).is_ok_and(|file| file.try_lock_shared().is_err());
    Some(Found { path, alive, pid })
}

/// `$POSTHOUSE_SCRATCH`, else the system's folder for temporary files.
fn root() -> PathBuf {
    std::env::var_os("POSTHOUSE_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from)
}

fn turn(root: &Path) -> anyhow::Result<File> {
    let path = root.join(format!("{PREFIX}{}.lock", rustix::process::getuid().as_raw()));
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_removes_what_is_dead_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let living = Scratch::create_in(root.path()).unwrap();
        let dead = root.path().join("posthouse-stack-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(ALIVE), "1").unwrap();
        let foreign = root.path().join("something-else");
        fs::create_dir(&foreign).unwrap();

        let fresh = Scratch::create_in(root.path()).unwrap();
        assert!(living.path().exists() && fresh.path().exists() && foreign.exists());
        assert!(!dead.exists());
        let found = list_in(root.path());
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|found| found.alive && found.pid == Some(std::process::id().cast_signed())));
        drop(living);
        assert_eq!(list_in(root.path()).len(), 1);
    }
}
