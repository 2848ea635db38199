//! The ClickHouse of the nodes: a server binary, or the engine's library.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Names a `clickhouse` binary for the nodes.
const BINARY_VARIABLE: &str = "CLICKHOUSE_BINARY";
/// This workspace's binary that runs the library.
const LAUNCHER: &str = "clickhouse-launcher";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// `clickhouse server`, with all features.
    Server {
        /// The `clickhouse` binary.
        path: PathBuf,
    },
    /// `libchdb.so`, run as `clickhouse local` that listens. It has no interserver port, so
    /// Replicated tables stay read-only. It lacks ON CLUSTER, CREATE USER, `system.zookeeper`,
    /// `query_log` and `part_log`.
    Library {
        launcher: PathBuf,
        /// `libchdb.so`.
        library: PathBuf,
    },
}

/// The server binary of this machine: `$CLICKHOUSE_BINARY`, else `clickhouse` on PATH.
///
/// # Errors
/// If the variable doesn't name a file.
pub fn server_binary() -> anyhow::Result<Option<PathBuf>> {
    let Some(named) = env::var_os(BINARY_VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(on_path("clickhouse"));
    };
    let path = PathBuf::from(named);
    ensure!(path.is_file(), "{BINARY_VARIABLE} names {}, which is not a file", path.display());
    Ok(Some(path))
}

/// The launcher that cargo built beside the running executable, which may be a test in `deps`.
pub(crate) fn launcher() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot find the path of this executable")?;
    let beside = this.parent().unwrap_or(Path::new("."));
    let folders = [beside, beside.parent().unwrap_or(beside)];
    match folders.iter().map(|folder| folder.join(LAUNCHER)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!(
            "no {LAUNCHER} in {}: build it with `cargo build -p posthouse-tests --bins`, in the same profile",
            beside.display()
        ),
    }
}

/// The first file of this name in the folders of PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}
