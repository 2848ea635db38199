//! Range requests for a store object, resumed after broken connections.
//!
//! Every answer must have the recorded identity of the object.

use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectMeta, ObjectStore};
use tokio::time::{Instant, timeout_at};

use super::error::SourceError;
use super::object::{Object, changed, identity};
use super::remote::modified;
use super::retry::{backoff, pause};
use super::stores::Remote;

/// Tries in a row without progress before the source counts as gone.
const TRIES: u32 = 9;
/// No further try after this time without progress, whatever the number of tries.
const STALL_TIMEOUT: Duration = Duration::from_secs(180);
/// Bytes of a try that count as progress, unless the range has less.
const PROGRESS: usize = 16 << 10;
/// Time for an answer, in addition to that of [`MIN_PACE`].
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Slowest pace of an answer, in bytes a second. A slow connection is no error, but a server that
/// sends a byte a second would never end.
const MIN_PACE: u64 = 4 << 10;

/// An object that is being read. Every answer must have the recorded identity.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    object: Object,
    remote: Remote,
    path: Path,
}

impl RemoteFile {
    pub(super) fn new(object: &Object, remote: &Remote, path: &Path) -> Self {
        Self { object: object.clone(), remote: remote.clone(), path: path.clone() }
    }

    pub(super) fn location(&self) -> &str {
        &self.object.location
    }

    pub(super) fn size(&self) -> u64 {
        self.object.size
    }

    /// Returns the bytes of a range. Reconnects after a broken connection and keeps the bytes that
    /// have arrived.
    pub(super) async fn fetch(&self, range: Range<u64>) -> Result<Bytes, SourceError> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(length);
        let (mut tries, mut backoff, mut progress) = (0, backoff(), Instant::now());
        while bytes.len() < length {
            let before = bytes.len();
            let missing = range.start + before as u64..range.end;
            match self.fetch_once(missing, &mut bytes).await {
                Ok(()) => {}
                Err(error @ SourceError::Unreachable { .. }) => {
                    tries += 1;
                    if bytes.len() - before >= PROGRESS {
                        (tries, progress) = (1, Instant::now());
                        backoff.reset();
                    }
                    if tries >= TRIES || progress.elapsed() > STALL_TIMEOUT {
                        return Err(error);
                    }
                    pause(&error, &mut backoff).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bytes.freeze())
    }

    /// Sends one request and appends its bytes as they arrive, including the bytes before an error.
    async fn fetch_once(&self, range: Range<u64>, bytes: &mut BytesMut) -> Result<(), SourceError> {
        let explain = |error| self.remote.explain(&error, &self.object.location);
        let mut left = range.end - range.start;
        let options = GetOptions::new().with_range(Some(range)).with_if_match(self.strong_tag());
        let answer: GetResult = self.remote.client.get_opts(&self.path, options).await.map_err(explain)?;
        self.check(&answer.meta)?;
        let (mut stream, begin, wanted) = (answer.into_stream(), Instant::now(), left);
        loop {
            let pace = Duration::from_secs_f64((wanted - left) as f64 / MIN_PACE as f64);
            let next = timeout_at(begin + ANSWER_TIME + pace, stream.next()).await;
            let slow = |_| self.broken(format!("the answer is too slow: {left} bytes are missing"));
            let Some(piece) = next.map_err(slow)? else { break };
            let piece = piece.map_err(explain)?;
            // A server that sends more than the requested range must not fill the memory.
            let wanted = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            bytes.extend_from_slice(piece.get(..wanted).unwrap_or_default());
            left -= wanted as u64;
        }
        if left == 0 {
            return Ok(());
        }
        Err(self.broken(format!("the answer ended {left} bytes early")))
    }

    fn broken(&self, problem: String) -> SourceError {
        SourceError::Unreachable {
            location: self.object.location.clone(),
            endpoint: self.remote.endpoint.clone(),
            problem,
        }
    }

    /// Returns the tag for comparison on the server, which never matches a weak tag.
    pub(super) fn strong_tag(&self) -> Option<String> {
        self.object.etag.clone().filter(|tag| !tag.starts_with("W/"))
    }

    /// Compares the identity of an answer, because some servers ignore the condition of a request.
    fn check(&self, meta: &ObjectMeta) -> Result<(), SourceError> {
        let bare = |tag: &str| tag.trim_start_matches("W/").trim_matches('"').to_owned();
        let same = meta.size == self.object.size
            && match (&self.object.etag, &meta.e_tag) {
                (Some(recorded), Some(found)) => bare(recorded) == bare(found),
                _ => match (self.object.modified, modified(meta)) {
                    (Some(recorded), Some(found)) => recorded == found,
                    _ => true,
                },
            };
        if same {
            return Ok(());
        }
        let found = identity(meta.size, modified(meta), meta.e_tag.as_deref());
        Err(changed(&self.object.location, self.object.identity(), found))
    }

    /// Checks that the store still has the same object.
    pub(super) async fn unchanged(&self) -> Result<(), SourceError> {
        let meta = self.remote.probe(&self.object.location, &self.path).await?;
        self.check(&meta)
    }
}
