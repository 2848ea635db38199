//! Reasons why an index can't be read.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A missing, damaged or foreign file of an index.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// There is no index yet.
    #[error(
        "there is no person index at {path}: start posthouse run on this node, or run posthouse persons snapshot build"
    )]
    Missing {
        /// The manifest.
        path: PathBuf,
    },
    /// The system can't read the file.
    #[error("can't read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file was written by another version of posthouse, or is no index.
    #[error(
        "{path} has format {found}, and this function reads format {}: install functions and index of one posthouse version",
        super::FORMAT
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format, 0 for a file that is no index.
        found: u32,
    },
    /// The file is shorter or longer than its header says.
    #[error("{path} has {found} bytes instead of {expected}: posthouse run builds the index again")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes by the header.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A part of the file has another checksum.
    #[error("the {part} of {path} is damaged: posthouse run builds the index again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The part.
        part: &'static str,
    },
    /// The file belongs to another index, for example to that of another cluster.
    #[error("{path} belongs to another index: posthouse run builds the index again")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

impl SnapshotError {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path: path.to_owned() },
            _ => Self::Unreadable { path: path.to_owned(), source },
        }
    }

    pub(super) fn damaged(path: &Path, part: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), part }
    }
}
