//! Local files: lookup by path, folder or glob, and positioned reads.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::error::SourceError;
use super::object::{Access, Object, changed, identity};
use super::pattern::{self, Pattern};

/// Returns the files that a path names: the file itself, the files below a folder, or the matches
/// of a glob.
pub(super) fn expand(path: &Path) -> Result<Vec<Object>, SourceError> {
    let text = path.to_string_lossy();
    let found = match std::fs::metadata(path) {
        // An existing path wins over a glob of the same spelling.
        Ok(metadata) if metadata.is_dir() => below(path, pattern::is_data)?,
        Ok(metadata) if metadata.is_file() => vec![object(path, &metadata)?],
        // A pipe would block the load, and could not be read twice.
        Ok(_) => {
            let problem = "it is neither a file nor a folder".to_owned();
            return Err(SourceError::Argument { argument: text.into_owned(), problem });
        }
        Err(_) if Pattern::is_glob(&text) => {
            let argument = |problem| SourceError::Argument { argument: text.clone().into_owned(), problem };
            let glob = Pattern::new(&text).map_err(argument)?;
            let base = if glob.base().is_empty() { "." } else { glob.base() };
            below(Path::new(base), |path, size| glob.takes(path, size))?
        }
        Err(error) => return Err(failed(path, error)),
    };
    if found.is_empty() {
        let hint = "folders and globs match visible *.parquet files: name other files one by one";
        return Err(SourceError::Nothing { argument: text.into_owned(), hint: hint.into() });
    }
    Ok(found)
}

/// Returns the files below a folder that `takes` accepts by relative path and size.
fn below(base: &Path, takes: impl Fn(&str, u64) -> bool) -> Result<Vec<Object>, SourceError> {
    let (mut found, mut folders, mut seen) = (Vec::new(), vec![base.to_owned()], HashSet::new());
    while let Some(folder) = folders.pop() {
        let here = std::fs::metadata(&folder).map_err(|error| failed(&folder, error))?;
        // Links may form a cycle.
        if !seen.insert((here.dev(), here.ino())) {
            continue;
        }
        for entry in std::fs::read_dir(&folder).map_err(|error| failed(&folder, error))? {
            let path = entry.map_err(|error| failed(&folder, error))?.path();
            let metadata = match std::fs::metadata(&path) {
                Ok(metadata) => metadata,
                // A dangling link, or a file that was just deleted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&path, error)),
            };
            let relative = path.strip_prefix(base).unwrap_or(&path).to_string_lossy();
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() && takes(&relative, metadata.len()) {
                found.push(object(&path, &metadata)?);
            }
        }
    }
    Ok(found)
}

fn object(path: &Path, metadata: &Metadata) -> Result<Object, SourceError> {
    let path = path.canonicalize().map_err(|error| failed(path, error))?;
    let Some(location) = path.to_str().map(str::to_owned) else {
        let problem = "its name is not UTF-8, so it can't be recorded: rename it".to_owned();
        return Err(SourceError::Argument { argument: path.to_string_lossy().into_owned(), problem });
    };
    let (size, modified) = (metadata.len(), modified(metadata));
    Ok(Object { location, size, modified, etag: None, access: Access::Local(path) })
}

fn modified(metadata: &Metadata) -> Option<Timestamp> {
    Timestamp::new(metadata.mtime(), i32::try_from(metadata.mtime_nsec()).ok()?).ok()
}

fn failed(path: &Path, source: io::Error) -> SourceError {
    SourceError::File { location: path.to_string_lossy().into_owned(), source }
}

/// An open file with the identity that was found before.
#[derive(Debug, Clone)]
pub(super) struct LocalFile {
    file: Arc<File>,
    path: PathBuf,
    location: String,
    size: u64,
    identity: String,
}

impl LocalFile {
    pub(super) fn open(object: &Object, path: &Path) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(|error| failed(path, error))?;
        let opened = Self {
            file: Arc::new(file),
            path: path.to_owned(),
            location: object.location.clone(),
            size: object.size,
            identity: object.identity().to_string(),
        };
        opened.unchanged()?;
        Ok(opened)
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// Fails if the open file, or the file that has its name now, differs from the recorded
    /// identity: it may have been written to, or replaced.
    pub(super) fn unchanged(&self) -> Result<(), SourceError> {
        let open = self.file.metadata().map_err(|error| failed(&self.path, error))?;
        let named = std::fs::metadata(&self.path).map_err(|error| failed(&self.path, error))?;
        for metadata in [open, named] {
            let found = identity(metadata.len(), modified(&metadata), None);
            if found != self.identity {
                return Err(changed(&self.location, &self.identity, found));
            }
        }
        Ok(())
    }

    pub(super) fn read_from(&self, start: u64) -> BufReader<LocalRange> {
        BufReader::new(LocalRange { file: self.clone(), position: start })
    }

    pub(super) fn bytes(&self, range: Range<u64>) -> Result<Bytes, SourceError> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| self.shorter())?;
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, range.start) {
            Ok(()) => Ok(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.shorter()),
            Err(error) => Err(failed(&self.path, error)),
        }
    }

    /// Returns the error for a file that became shorter since it was opened.
    fn shorter(&self) -> SourceError {
        match self.unchanged() {
            Err(error) => error,
            Ok(()) => changed(&self.location, &self.identity, "a shorter file"),
        }
    }
}

/// A local file from an offset on, with an independent cursor.
#[derive(Debug)]
pub(super) struct LocalRange {
    file: LocalFile,
    position: u64,
}

impl Read for LocalRange {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.file.read_at(into, self.position)?;
        if read == 0 && !into.is_empty() && self.position < self.file.size {
            return Err(self.file.shorter().into());
        }
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
