//! Kill tests: random faults on the production path, then a count.
//!
//! The same code runs as a short version in `make test` and a long one in `make torture`.

pub mod backfill;
pub mod ingest;
pub mod persons;
pub mod snapshot;
pub mod squash;
pub mod topics;

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// Result of a kill test, written to `target/torture/NAME.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub name: String,
    /// Faults injected, one per round.
    pub rounds: u32,
    /// Processes killed with SIGKILL.
    pub kills: u32,
    /// Messages acknowledged by the broker, rows of files, desired changes of topics, or committed
    /// changes of persons.
    pub produced: u64,
    /// Number of these that are stored.
    pub stored: u64,
    /// Number of these that are missing.
    pub lost: u64,
    /// Duplicate rows. They are counted where no merge hides them.
    pub twice: u64,
    /// Repeats the choice of faults and of messages.
    pub seed: u64,
}

impl Report {
    /// Writes the report to `NAME.json` in `folder`.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.json", self.name));
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(&path, text + "\n").with_context(|| format!("can't write {}", path.display()))
    }
}
