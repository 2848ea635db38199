//! Block cache of a remote object, with one block of read-ahead.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tracing::Instrument;

use super::error::SourceError;
use super::fetch::RemoteFile;

/// Bytes fetched at once: large enough that a request's delay counts little, and small enough that
/// unused bytes at the ends of a column count little.
const BLOCK: u64 = 1 << 20;
/// Blocks in the cache. A Parquet reader goes through its columns side by side, each with a block
/// and the next one; events have eleven columns.
const BLOCKS: usize = 32;
/// From this size on a range is fetched as a whole instead of block by block.
const WHOLE: u64 = 2 * BLOCK;

/// A remote object that blocking threads read. It holds at most [`BLOCKS`] blocks of 1 MiB, plus
/// evicted blocks with a fetch in flight. Ranges that it returns are copies.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    file: Arc<RemoteFile>,
    runtime: Handle,
    // The least recently used first.
    kept: Arc<Mutex<Vec<(u64, FetchedBlock)>>>,
}

/// A block that is fetched once, by its first reader.
type FetchedBlock = Arc<OnceCell<Bytes>>;

impl Blocks {
    /// An object whose requests run on `runtime`.
    pub(super) fn new(file: RemoteFile, runtime: Handle) -> Self {
        Self { file: Arc::new(file), runtime, kept: Arc::default() }
    }

    pub(super) fn file(&self) -> &RemoteFile {
        &self.file
    }

    /// Returns the bytes of a range that lies within the object.
    pub(super) fn bytes(&self, range: Range<u64>) -> Result<Bytes, SourceError> {
        if range.end - range.start >= WHOLE {
            let file = Arc::clone(&self.file);
            return self.wait(async move { file.fetch(range).await });
        }
        let mut bytes = BytesMut::new();
        let mut position = range.start;
        while position < range.end {
            let rest = self.rest_of_block(position)?;
            let wanted = rest.len().min(usize::try_from(range.end - position).unwrap_or(usize::MAX));
            bytes.extend_from_slice(rest.get(..wanted).unwrap_or_default());
            position += wanted as u64;
        }
        Ok(bytes.freeze())
    }

    /// Checks that all bytes read are of the same object. Those of a single block came in one
    /// answer. If it had the object's tag, no further request is needed.
    pub(super) fn unchanged(&self) -> Result<(), SourceError> {
        if self.file.size() <= BLOCK && self.file.strong_tag().is_some() {
            return Ok(());
        }
        let file = Arc::clone(&self.file);
        self.wait(async move { file.unchanged().await })
    }

    /// Returns the bytes from a position within the object to the end of its block; at least one.
    fn rest_of_block(&self, position: u64) -> Result<Bytes, SourceError> {
        let index = position / BLOCK;
        let (block, next) = self.enter(index);
        if let Some(next) = next {
            // An error is dropped here, because the fetch is retried when the block is needed.
            self.runtime.spawn(load(Arc::clone(&self.file), index + 1, next).in_current_span());
        }
        let bytes = match block.get() {
            Some(bytes) => bytes.clone(),
            None => self.wait(load(Arc::clone(&self.file), index, block))?,
        };
        let offset = usize::try_from(position % BLOCK).unwrap_or_default();
        Ok(bytes.slice(offset.min(bytes.len())..))
    }

    /// Returns a block, now the most recently used. Also returns the next block if reads appear
    /// sequential and the cache does not have it yet.
    fn enter(&self, index: u64) -> (FetchedBlock, Option<FetchedBlock>) {
        let mut kept = self.kept();
        let goes_on = index > 0 && kept.iter().any(|(known, _)| *known == index - 1);
        let exists = (index + 1) * BLOCK < self.file.size();
        let ahead = goes_on && exists && !kept.iter().any(|(known, _)| *known == index + 1);
        let next = ahead.then(|| touch(&mut kept, index + 1));
        (touch(&mut kept, index), next)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(u64, FetchedBlock)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a request on the runtime and blocks this thread until it ends.
    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, SourceError>> + Send + 'static,
    ) -> Result<T, SourceError> {
        let (answer, answered) = sync_channel(1);
        let answering = async move {
            // Sending fails only if the waiting thread is gone.
            let _ = answer.send(request.await);
        };
        self.runtime.spawn(answering.in_current_span());
        // A runtime drops its tasks at shutdown.
        answered
            .recv()
            .unwrap_or_else(|_| Err(SourceError::Stopped { location: self.file.location().to_owned() }))
    }
}

/// Moves a block to the end of the cache, adding it if needed.
fn touch(kept: &mut Vec<(u64, FetchedBlock)>, index: u64) -> FetchedBlock {
    let known = kept.iter().position(|(known, _)| *known == index);
    let block = known.map(|at| kept.remove(at).1).unwrap_or_default();
    if kept.len() >= BLOCKS {
        kept.remove(0);
    }
    kept.push((index, Arc::clone(&block)));
    block
}

async fn load(file: Arc<RemoteFile>, index: u64, block: FetchedBlock) -> Result<Bytes, SourceError> {
    let range = index * BLOCK..((index + 1) * BLOCK).min(file.size());
    block.get_or_try_init(|| file.fetch(range)).await.cloned()
}

/// A remote object from an offset on, with an independent cursor.
#[derive(Debug)]
pub(super) struct RemoteRange {
    blocks: Blocks,
    position: u64,
    // The rest of the block that was read last, so that small reads need no lock.
    at_hand: Bytes,
}

impl RemoteRange {
    pub(super) fn new(blocks: Blocks, position: u64) -> Self {
        Self { blocks, position, at_hand: Bytes::new() }
    }
}

impl Read for RemoteRange {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at_hand.is_empty() && self.position < self.blocks.file.size() && !into.is_empty() {
            self.at_hand = self.blocks.rest_of_block(self.position)?;
        }
        let length = self.at_hand.len().min(into.len());
        let piece = self.at_hand.split_to(length);
        if let Some(place) = into.get_mut(..length) {
            place.copy_from_slice(&piece);
        }
        self.position += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
