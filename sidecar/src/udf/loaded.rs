//! Executable functions of a node, as the node reports them.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::folders::release_in;
use crate::node::Node;

const LOADED: &str = include_str!("../../../sql/inspect/udf_loaded.sql");
const REGISTERED: &str = include_str!("../../../sql/inspect/udf_registered.sql");

/// ClickHouse's error code for an unknown table. Versions before 26 don't list their programs.
const UNKNOWN_TABLE: u32 = 60;

/// A function of a node, by posthouse or foreign.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct LoadedFunction {
    /// Name in queries.
    pub(super) name: String,
    /// `None` if the node is too old to report it.
    pub(super) command: Option<String>,
    /// Why the node failed to load it; empty if it did load it.
    #[serde(default)]
    pub(super) problem: String,
}

impl LoadedFunction {
    /// The posthouse release that the function runs.
    pub(super) fn release(&self) -> Option<&str> {
        self.command.as_deref().and_then(release_in)
    }
}

/// Executable functions of `node`, by name.
pub(super) async fn loaded(node: &Node) -> anyhow::Result<Vec<LoadedFunction>> {
    match node.rows(LOADED).await {
        Err(error) if error.code() == Some(UNKNOWN_TABLE) => registered(node).await,
        loaded => Ok(loaded?),
    }
}

/// Names of the executable functions of `node`.
///
/// # Errors
/// Fails if the node can't be queried.
pub(crate) async fn function_names(node: &Node) -> anyhow::Result<BTreeSet<String>> {
    Ok(registered(node).await?.into_iter().map(|function| function.name).collect())
}

/// The same without commands, which works with every version.
pub(super) async fn registered(node: &Node) -> anyhow::Result<Vec<LoadedFunction>> {
    Ok(node.rows(REGISTERED).await?)
}
