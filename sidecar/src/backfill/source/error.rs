//! What can go wrong between posthouse and a file of history; never holds a secret.

use std::error::Error;
use std::io;

use parquet::errors::ParquetError;

/// What can go wrong between posthouse and a file of history. `location` is where the file is, as it may be shown.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An argument that can't name a source.
    #[error("{argument} is no source: {problem}")]
    Argument {
        /// The argument as it may be shown.
        argument: String,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// An argument that names nothing to read.
    #[error("{argument} names no Parquet file: {hint}")]
    Nothing {
        /// The argument as it may be shown.
        argument: String,
        /// What was seen there, and what to do.
        hint: String,
    },
    /// A local file that can't be read.
    #[error("{location} can't be read: check that it is there and that posthouse may read it")]
    File {
        /// The file or folder.
        location: String,
        /// What the system says.
        source: io::Error,
    },
    /// Other bytes than those that were recorded, or bytes that changed while they were read.
    #[error(
        "{location} has changed: recorded as {recorded}, found as {found}: plan again, or bring the recorded file back"
    )]
    Changed {
        /// The file.
        location: String,
        /// The identity it had.
        recorded: String,
        /// What is there now.
        found: String,
    },
    /// A file that is not Parquet as far as its last bytes tell.
    #[error("{location} is not a whole Parquet file: {problem}: leave it out, or write it again")]
    NotParquet {
        /// The file.
        location: String,
        /// What its last bytes lack.
        problem: String,
    },
    /// Settings in the environment that no client can be made from.
    #[error("{location} can't be reached: {problem}")]
    Settings {
        /// The bucket or file.
        location: String,
        /// Which variable is wrong, and what to do.
        problem: String,
    },
    /// No object under this key or address.
    #[error("{location} is not there: {hint}")]
    Missing {
        /// The object.
        location: String,
        /// What to do.
        hint: &'static str,
    },
    /// No bucket of this name.
    #[error("the bucket of {location} does not exist at {endpoint}: {hint}")]
    NoBucket {
        /// The object or bucket.
        location: String,
        /// The store that was asked.
        endpoint: String,
        /// What to do.
        hint: &'static str,
    },
    /// Credentials that are right and do not suffice, or a signed address that is too old.
    #[error("{location}: access denied ({said}): {hint}")]
    Denied {
        /// The object or bucket.
        location: String,
        /// What the store said.
        said: String,
        /// What to do.
        hint: &'static str,
    },
    /// Temporary credentials that were right once.
    #[error("{location}: the credentials have expired ({said}): {hint}")]
    Expired {
        /// The object or bucket.
        location: String,
        /// What the store said.
        said: String,
        /// Which variables to set.
        hint: &'static str,
    },
    /// Credentials that are wrong, or none.
    #[error("{location}: no valid credentials ({said}): {hint}")]
    Credentials {
        /// The object or bucket.
        location: String,
        /// What the store said.
        said: String,
        /// Which variables to set.
        hint: &'static str,
    },
    /// A bucket of another region.
    #[error("{location}: the bucket is in another region: {hint}")]
    Region {
        /// The object or bucket.
        location: String,
        /// Which variable to set.
        hint: &'static str,
    },
    /// No answer, a torn one, or one that says to try later; after all retries.
    #[error(
        "{location}: no whole answer from {endpoint}: {problem}: check the network and run the same command again"
    )]
    Unreachable {
        /// The object or bucket.
        location: String,
        /// The store that was asked.
        endpoint: String,
        /// What came instead.
        problem: String,
    },
    /// A web server that sends whole files only.
    #[error("{location}: the server can't send parts of a file: download it and name the local copy")]
    NoRanges {
        /// The file.
        location: String,
    },
    /// Any other answer of a store.
    #[error("{location}: the store's answer can't be used: {said}")]
    Store {
        /// The object or bucket.
        location: String,
        /// What it said.
        said: String,
    },
    /// The process is being stopped.
    #[error(
        "{location} was not read to its end: posthouse is stopping: run the same command again to resume"
    )]
    Stopped {
        /// The file or argument.
        location: String,
    },
}

impl SourceError {
    /// The source's error behind what the Parquet library returned, so that a lost connection can be told from a
    /// broken file.
    pub fn behind<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // Neither names the error it holds as its source, but that error's source.
            cause = match (error.downcast_ref::<io::Error>(), error.downcast_ref::<ParquetError>()) {
                (Some(io), _) => io.get_ref().map(|held| held as &(dyn Error + 'static)),
                (_, Some(ParquetError::External(held))) => Some(held.as_ref() as &(dyn Error + 'static)),
                _ => error.source(),
            };
        }
        None
    }
}

impl From<SourceError> for io::Error {
    fn from(error: SourceError) -> Self {
        Self::other(error)
    }
}

impl From<SourceError> for ParquetError {
    fn from(error: SourceError) -> Self {
        Self::External(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sources_error_is_found_behind_those_of_the_libraries() {
        let error = || SourceError::Stopped { location: "a".into() };
        let read: io::Error = error().into();
        for wrapped in [error().into(), ParquetError::from(read)] {
            let found = SourceError::behind(&wrapped);
            assert!(matches!(found, Some(SourceError::Stopped { .. })), "{wrapped:?}");
        }
        assert!(SourceError::behind(&ParquetError::General("broken".into())).is_none());
    }
}
