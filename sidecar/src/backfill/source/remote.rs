//! Lookup of store objects by key, folder, glob or address.

use futures_util::TryStreamExt;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use super::address::{BucketStore, shown_url};
use super::error::SourceError;
use super::explain::explain;
use super::object::{Access, Object};
use super::pattern::{self, Pattern};
use super::retry::{backoff, pause};
use super::stores::{Remote, Stores};

/// Tries of a listing, which can't resume after a break. Few, so that a wrong address is reported
/// soon.
const LISTINGS: u32 = 4;

/// Returns the objects that an address in a bucket names.
pub(super) async fn expand(
    stores: &Stores,
    store: BucketStore,
    bucket: &str,
    key: &str,
) -> Result<Vec<Object>, SourceError> {
    let argument = format!("{store}://{bucket}/{key}");
    let place = Bucket { root: format!("{store}://{bucket}/"), remote: stores.bucket(store, bucket)? };
    let found = if Pattern::is_glob(key) {
        let wrong = |problem| SourceError::Argument { argument: argument.clone(), problem };
        let glob = Pattern::new(key).map_err(wrong)?;
        match place.list(glob.base(), |key, size| glob.takes(key, size)).await? {
            // The key may only look like a glob.
            none if none.is_empty() => place.key(key).await?,
            found => found,
        }
    } else if key.is_empty() || key.ends_with('/') {
        place.list(key, pattern::is_data).await?
    } else {
        place.key_or_folder(key).await?
    };
    if found.is_empty() {
        let hint = "no such key, and no *.parquet below it: check bucket and key, or write a glob";
        return Err(SourceError::Nothing { argument, hint: hint.into() });
    }
    Ok(found)
}

/// Returns the file at an address on a web server.
pub(super) async fn web(stores: &Stores, url: &Url) -> Result<Object, SourceError> {
    let (location, remote) = (shown_url(url), stores.web(url)?);
    let meta = remote.probe(&location, &Path::default()).await?;
    Ok(object(location, remote, &meta))
}

/// One bucket, with the prefix of its locations.
struct Bucket {
    root: String,
    remote: Remote,
}

impl Bucket {
    /// An existing key wins over the folder of the same name.
    async fn key_or_folder(&self, key: &str) -> Result<Vec<Object>, SourceError> {
        match self.key(key).await? {
            none if none.is_empty() => self.list(key, pattern::is_data).await,
            found => Ok(found),
        }
    }

    /// Returns the object of a key, if it exists.
    async fn key(&self, key: &str) -> Result<Vec<Object>, SourceError> {
        let location = format!("{}{key}", self.root);
        match self.remote.probe(&location, &self.path(key)?).await {
            Ok(meta) => Ok(vec![object(location, self.remote.clone(), &meta)]),
            Err(SourceError::Missing { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Returns all objects below a folder that `takes` accepts by relative key and size.
    async fn list(
        &self,
        folder: &str,
        takes: impl Fn(&str, u64) -> bool,
    ) -> Result<Vec<Object>, SourceError> {
        let mut backoff = backoff();
        for _ in 1..LISTINGS {
            match self.list_once(folder, &takes).await {
                Err(error @ SourceError::Unreachable { .. }) => pause(&error, &mut backoff).await,
                listed => return listed,
            }
        }
        self.list_once(folder, &takes).await
    }

    async fn list_once(
        &self,
        folder: &str,
        takes: &impl Fn(&str, u64) -> bool,
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
        // The library would strip a leading slash, and ask for another key.
        let path = Path::parse(key).ok().filter(|_| !key.starts_with('/'));
        path.ok_or_else(|| {
            let problem =
                "a key with empty segments, dot segments or control characters can't be requested: rename it";
            SourceError::Argument { argument: format!("{}{key}", self.root), problem: problem.to_owned() }
        })
    }
}

fn object(location: String, remote: Remote, meta: &ObjectMeta) -> Object {
    let (size, modified, etag) = (meta.size, modified(meta), meta.e_tag.clone());
    Object { location, size, modified, etag, access: Access::Remote { remote, path: meta.location.clone() } }
}

/// In whole seconds, as in the answers to requests; listings are finer.
pub(super) fn modified(meta: &ObjectMeta) -> Option<Timestamp> {
    // The client reports 0 if the server sent no time.
    let second = Some(meta.last_modified.timestamp()).filter(|second| *second != 0)?;
    Timestamp::from_second(second).ok()
}

impl Remote {
    /// Returns the metadata of an object. Uses GET, because the answer to HEAD has no details of an
    /// error, and a signed address is often signed for GET alone.
    pub(super) async fn probe(&self, location: &str, path: &Path) -> Result<ObjectMeta, SourceError> {
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

    pub(super) fn explain(&self, error: &object_store::Error, location: &str) -> SourceError {
        explain(error, location, self.kind, &self.endpoint, &self.variables)
    }
}
