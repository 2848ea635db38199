//! An open object for the Parquet library: any range, any blocking thread.

use std::io::{self, BufReader, Read};
use std::ops::Range;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use super::blocks::{Blocks, RemoteRange};
use super::error::SourceError;
use super::fetch::RemoteFile;
use super::local::{LocalFile, LocalRange};
use super::object::{Access, Object};

/// An open object. Many threads can read it at once; cloning shares the file or connection.
///
/// All reads block: use it where blocking is allowed (`spawn_blocking`, a separate thread), while
/// the runtime that opened the object keeps running. A remote object holds up to 32 MiB during
/// reads, whatever its size.
#[derive(Debug, Clone)]
pub struct ObjectReader(Inner);

#[derive(Debug, Clone)]
enum Inner {
    Local(LocalFile),
    Remote(Blocks),
}

/// The bytes of an object from an offset on.
#[derive(Debug)]
pub struct RangeReader(RangeInner);

#[derive(Debug)]
enum RangeInner {
    Local(BufReader<LocalRange>),
    Remote(RemoteRange),
}

impl Object {
    /// Opens the object with its recorded identity.
    ///
    /// # Errors
    /// [`SourceError::Changed`] if the bytes have changed, or any error of opening the object.
    pub async fn open(&self) -> Result<ObjectReader, SourceError> {
        match &self.access {
            Access::Local(path) => {
                let (object, path) = (self.clone(), path.clone());
                // A disk may be asleep, or at the other end of a network.
                let opened = tokio::task::spawn_blocking(move || LocalFile::open(&object, &path)).await;
                let file = opened.map_err(|_| SourceError::Stopped { location: self.location.clone() })??;
                Ok(ObjectReader(Inner::Local(file)))
            }
            // Every request names the expected object, so opening needs no request.
            Access::Remote { remote, path } => {
                let file = RemoteFile::new(self, remote, path);
                Ok(ObjectReader(Inner::Remote(Blocks::new(file, Handle::current()))))
            }
        }
    }
}

impl ObjectReader {
    /// The address without secrets.
    pub(crate) fn location(&self) -> &str {
        match &self.0 {
            Inner::Local(file) => file.location(),
            Inner::Remote(blocks) => blocks.file().location(),
        }
    }

    /// Checks that all bytes read belong to the recorded object. Call it after the last read and
    /// before any use of the bytes.
    ///
    /// # Errors
    /// [`SourceError::Changed`], or an error of reading a local file's metadata.
    pub fn unchanged(&self) -> Result<(), SourceError> {
        match &self.0 {
            Inner::Local(file) => file.unchanged(),
            Inner::Remote(blocks) => blocks.unchanged(),
        }
    }

    /// Returns existing bytes: the range must lie within the object.
    pub(super) fn within(&self, range: Range<u64>) -> Result<Bytes, SourceError> {
        match &self.0 {
            Inner::Local(file) => file.bytes(range),
            Inner::Remote(blocks) => blocks.bytes(range),
        }
    }

    fn beyond(&self, start: u64, length: usize) -> ParquetError {
        let (location, size) = (self.location(), self.len());
        ParquetError::EOF(format!("{location} has {size} bytes, but is asked for {length} bytes at {start}"))
    }
}

impl Length for ObjectReader {
    fn len(&self) -> u64 {
        match &self.0 {
            Inner::Local(file) => file.size(),
            Inner::Remote(blocks) => blocks.file().size(),
        }
    }
}

impl ChunkReader for ObjectReader {
    type T = RangeReader;

    fn get_read(&self, start: u64) -> Result<RangeReader, ParquetError> {
        if start > self.len() {
            return Err(self.beyond(start, 0));
        }
        Ok(RangeReader(match &self.0 {
            Inner::Local(file) => RangeInner::Local(file.read_from(start)),
            Inner::Remote(blocks) => RangeInner::Remote(RemoteRange::new(blocks.clone(), start)),
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // A broken file's own numbers lead here, so no memory is allocated for bytes beyond the
        // end.
        match start.checked_add(length as u64).filter(|end| *end <= self.len()) {
            Some(end) => Ok(self.within(start..end)?),
            None => Err(self.beyond(start, length)),
        }
    }
}

impl Read for RangeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            RangeInner::Local(range) => range.read(into),
            RangeInner::Remote(range) => range.read(into),
        }
    }
}
