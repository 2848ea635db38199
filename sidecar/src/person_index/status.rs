//! State of a node's index.

use std::path::PathBuf;

use posthouse_udf::snapshot::{PersonIndex, SnapshotError};
use serde::Serialize;

use super::clock::now_ms;
use super::folder;
use crate::node::Node;

/// The index of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct IndexStatus {
    pub(crate) node: String,
    pub(crate) folder: PathBuf,
    #[serde(flatten)]
    pub(crate) state: IndexState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(crate) enum IndexState {
    /// There is none.
    Missing,
    /// It can't be read.
    Unusable { problem: String },
    Published {
        generation: u64,
        entries: u64,
        files: usize,
        /// Milliseconds since changes were read.
        age_ms: u64,
        /// Keys of more than one distinct id, in hexadecimal.
        shared_keys: Vec<String>,
    },
}

/// Returns the state of the index of a node on this machine.
pub(crate) fn status(node: &Node) -> Option<IndexStatus> {
    let folder = folder::path(node)?;
    let state = match PersonIndex::open(&folder) {
        Ok(index) => {
            let manifest = index.manifest();
            IndexState::Published {
                generation: manifest.generation,
                entries: index.entries(),
                files: manifest.files.len(),
                age_ms: now_ms().saturating_sub(manifest.fresh_ms),
                shared_keys: manifest.shared_keys.iter().map(|key| format!("{key:016x}")).collect(),
            }
        }
        Err(SnapshotError::Missing { .. }) => IndexState::Missing,
        Err(error) => IndexState::Unusable { problem: error.to_string() },
    };
    Some(IndexStatus { node: node.name.clone(), folder, state })
}
