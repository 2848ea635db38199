//! Lookup of store objects by key, folder, glob or address.

use std::time::Duration;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::time::{Instant, timeout};
use url::Url;

use super::address::{BucketStore, shown_url};
use super::error::SourceError;
use super::explain::explain;
use super::list_keys;
use super::markers::MarkerNames;
use super::object::{Access, Object};
use super::pattern::{Choice, Pattern, choose_data, skipped_part};
use super::retry::{backoff, pause};
use super::selection::Reached;
use super::skipped::SkipReason;
use super::stores::{Remote, Stores};

/// Tries of a listing, which can't resume after a break. Few, so that a wrong address is reported
/// soon.
const LISTINGS: u32 = 4;
/// No further try of a listing after this time. A store that sends nothing takes a minute for one.
const LISTING_PATIENCE: Duration = Duration::from_secs(60);

/// Maximum number of objects of one listing. Each takes some hundred bytes of memory.
const MAX_OBJECTS: usize = 10_000_000;
/// Longest wait for the next object of a listing, in which a store may send empty pages.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(600);

/// Returns the objects that an address in a bucket names.
pub(super) async fn expand(
    stores: &Stores,
    store: BucketStore,
    bucket: &str,
    key: &str,
    markers: Option<&MarkerNames>,
) -> Result<Reached, SourceError> {
    let argument = format!("{store}://{bucket}/{key}");
    let root = format!("{store}://{bucket}/");
    let place = Bucket { root, remote: stores.bucket(store, bucket)?, markers };
    let reached = if Pattern::is_glob(key) {
        place.key_or_glob(key, &argument).await?
    } else if key.is_empty() || key.ends_with('/') {
        place.list(key, choose_data).await?
    } else {
        place.key_or_folder(key).await?
    };
    if reached.files.is_empty() && reached.markers.is_empty() {
        let hint = "no such key, and no *.parquet below it: check bucket and key, or write a glob";
        return Err(SourceError::nothing(argument, hint, &reached.skipped));
    }
    Ok(reached)
}

/// Returns the file at an address on a web server.
pub(super) async fn web(stores: &Stores, url: &Url) -> Result<Object, SourceError> {
    let (location, remote) = (shown_url(url), stores.web(url)?);
    let path = Path::default();
    let meta = remote.probe(&location, &path).await?;
    Ok(object(location, remote, path, &meta))
}

/// One bucket, with the prefix of its locations.
struct Bucket<'a> {
    root: String,
    remote: Remote,
    markers: Option<&'a MarkerNames>,
}

impl Bucket<'_> {
    /// An existing key wins over the folder of the same name.
    async fn key_or_folder(&self, key: &str) -> Result<Reached, SourceError> {
        match self.key(key).await? {
            Some(found) => Ok(found),
            None => self.list(key, choose_data).await,
        }
    }

    /// An existing key wins over the glob that it looks like, as an existing path does on a disk.
    async fn key_or_glob(&self, key: &str, argument: &str) -> Result<Reached, SourceError> {
        match self.key(key).await {
            Ok(Some(found)) => return Ok(found),
            Err(error @ SourceError::Unreachable { .. }) => return Err(error),
            // A store that refuses to say whether the key exists may list it.
            Ok(None) | Err(_) => {}
        }
        let wrong = |problem| SourceError::Argument { argument: argument.to_owned(), problem };
        let glob = Pattern::new(key).map_err(wrong)?;
        self.list(glob.base(), |key, size| glob.choose(key, size)).await
    }

    /// Returns the object of a key, if it exists.
    async fn key(&self, key: &str) -> Result<Option<Reached>, SourceError> {
        let (location, path) = (format!("{}{key}", self.root), self.path(key)?);
        match self.remote.probe(&location, &path).await {
            Ok(meta) => {
                let mut reached = Reached::default();
                reached.add(object(location, self.remote.clone(), path, &meta));
                Ok(Some(reached))
            }
            Err(SourceError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns all objects below a folder that `choose` reads, by relative key and size.
    async fn list(&self, folder: &str, choose: impl Fn(&str, u64) -> Choice) -> Result<Reached, SourceError> {
        let (mut backoff, begin) = (backoff(), Instant::now());
        for _ in 1..LISTINGS {
            match self.list_once(folder, &choose).await {
                Err(error @ SourceError::Unreachable { .. }) if begin.elapsed() < LISTING_PATIENCE => {
                    pause(&error, &mut backoff).await;
                }
                listed => return listed,
            }
        }
        self.list_once(folder, &choose).await
    }

    async fn list_once(
        &self,
        folder: &str,
        choose: &impl Fn(&str, u64) -> Choice,
    ) -> Result<Reached, SourceError> {
        let location = format!("{}{folder}", self.root);
        // The client adds the slash.
        let folder = folder.strip_suffix('/').unwrap_or(folder);
        let path = self.path(folder)?;
        let mut listed = self.remote.client.list(Some(&path));
        let mut reached = Reached::default();
        let mut objects = 0;
        loop {
            let next = timeout(OBJECT_TIMEOUT, listed.try_next()).await;
            let next = next.map_err(|_| self.without_objects(&location))?;
            let Some(meta) = next.map_err(|error| self.remote.explain(&error, &location))? else { break };
            objects += 1;
            if objects > MAX_OBJECTS {
                let problem = format!("it has more than {MAX_OBJECTS} objects: give narrower folders");
                return Err(SourceError::Argument { argument: location, problem });
            }
            let key = list_keys::key(&meta.location);
            let rest = key.strip_prefix(folder).unwrap_or(&key);
            // Every key of the root is below it, also one that begins with a slash.
            let below = if folder.is_empty() { rest } else { rest.strip_prefix('/').unwrap_or(rest) };
            let location = format!("{}{key}", self.root);
            let path = list_keys::path(&key);
            if let Some(path) = path.clone().filter(|_| self.is_marker(&key)) {
                reached.markers.push(object(location, self.remote.clone(), path, &meta));
                continue;
            }
            match (choose(below, meta.size), path) {
                (Choice::Read, Some(path)) => {
                    reached.add(object(location, self.remote.clone(), path, &meta));
                }
                (Choice::Read, None) => reached.skipped.add(SkipReason::UnreadableKey, &location),
                (Choice::Skip(reason), _) => {
                    let hidden = below.len() - skipped_part(below).len();
                    let part = location.get(..location.len() - hidden).unwrap_or(&location);
                    reached.skipped.add(reason, part);
                }
                (Choice::Ignore, _) => {}
            }
        }
        Ok(reached)
    }

    fn is_marker(&self, key: &str) -> bool {
        self.markers.is_some_and(|markers| markers.match_path(key))
    }

    fn without_objects(&self, location: &str) -> SourceError {
        SourceError::Unreachable {
            location: location.to_owned(),
            endpoint: self.remote.endpoint.clone(),
            problem: format!("the listing had no object within {} s", OBJECT_TIMEOUT.as_secs()),
        }
    }

    fn path(&self, key: &str) -> Result<Path, SourceError> {
        list_keys::path(key).ok_or_else(|| {
            let problem = "a key with a leading slash, dot segments or control characters can't be requested: \
                           rename it";
            SourceError::Argument { argument: format!("{}{key}", self.root), problem: problem.to_owned() }
        })
    }
}

fn object(location: String, remote: Remote, path: Path, meta: &ObjectMeta) -> Object {
    let (size, modified, etag) = (meta.size, modified(meta), meta.e_tag.clone());
    Object { location, size, modified, etag, access: Access::Remote { remote, path } }
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
