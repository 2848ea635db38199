//! Errors of mappings, found before the first row is read.

use std::io;
use std::path::PathBuf;

use crate::config::{Fault, report};

/// Exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MappingError {
    /// The file can't be read.
    #[error(
        "can't read the mapping {path}: give the path of a mapping.toml, or the name of a preset ({presets})"
    )]
    Unreadable {
        path: PathBuf,
        presets: String,
        #[source]
        source: io::Error,
    },
    #[error("there is no preset {name:?}: give one of {presets}, or the path of a mapping.toml")]
    UnknownPreset { name: String, presets: String },
    /// The file is invalid. Lists all errors in the order of lines.
    #[error("{}", report(.path.as_deref(), .faults))]
    Faulty {
        /// `None` for text without a file.
        path: Option<PathBuf>,
        /// At least one.
        faults: Vec<Fault>,
    },
    /// The mapping is valid but does not fit this file. Lists all errors in the order of the
    /// events' columns.
    #[error("mapping {mapping} does not fit the file:\n  {}", [.faults.as_slice(), .hints].concat().join("\n  "))]
    Unfit {
        /// Path of the mapping, or name of the preset.
        mapping: String,
        /// At least one.
        faults: Vec<String>,
        hints: Vec<String>,
    },
}
