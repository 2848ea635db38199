//! Kill tests: faults at random moments while the production path works, then a count of what was lost or came twice.
//!
//! One code, two sizes: a short one in `make test`, a long one in `make torture`.

pub mod backfill;
pub mod ingest;
pub mod persons;
pub mod topics;

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// What a kill test found; written to `target/torture/NAME.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which test.
    pub name: String,
    /// Faults injected, one a round.
    pub rounds: u32,
    /// Processes killed with SIGKILL.
    pub kills: u32,
    /// Messages acknowledged by the broker; rows of files; changes wanted of topics; committed changes of persons.
    pub produced: u64,
    /// Those of them that arrived.
    pub stored: u64,
    /// Those that did not.
    pub lost: u64,
    /// What came beyond the first, rows being counted where no merge hides them.
    pub twice: u64,
    /// Repeats the choice of faults and of messages.
    pub seed: u64,
}

impl Report {
    /// Writes it below `folder` as `NAME.json`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.json", self.name));
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(&path, text + "\n").with_context(|| format!("can't write {}", path.display()))
    }
}
