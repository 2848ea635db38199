//! Non-blocking reader of the topics file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::{Spec, SpecError, load};
use crate::span;

/// A read that takes longer means that the file system hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads one file repeatedly, one read at a time, so that a hanging file system costs one thread.
pub(super) struct SpecReader {
    path: PathBuf,
    reading: Option<JoinHandle<Result<Spec, SpecError>>>,
}

impl SpecReader {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, reading: None }
    }

    /// Reads the current file.
    ///
    /// # Errors
    /// [`SpecError`], or a read that exceeds its timeout. The next call waits for the same read.
    pub(super) async fn read(&mut self) -> anyhow::Result<Spec> {
        let path = self.path.clone();
        let reading =
            self.reading.get_or_insert_with(|| spawn_blocking(span::in_current(move || load(&path))));
        let Ok(read) = timeout(READ_TIMEOUT, reading).await else {
            bail!(
                "can't read the topics file {} within {} s: check the file system it is on",
                self.path.display(),
                READ_TIMEOUT.as_secs()
            );
        };
        self.reading = None;
        Ok(read.context("the thread that reads the topics file ended: please report this")??)
    }
}
