//! Local files: identity and positioned reads.

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

pub(super) fn object(path: &Path, metadata: &Metadata) -> Result<Object, SourceError> {
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

pub(super) fn failed(path: &Path, source: io::Error) -> SourceError {
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
