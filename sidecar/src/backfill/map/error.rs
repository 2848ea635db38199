//! Why a mapping can't be used; all of these are found before the first row is read.

use std::io;
use std::path::PathBuf;

use crate::config::{Fault, report};

/// Why a mapping can't be used; exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The file cannot be read.
    #[error(
        "can't read the mapping {path}: give the path of a mapping.toml, or the name of a preset ({presets})"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The presets there are.
        presets: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no preset of this name.
    #[error("there is no preset {name:?}: give one of {presets}, or the path of a mapping.toml")]
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// The presets there are.
        presets: String,
    },
    /// The file can be read but is not right: every fault, in the order of lines.
    #[error("{}", report(.path.as_deref(), .faults))]
    Faulty {
        /// The file; `None` for text that came from none.
        path: Option<PathBuf>,
        /// At least one.
        faults: Vec<Fault>,
    },
    /// The mapping is right in itself, but not for this file: every fault, in the order of the events' columns.
    #[error("mapping {mapping} does not fit the file:\n  {}", [.faults.as_slice(), .hints].concat().join("\n  "))]
    Unfit {
        /// The mapping's path, or the name of the preset.
        mapping: String,
        /// At least one.
        faults: Vec<String>,
        /// What helps to mend them.
        hints: Vec<String>,
    },
}
