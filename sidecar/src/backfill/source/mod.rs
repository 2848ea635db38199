//! Parquet sources: local files, globs, S3, GCS and HTTP; object identity.

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
mod bounded_answers;
mod list_keys;
mod local;
mod lookup;
mod markers;
mod selection;
mod skipped;
mod walk;
mod reader;
mod footer;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use futures_util::{StreamExt, TryStreamExt, stream};

use self::address::{Location, shown_url};
pub use self::error::SourceError;
pub use self::footer::footer_hash;
pub(crate) use self::markers::MarkerNames;
pub use self::object::Object;
pub use self::reader::ObjectReader;
use self::selection::Reached;
pub use self::selection::Selection;
pub use self::skipped::{SkipReason, Skipped};
use self::stores::Stores;
use self::variables::Variables;

/// Arguments that are looked up at once: a shell may expand a pattern to thousands of them.
const AT_ONCE: usize = 16;

/// Locations from which history can be read: this machine, and the stores that the settings reach.
#[derive(Default)]
pub struct Sources {
    stores: Stores,
    /// Names of files that are returned as markers instead of being read or left out.
    markers: Option<MarkerNames>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settings hold keys and tokens.
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Sources {
    /// Takes the settings from the environment: `AWS_…` for S3 and `GOOGLE_…` for GCS, named as in
    /// `object_store`.
    pub(crate) fn from_env() -> Self {
        Self { stores: Stores::new(Variables::from_env()), markers: None }
    }

    /// Takes the settings as names and values. Settings of other programs are ignored.
    pub fn new(settings: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { stores: Stores::new(Variables::new(settings)), markers: None }
    }

    /// Returns files with these names as markers.
    pub(crate) fn with_markers(self, markers: Option<MarkerNames>) -> Self {
        Self { markers, ..self }
    }

    /// Returns the Parquet objects that the arguments name, sorted by location and without
    /// duplicates, and the files that they leave out.
    ///
    /// An argument is a local file, a folder (all Parquet below it), a glob (`*`, `**`, `?`, `[…]`,
    /// `{…}`), or an address: `s3://bucket/…` and `gs://bucket/…` with a key, a folder or a glob,
    /// `http(s)://…` with a file. Companion files (`manifest.json`, `_SUCCESS`, hidden files, empty
    /// markers, the folder `quarantine`) are left out, unless an argument names them.
    ///
    /// # Errors
    /// Fails if an argument names no Parquet file, or if its source can't be read.
    pub async fn select(&self, arguments: &[String]) -> Result<Selection, SourceError> {
        told_apart(arguments)?;
        // Collected first: the compiler can't see that a stream of borrowed arguments may move
        // between threads.
        let lookups: Vec<_> = arguments.iter().map(|argument| self.reach(argument)).collect();
        let reached: Vec<Reached> = stream::iter(lookups).buffered(AT_ONCE).try_collect().await?;
        Ok(selection::select(reached))
    }

    /// Returns the objects of [`Sources::select`].
    ///
    /// # Errors
    /// Those of [`Sources::select`].
    pub async fn expand(&self, arguments: &[String]) -> Result<Vec<Object>, SourceError> {
        Ok(self.select(arguments).await?.objects)
    }

    async fn reach(&self, argument: &str) -> Result<Reached, SourceError> {
        match address::parse(argument)? {
            Location::Local(path) => self.reach_local(argument, path).await,
            Location::Bucket { store, name, key } => {
                remote::expand(&self.stores, store, &name, &key, self.markers.as_ref()).await
            }
            Location::Web(url) => {
                let mut reached = Reached::default();
                reached.add(remote::web(&self.stores, &url).await?);
                Ok(reached)
            }
        }
    }

    async fn reach_local(&self, argument: &str, path: PathBuf) -> Result<Reached, SourceError> {
        let markers = self.markers.clone();
        // Blocking, because a tree can be large and its disk slow.
        let reached = tokio::task::spawn_blocking(move || lookup::expand(&path, markers.as_ref())).await;
        reached.map_err(|_| SourceError::Stopped { location: argument.to_owned() })?
    }
}

/// Refuses addresses that differ only in a hidden part, because they would count as one file.
fn told_apart(arguments: &[String]) -> Result<(), SourceError> {
    let mut seen = HashMap::new();
    for argument in arguments {
        let Ok(Location::Web(url)) = address::parse(argument) else { continue };
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
