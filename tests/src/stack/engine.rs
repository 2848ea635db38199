//! Which ClickHouse runs the nodes: a server binary where there is one, else the engine's library in our
//! launcher.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Names a `clickhouse` binary to run the nodes with.
const BINARY_VARIABLE: &str = "CLICKHOUSE_BINARY";
/// Our own binary that runs the library.
const LAUNCHER: &str = "clickhouse-launcher";

/// What runs the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// `clickhouse server`: everything works.
    Server {
        /// The `clickhouse` binary.
        path: PathBuf,
    },
    /// `libchdb.so`, run as `clickhouse local` that listens. It has no interserver port, so Replicated tables
    /// stay read-only; no ON CLUSTER, no CREATE USER, no `system.zookeeper`, `query_log` or `part_log`.
    Library {
        /// Our launcher.
        launcher: PathBuf,
        /// `libchdb.so`.
        library: PathBuf,
    },
}

/// The server binary of this machine: `$CLICKHOUSE_BINARY`, else `clickhouse` on PATH.
///
/// # Errors
/// When the variable names what is not a file.
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
    let this = env::current_exe().context("cannot tell where this executable is")?;
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
