//! Walk through a local folder, along links, as a shell matches paths.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::SourceError;
use super::local::{failed, object};
use super::markers::MarkerNames;
use super::pattern::{Choice, Pattern, choose_data, skipped_folder, skipped_part};
use super::selection::{Reached, ReachedFile};
use super::skipped::SkipReason;

/// Folders visited by one glob. Links between folders make more paths than there are folders.
const MAX_VISITS: usize = 1_000_000;

/// Returns all data files below a folder. Enters each folder once, by its real path if it has one
/// below `base`.
pub(super) fn below(base: &Path, markers: Option<&MarkerNames>) -> Result<Reached, SourceError> {
    let mut walk = Walk::new(base, markers)?;
    let (mut seen, mut folders, mut links) = (HashSet::new(), vec![base.to_owned()], Vec::new());
    while let Some(folder) = folders.pop().or_else(|| links.pop()) {
        if !seen.insert(inode(&metadata(&folder)?)) {
            walk.skip(SkipReason::Link, &format!("{}/", walk.relative(&folder)));
            continue;
        }
        for (path, _) in walk.entries(&folder, choose_data)? {
            match skipped_folder(&path) {
                Some(reason) => walk.skip(reason, &format!("{}/", walk.relative(&path))),
                None if path.is_symlink() => links.push(path),
                None => folders.push(path),
            }
        }
    }
    Ok(walk.reached)
}

/// Returns the files that a glob matches. A folder is entered by each of its paths, unless a path
/// leads back to a folder above.
pub(super) fn matches(
    base: &Path,
    glob: &Pattern,
    markers: Option<&MarkerNames>,
) -> Result<Reached, SourceError> {
    let mut walk = Walk::new(base, markers)?;
    let mut folders =
        vec![(base.to_owned(), Arc::new(Ancestors { inode: inode(&metadata(base)?), above: None }))];
    let mut visits = 0;
    while let Some((folder, ancestors)) = folders.pop() {
        visits += 1;
        if visits > MAX_VISITS {
            let problem = "links between its folders make too many paths: name folders one by one".to_owned();
            return Err(SourceError::Argument { argument: base.to_string_lossy().into_owned(), problem });
        }
        for (path, metadata) in walk.entries(&folder, |path, size| glob.choose(path, size))? {
            let inode = inode(&metadata);
            if glob.reaches(&walk.relative(&path)) && !ancestors.contain(inode) {
                folders.push((path, Arc::new(Ancestors { inode, above: Some(ancestors.clone()) })));
            }
        }
    }
    Ok(walk.reached)
}

struct Walk<'a> {
    base: &'a Path,
    /// Without links.
    real_base: PathBuf,
    markers: Option<&'a MarkerNames>,
    reached: Reached,
}

/// A folder and the folders above it.
struct Ancestors {
    inode: (u64, u64),
    above: Option<Arc<Ancestors>>,
}

impl Ancestors {
    fn contain(&self, inode: (u64, u64)) -> bool {
        let mut next = Some(self);
        while let Some(folder) = next {
            if folder.inode == inode {
                return true;
            }
            next = folder.above.as_deref();
        }
        false
    }
}

impl<'a> Walk<'a> {
    fn new(base: &'a Path, markers: Option<&'a MarkerNames>) -> Result<Self, SourceError> {
        let real_base = base.canonicalize().map_err(|error| failed(base, error))?;
        Ok(Self { base, real_base, markers, reached: Reached::default() })
    }

    /// Adds the files of a folder and returns its subfolders, both in the order of names.
    fn entries(
        &mut self,
        folder: &Path,
        choose: impl Fn(&str, u64) -> Choice,
    ) -> Result<Vec<(PathBuf, Metadata)>, SourceError> {
        let entries = std::fs::read_dir(folder).map_err(|error| failed(folder, error))?;
        let paths: Result<Vec<PathBuf>, io::Error> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut paths = paths.map_err(|error| failed(folder, error))?;
        paths.sort_unstable();
        let mut folders = Vec::new();
        for path in paths {
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => folders.push((path, metadata)),
                Ok(metadata) if metadata.is_file() => {
                    let relative = self.relative(&path);
                    if self.markers.is_some_and(|markers| markers.match_path(&relative)) {
                        self.reached.markers.push(object(&path, &metadata)?);
                        continue;
                    }
                    match choose(&relative, metadata.len()) {
                        Choice::Read => self.add(&path, &metadata)?,
                        Choice::Skip(reason) => self.skip(reason, skipped_part(&relative)),
                        Choice::Ignore => {}
                    }
                }
                Ok(_) => self.skip_unless_ignored(&choose, SkipReason::Special, &path),
                // A dangling link, or a file that was just deleted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.skip_unless_ignored(&choose, SkipReason::DanglingLink, &path);
                }
                Err(error) => return Err(failed(&path, error)),
            }
        }
        Ok(folders)
    }

    fn add(&mut self, path: &Path, metadata: &Metadata) -> Result<(), SourceError> {
        let object = object(path, metadata)?;
        let path = self.real_base.join(path.strip_prefix(self.base).unwrap_or(path));
        let path = path.to_string_lossy().into_owned();
        self.reached.files.push(ReachedFile { object, path, inode: Some(inode(metadata)) });
        Ok(())
    }

    fn skip_unless_ignored(
        &mut self,
        choose: &impl Fn(&str, u64) -> Choice,
        reason: SkipReason,
        path: &Path,
    ) {
        let relative = self.relative(path);
        match choose(&relative, 1) {
            Choice::Read => self.skip(reason, &relative),
            Choice::Skip(reason) => self.skip(reason, skipped_part(&relative)),
            Choice::Ignore => {}
        }
    }

    /// Counts a path below the base that is left out. That of a folder ends with a slash.
    fn skip(&mut self, reason: SkipReason, relative: &str) {
        self.reached.skipped.add(reason, &self.base.join(relative).to_string_lossy());
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(self.base).unwrap_or(path).to_string_lossy().into_owned()
    }
}

fn metadata(path: &Path) -> Result<Metadata, SourceError> {
    std::fs::metadata(path).map_err(|error| failed(path, error))
}

fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
