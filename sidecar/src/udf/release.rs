//! The UDF program as a release.
//!
//! A release is named after its version and content, and is tried out before it is installed.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use posthouse_udf::functions::FUNCTIONS;
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::time::timeout;

pub(crate) const PROGRAM: &str = "posthouse-udf";

/// Bytes of the checksum in the folder's name (two characters each), enough to distinguish builds
/// of one version.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// A program without input exits at once. A program that exceeds this timeout is not a posthouse
/// UDF.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Release {
    path: PathBuf,
    folder: String,
    bytes: Vec<u8>,
}

impl Release {
    /// Reads the program at `path`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        // Absolute, because a bare name would be looked up in PATH when it is tried out.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let bytes = std::fs::read(&path).with_context(|| {
            format!("can't read the program {}: build it, or give its path with --binary", path.display())
        })?;
        let mut folder = concat!("posthouse-", env!("CARGO_PKG_VERSION"), "-").to_owned();
        for byte in Sha256::digest(&bytes).iter().take(CHECKSUM_BYTES) {
            // Writing to a string does not fail.
            let _ = write!(folder, "{byte:02x}");
        }
        Ok(Self { path, folder, bytes })
    }

    /// Folder below `user_scripts`, for example `posthouse-0.1.0-1a2b3c4d`. Every program has its
    /// own folder, so that a running program is never overwritten.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Path of the program below `user_scripts`, as in the functions' commands.
    pub fn program(&self) -> String {
        format!("{}/{PROGRAM}", self.folder)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Starts every function once without input, on this machine, so that a wrong file fails here
    /// and not in queries.
    ///
    /// # Errors
    /// Fails with the first function that the program does not serve.
    pub(crate) async fn try_out(&self) -> anyhow::Result<()> {
        for function in FUNCTIONS {
            let mut command = Command::new(&self.path);
            command.arg(function.name).stdin(Stdio::null()).kill_on_drop(true);
            let problem = match timeout(TRIAL_TIMEOUT, command.output()).await {
                Ok(Ok(output)) => complaint(&output),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("it does not end within {} s", TRIAL_TIMEOUT.as_secs())),
            };
            if let Some(problem) = problem {
                bail!(
                    "{} does not serve {}: {problem}: give the program of this posthouse with --binary",
                    self.path.display(),
                    function.name
                );
            }
        }
        Ok(())
    }
}

/// Problem of a program that exited, if any. Without a block, a function must not write any output.
fn complaint(output: &Output) -> Option<String> {
    if output.status.success() && output.stdout.is_empty() {
        return None;
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = stderr.lines().map(str::trim).find(|line| !line.is_empty());
    Some(match (output.status.success(), said) {
        (true, _) => "it writes output without input".to_owned(),
        (false, Some(said)) => format!("{} ({said})", output.status),
        (false, None) => output.status.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udf::folders::is_release;

    #[test]
    fn the_folder_names_version_and_content() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "abc").expect("content");
        let release = Release::read(file.path()).expect("a release");
        assert!(is_release(release.folder()), "{}", release.folder());
        // printf abc | sha256sum
        assert_eq!(release.folder(), concat!("posthouse-", env!("CARGO_PKG_VERSION"), "-ba7816bf"));
        assert_eq!(release.program(), format!("{}/posthouse-udf", release.folder()));
    }

    #[tokio::test]
    async fn a_program_that_is_none_of_ours_is_refused() {
        for (path, problem) in
            [("/bin/echo", "writes output without input"), ("/bin/false", "exit status: 1")]
        {
            let error =
                Release::read(Path::new(path)).expect("readable").try_out().await.expect_err("not ours");
            assert!(error.to_string().contains(problem), "{error}");
        }
    }
}
