//! Objects of stores: found by key, folder or glob, and fetched range by range, each one checked to be of the same object.

use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::time::sleep;
use url::Url;

use super::address::{Store, shown_url};
use super::error::SourceError;
use super::explain::explain;
use super::object::{Access, Object, changed, identity};
use super::pattern::{self, Pattern};
use super::stores::{Remote, Stores};

/// How often in a row a range is asked for without a byte coming, before the source counts as gone.
const TRIES: u32 = 9;
/// Before the second try; doubled for each further one. All of them make a minute.
const BACKOFF: Duration = Duration::from_millis(250);

/// The objects that an address in a bucket names.
pub(super) async fn expand(
    stores: &Stores,
    store: Store,
    bucket: &str,
    key: &str,
) -> Result<Vec<Object>, SourceError> {
    let argument = format!("{store}://{bucket}/{key}");
    let place = Bucket { root: format!("{store}://{bucket}/"), remote: stores.bucket(store, bucket)? };
    let found = if Pattern::is_glob(key) {
        let wrong = |problem| SourceError::Argument { argument: argument.clone(), problem };
        let glob = Pattern::new(key).map_err(wrong)?;
        place.list(glob.base(), |key, size| glob.takes(key, size)).await?
    } else if key.is_empty() || key.ends_with('/') {
        place.list(key, pattern::is_data).await?
    } else {
        place.key_or_folder(key).await?
    };
    if found.is_empty() {
        let hint =
            "below it there is no key *.parquet that is not hidden: name others one by one, or write a glob";
        return Err(SourceError::Nothing { argument, hint: hint.into() });
    }
    Ok(found)
}

/// The file at an address on a web server.
pub(super) async fn web(stores: &Stores, url: &Url) -> Result<Object, SourceError> {
    let (location, remote) = (shown_url(url), stores.web(url)?);
    let meta = remote.probe(&location, &Path::default()).await?;
    Ok(object(location, remote, &meta))
}

/// One bucket and the beginning of its locations.
struct Bucket {
    root: String,
    remote: Remote,
}

impl Bucket {
    /// A key that exists is meant, else the folder of that name.
    async fn key_or_folder(&self, key: &str) -> Result<Vec<Object>, SourceError> {
        let location = format!("{}{key}", self.root);
        match self.remote.probe(&location, &self.path(key)?).await {
            Ok(meta) => Ok(vec![object(location, self.remote.clone(), &meta)]),
            Err(missing @ SourceError::Missing { .. }) => {
                let found = self.list(key, pattern::is_data).await?;
                if found.is_empty() { Err(missing) } else { Ok(found) }
            }
            Err(error) => Err(error),
        }
    }

    /// All keys below a folder that `takes` wants, asked with the key below it and the size.
    async fn list(
        &self,
        folder: &str,
        takes: impl Fn(&str, u64) -> bool,
    ) -> Result<Vec<Object>, SourceError> {
        let (location, path) = (format!("{}{folder}", self.root), self.path(folder)?);
        let mut listed = self.remote.client.list(Some(&path));
        let mut found = Vec::new();
        while let Some(meta) =
            listed.try_next().await.map_err(|error| self.remote.explain(&error, &location))?
        {
            let key = meta.location.as_ref();
            let below = key.strip_prefix(path.as_ref()).unwrap_or(key).trim_start_matches('/');
            if takes(below, meta.size) {
                found.push(object(format!("{}{key}", self.root), self.remote.clone(), &meta));
            }
        }
        Ok(found)
    }

    fn path(&self, key: &str) -> Result<Path, SourceError> {
        Path::parse(key).map_err(|_| SourceError::Argument {
            argument: format!("{}{key}", self.root),
            problem: "a key with empty parts, dots alone or control characters can't be asked for: rename it"
                .into(),
        })
    }
}

fn object(location: String, remote: Remote, meta: &ObjectMeta) -> Object {
    let (size, modified, etag) = (meta.size, modified(meta), meta.e_tag.clone());
    Object { location, size, modified, etag, access: Access::Remote { remote, path: meta.location.clone() } }
}

/// In whole seconds, as the answers to requests have it; listings are finer.
fn modified(meta: &ObjectMeta) -> Option<Timestamp> {
    // The client's way to say that the server did not.
    let second = Some(meta.last_modified.timestamp()).filter(|second| *second != 0)?;
    Timestamp::from_second(second).ok()
}

impl Remote {
    /// What is known of an object. Asked with GET, since the answer to HEAD says nothing about an error, and a signed
    /// address is often signed for GET alone.
    async fn probe(&self, location: &str, path: &Path) -> Result<ObjectMeta, SourceError> {
        let first = GetOptions::new().with_range(Some(0..1));
        match self.client.get_opts(path, first).await {
            Ok(answer) => Ok(answer.meta),
            Err(error) => match self.explain(&error, location) {
                // An empty object has no first byte.
                SourceError::Changed { .. } => {
                    let head = self.client.head(path).await;
                    head.map_err(|error| self.explain(&error, location))
                }
                error => Err(error),
            },
        }
    }

    fn explain(&self, error: &object_store::Error, location: &str) -> SourceError {
        explain(error, location, self.kind, &self.endpoint, &self.variables)
    }
}

/// An object that is read: every answer must be about the bytes that were found.
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

    /// The bytes of a range. A connection that breaks is made again, and what has arrived is kept.
    pub(super) async fn fetch(&self, range: Range<u64>) -> Result<Bytes, SourceError> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(length);
        let mut tries = 0;
        while bytes.len() < length {
            let before = bytes.len();
            let missing = range.start + before as u64..range.end;
            match self.fetch_once(missing, &mut bytes).await {
                Ok(()) => {}
                Err(error @ SourceError::Unreachable { .. }) => {
                    tries = if bytes.len() > before { 1 } else { tries + 1 };
                    if tries >= TRIES {
                        return Err(error);
                    }
                    tracing::info!("{error}: trying again");
                    sleep(BACKOFF * 2_u32.pow(tries - 1)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bytes.freeze())
    }

    /// One request, whose bytes are added as they come, also those before an error.
    async fn fetch_once(&self, range: Range<u64>, bytes: &mut BytesMut) -> Result<(), SourceError> {
        let explain = |error| self.remote.explain(&error, &self.object.location);
        let mut left = range.end - range.start;
        let options = GetOptions::new().with_range(Some(range)).with_if_match(self.strong_tag());
        let answer: GetResult = self.remote.client.get_opts(&self.path, options).await.map_err(explain)?;
        self.check(&answer.meta)?;
        let mut stream = answer.into_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(explain)?;
            // A server that sends more than was asked for must not fill the memory.
            let wanted = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            bytes.extend_from_slice(piece.get(..wanted).unwrap_or_default());
            left -= wanted as u64;
        }
        if left == 0 {
            return Ok(());
        }
        Err(SourceError::Unreachable {
            location: self.object.location.clone(),
            endpoint: self.remote.endpoint.clone(),
            problem: format!("the answer ended {left} bytes early"),
        })
    }

    /// The tag to compare on the server; a weak one never equals anything there.
    fn strong_tag(&self) -> Option<String> {
        self.object.etag.clone().filter(|tag| !tag.starts_with("W/"))
    }

    /// Not every server heeds the condition of a request, so its answers are compared here too.
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

    /// Whether the store has the same object still.
    pub(super) async fn unchanged(&self) -> Result<(), SourceError> {
        let meta = self.remote.probe(&self.object.location, &self.path).await?;
        self.check(&meta)
    }
}
