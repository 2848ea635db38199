//! Background `posthouse` process of the demo, killed on drop.

use std::fs::File;
use std::path::Path;
use std::process::Child;

use anyhow::anyhow;

use crate::site;

/// A running `posthouse` process.
pub(super) struct Beside {
    child: Child,
    log: File,
}

impl Beside {
    /// Starts it with `arguments`.
    ///
    /// # Errors
    /// Fails if the binary is missing or doesn't start.
    pub(super) fn start(config: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let log = tempfile::tempfile()?;
        let child = site::spawn(config, arguments, log.try_clone()?)?;
        Ok(Self { child, log })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the whole log.
    ///
    /// # Errors
    /// Fails if the process has ended, with its log.
    pub(super) fn log(&mut self) -> anyhow::Result<String> {
        let ended = self.child.try_wait()?;
        let log = site::whole(&mut self.log)?;
        match ended {
            Some(status) => Err(anyhow!("posthouse ended early: {status}\n{log}")),
            None => Ok(log),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Errors are ignored, because the process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
