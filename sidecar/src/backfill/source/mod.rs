//! Where Parquet comes from: local files and globs, S3, GCS, HTTP; what an object is known by.

mod address;
mod error;
mod footer;
mod local;
mod object;
mod pattern;
mod reader;

use std::fmt;
use std::path::PathBuf;

use self::address::Place;
pub use self::error::SourceError;
pub use self::footer::footer_hash;
pub use self::object::{Identity, Object};
pub use self::reader::{Range, Reader};

/// The places that history can be read from.
#[derive(Default)]
pub struct Sources {}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and tokens are among the settings.
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Sources {
    /// The Parquet objects that arguments name, sorted by location, each once.
    ///
    /// An argument is a local file, a folder (all Parquet below it), a glob (`*`, `**`, `?`, `[…]`, `{…}`), or an address:
    /// `s3://bucket/…` and `gs://bucket/…` with a key, a folder or a glob, `http(s)://…` with a file. What stands beside
    /// the data (`manifest.json`, `_SUCCESS`, hidden files, empty markers) is left out, unless an argument names it.
    ///
    /// # Errors
    /// When an argument names nothing or can't be asked: see [`SourceError`].
    pub async fn expand(&self, arguments: &[String]) -> Result<Vec<Object>, SourceError> {
        let mut objects = Vec::new();
        for argument in arguments {
            let found = match address::parse(argument)? {
                Place::Local(path) => self.expand_local(argument, path).await?,
                Place::Bucket { .. } | Place::Web(_) => Vec::new(),
            };
            objects.extend(found);
        }
        objects.sort_by(|one, other| one.location.cmp(&other.location));
        objects.dedup_by(|one, other| one.location == other.location);
        Ok(objects)
    }

    async fn expand_local(&self, argument: &str, path: PathBuf) -> Result<Vec<Object>, SourceError> {
        // A tree can be large and its disk slow.
        let found = tokio::task::spawn_blocking(move || local::expand(&path)).await;
        let found = found.map_err(|_| SourceError::Stopped { location: argument.to_owned() })??;
        Ok(found)
    }
}
