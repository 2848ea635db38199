//! The record of a foreground stack for other shells.
//!
//! A file in the scratch folder has its servers and their addresses.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::Stack;

const FILE: &str = "stack.json";

/// A stack run by `stack up`. Stacks of tests have no record, so that `stack down` doesn't stop
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The time at which all servers answered, in seconds of Unix time.
    pub since_unix_s: u64,
    /// The configuration for `posthouse`.
    pub config: PathBuf,
    /// Each server's name and address.
    pub servers: Vec<(String, String)>,
}

impl Record {
    /// Writes the record of a running stack, and its configuration files.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn write(stack: &Stack) -> anyhow::Result<Self> {
        let mut servers = Vec::new();
        for node in stack.nodes() {
            let address = node.native_address();
            let place =
                format!("shard {} (weight {}), replica {}", node.shard(), node.weight(), node.replica());
            servers.push((node.name().to_owned(), format!("{}  native {address}  {place}", node.http_url())));
        }
        servers.extend(stack.brokers().iter().map(|broker| (broker.name().to_owned(), broker.address())));
        servers.push((stack.keeper().name().to_owned(), stack.keeper().address()));
        if let Ok(postgres) = stack.postgres() {
            servers.push((postgres.name().to_owned(), postgres.address()));
        }
        let since_unix_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let record = Self { since_unix_s, config: stack.write_config()?, servers };
        let path = stack.dir().join(FILE);
        fs::write(&path, serde_json::to_vec_pretty(&record)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(record)
    }

    /// The record in a scratch folder, if its stack is run by `stack up`.
    pub fn read(scratch: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(scratch.join(FILE)).ok()?).ok()
    }

    /// One aligned line per server.
    pub fn table(&self) -> String {
        let width = self.servers.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        self.servers.iter().map(|(name, address)| format!("  {name:<width$}  {address}\n")).collect()
    }
}
