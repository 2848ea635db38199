//! Where Parquet comes from: local files and globs, S3, GCS, HTTP; what an object is known by.

mod variables;
mod address;
mod error;
mod pattern;
mod object;
mod explain;
mod retry;
mod stores;
mod remote;
mod fetch;
mod blocks;
mod local;
mod reader;
mod footer;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use futures_util::{StreamExt, TryStreamExt, stream};

use self::address::{Place, shown_url};
pub use self::error::SourceError;
pub use self::footer::footer_hash;
pub use self::object::{Identity, Object};
pub use self::reader::{RangeReader, Reader};
use self::stores::Stores;
use self::variables::Variables;

/// How many arguments are looked up at once: a shell may make thousands of them out of a pattern.
const AT_ONCE: usize = 16;

/// The places that history can be read from: this machine, and the stores as their settings make them reachable.
#[derive(Default)]
pub struct Sources {
    stores: Stores,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and tokens are among the settings.
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Sources {
    /// With the settings of the environment: `AWS_…` for S3 and `GOOGLE_…` for GCS, as `object_store` names them.
    pub fn from_env() -> Self {
        Self { stores: Stores::new(Variables::from_env()) }
    }

    /// With settings given as names and values, of which those of other programs are ignored.
    pub fn new(settings: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { stores: Stores::new(Variables::new(settings)) }
    }

    /// The Parquet objects that arguments name, sorted by location, each once.
    ///
    /// An argument is a local file, a folder (all Parquet below it), a glob (`*`, `**`, `?`, `[…]`, `{…}`), or an
    /// address: `s3://bucket/…` and `gs://bucket/…` with a key, a folder or a glob, `http(s)://…` with a file. What
    /// stands beside the data (`manifest.json`, `_SUCCESS`, hidden files, empty markers) is left out, unless an
    /// argument names it.
    ///
    /// # Errors
    /// When an argument names nothing or can't be asked: see [`SourceError`].
    pub async fn expand(&self, arguments: &[String]) -> Result<Vec<Object>, SourceError> {
        told_apart(arguments)?;
        // Collected first: the compiler can't see that a stream of borrowed arguments may move between threads.
        let lookups: Vec<_> = arguments.iter().map(|argument| self.expand_one(argument)).collect();
        let found = stream::iter(lookups).buffered(AT_ONCE);
        let mut objects: Vec<Object> = found.try_collect::<Vec<_>>().await?.into_iter().flatten().collect();
        objects.sort_by(|one, other| one.location.cmp(&other.location));
        objects.dedup_by(|one, other| one.location == other.location);
        Ok(objects)
    }

    async fn expand_one(&self, argument: &str) -> Result<Vec<Object>, SourceError> {
        match address::parse(argument)? {
            Place::Local(path) => self.expand_local(argument, path).await,
            Place::Bucket { store, name, key } => remote::expand(&self.stores, store, &name, &key).await,
            Place::Web(url) => Ok(vec![remote::web(&self.stores, &url).await?]),
        }
    }

    async fn expand_local(&self, argument: &str, path: PathBuf) -> Result<Vec<Object>, SourceError> {
        // A tree can be large and its disk slow.
        let found = tokio::task::spawn_blocking(move || local::expand(&path)).await;
        let found = found.map_err(|_| SourceError::Stopped { location: argument.to_owned() })??;
        Ok(found)
    }
}

/// Addresses that differ only in what is not shown would be taken for one file.
fn told_apart(arguments: &[String]) -> Result<(), SourceError> {
    let mut seen = HashMap::new();
    for argument in arguments {
        let Ok(Place::Web(url)) = address::parse(argument) else { continue };
        let shown = shown_url(&url);
        if seen.insert(shown.clone(), url.clone()).is_some_and(|before| before != url) {
            let problem = "another argument differs from it in the query alone, which is not recorded since it \
                           may be secret: load them one after the other";
            return Err(SourceError::Argument { argument: shown, problem: problem.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
