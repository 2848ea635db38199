//! Errors of history sources; they never hold a secret.

#[cfg(test)]
use std::error::Error;
use std::io;

use parquet::errors::ParquetError;

use super::skipped::{Skipped, SkippedFiles};

/// A failed access to a file of history. `location` is the file's address without secrets.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An invalid source argument.
    #[error("{argument} is not a source: {problem}")]
    Argument {
        /// Without secrets.
        argument: String,
        /// The fault and the next step.
        problem: String,
    },
    /// An argument without any file to read.
    #[error("{argument} names no Parquet file: {hint}")]
    Nothing {
        /// Without secrets.
        argument: String,
        /// The observation and the next step.
        hint: String,
        /// Files that it reaches and that are left out.
        skipped: Vec<Skipped>,
    },
    /// A local file that can't be read.
    #[error("{location} can't be read: check that it exists and that posthouse may read it")]
    File {
        /// The file or folder.
        location: String,
        source: io::Error,
    },
    /// Other bytes than the recorded ones, or bytes that changed during the read.
    #[error(
        "{location} has changed: recorded as {recorded}, now {found}: plan again, or restore the recorded file"
    )]
    Changed {
        location: String,
        /// The recorded identity.
        recorded: String,
        /// The present identity.
        found: String,
    },
    /// A file that is not Parquet, by its last bytes.
    #[error("{location} is not a complete Parquet file: {problem}: leave it out, or write it again")]
    NotParquet {
        location: String,
        /// The fault of its last bytes.
        problem: String,
    },
    /// Settings in the environment that no client can be made from.
    #[error("{location} can't be reached: {problem}")]
    Settings {
        /// The bucket or file.
        location: String,
        /// The wrong variable, and the next step.
        problem: String,
    },
    /// No object under this key or address.
    #[error("{location} does not exist: {hint}")]
    Missing { location: String, hint: &'static str },
    /// No bucket of this name.
    #[error("the bucket of {location} does not exist at {endpoint}: {hint}")]
    NoBucket {
        /// The object or bucket.
        location: String,
        /// The address of the store.
        endpoint: String,
        hint: &'static str,
    },
    /// Valid credentials without permission, or a signed address that is too old.
    #[error("{location}: access denied ({said}): {hint}")]
    Denied {
        /// The object or bucket.
        location: String,
        /// The store's message.
        said: String,
        hint: &'static str,
    },
    /// Temporary credentials that have expired.
    #[error("{location}: the credentials have expired ({said}): {hint}")]
    Expired {
        /// The object or bucket.
        location: String,
        /// The store's message.
        said: String,
        /// The variables to set.
        hint: &'static str,
    },
    /// Invalid or missing credentials.
    #[error("{location}: no valid credentials ({said}): {hint}")]
    Credentials {
        /// The object or bucket.
        location: String,
        /// The store's message.
        said: String,
        /// The variables to set.
        hint: &'static str,
    },
    /// A bucket of another region.
    #[error("{location}: the bucket is in another region: {hint}")]
    Region {
        /// The object or bucket.
        location: String,
        /// The variable to set.
        hint: &'static str,
    },
    /// No answer, an incomplete one, or one that asks to try later; after all retries.
    #[error(
        "{location}: no complete answer from {endpoint}: {problem}: check the network and run the same command again"
    )]
    Unreachable {
        /// The object or bucket.
        location: String,
        /// The address of the store.
        endpoint: String,
        /// The fault of the last answer.
        problem: String,
    },
    /// A web server that sends whole files only.
    #[error("{location}: the server can't send parts of a file: download it and name the local copy")]
    NoRanges { location: String },
    /// Any other answer of a store.
    #[error("{location}: the answer of {endpoint} can't be used: {said}")]
    Store {
        /// The object or bucket.
        location: String,
        /// The address of the store.
        endpoint: String,
        /// The store's message.
        said: String,
    },
    /// The process is stopping.
    #[error("posthouse is stopping before the end of {location}: run the same command again to resume")]
    Stopped {
        /// The file or argument.
        location: String,
    },
}

impl SourceError {
    /// Returns the error of an argument that reaches no file to read, but maybe others.
    pub(super) fn nothing(argument: String, hint: &str, skipped: &SkippedFiles) -> Self {
        let left_out = if skipped.is_empty() { String::new() } else { format!(" (left out: {skipped})") };
        let hint = format!("{hint}{left_out}");
        Self::Nothing { argument, hint, skipped: skipped.clone().into_vec() }
    }
}

#[cfg(test)]
impl SourceError {
    /// Returns the source's error behind an error of the Parquet library.
    pub(crate) fn behind<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // Neither type returns the error it holds as its source, but that error's source.
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
