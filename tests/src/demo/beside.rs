//! A `posthouse` that works beside the demo; killed when nobody waits for it any more.

use std::fs::File;
use std::path::Path;
use std::process::Child;

use anyhow::anyhow;

use crate::site;

/// See the module.
pub(super) struct Beside {
    child: Child,
    log: File,
}

impl Beside {
    /// Starts it.
    ///
    /// # Errors
    /// When the binary is not there or does not start.
    pub(super) fn start(config: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let log = tempfile::tempfile()?;
        let child = site::spawn(config, arguments, log.try_clone()?)?;
        Ok(Self { child, log })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has logged.
    ///
    /// # Errors
    /// When it has ended, with its log.
    pub(super) fn log(&mut self) -> anyhow::Result<String> {
        let ended = self.child.try_wait()?;
        let log = site::whole(&mut self.log)?;
        match ended {
            Some(status) => Err(anyhow!("posthouse ended before it should: {status}\n{log}")),
            None => Ok(log),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // One that has ended already has nothing to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
