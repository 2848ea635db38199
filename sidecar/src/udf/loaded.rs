//! What a node says about the functions that it runs as programs.

use serde::Deserialize;

use super::UdfError;
use super::folders::release_in;
use crate::node::Node;

const LOADED: &str = include_str!("../../../sql/inspect/udf_loaded.sql");
const REGISTERED: &str = include_str!("../../../sql/inspect/udf_registered.sql");

/// ClickHouse's code for a table that is not there: versions before 26 don't list their programs.
const UNKNOWN_TABLE: u32 = 60;

/// A function of a node, ours or not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Loaded {
    /// Its name in queries.
    pub(super) name: String,
    /// What it runs; `None` if the node is too old to say.
    pub(super) command: Option<String>,
    /// Why the node did not take it; empty if it did.
    #[serde(default)]
    pub(super) problem: String,
}

impl Loaded {
    /// The release of ours that it runs.
    pub(super) fn release(&self) -> Option<&str> {
        self.command.as_deref().and_then(release_in)
    }
}

/// Every function that `node` runs as a program, by name.
///
/// # Errors
/// [`UdfError::Node`] if it can't be asked.
pub(super) async fn loaded(node: &Node) -> Result<Vec<Loaded>, UdfError> {
    match node.rows(LOADED).await {
        Err(error) if error.code() == Some(UNKNOWN_TABLE) => registered(node).await,
        loaded => Ok(loaded?),
    }
}

/// The same without commands, which every version can tell.
///
/// # Errors
/// [`UdfError::Node`] if it can't be asked.
pub(super) async fn registered(node: &Node) -> Result<Vec<Loaded>, UdfError> {
    Ok(node.rows(REGISTERED).await?)
}
