//! Secrets: their sources, and values that are never printed.

mod command;
mod file;
mod passfile;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

/// Maximum length of a secret in bytes. An OAuth token with many claims has some kilobytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// A password or token. Its memory is overwritten after the last use; [`Secret::reveal`] alone
/// shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Returns the secret itself, for the one caller that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The source of a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// An environment variable, which can't change while posthouse runs.
    Variable(&'static str),
    /// A file with one line.
    File(PathBuf),
    /// A program with its arguments, which prints one line.
    Command(Vec<String>),
    /// A line of a password file of libpq.
    Passfile(PassfileEntry),
}

/// Without the arguments of a command, because one of them may be a secret itself.
impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Command(command) => write!(f, "command {}", command.first().map_or("", String::as_str)),
            Self::Passfile(entry) => write!(f, "passfile {}", entry.path.display()),
        }
    }
}

/// Why a source gives no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("environment variable {0} is not set")]
    Unset(&'static str),
    #[error("can't read {path}: make it readable for the user of posthouse")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the group or other users may use {path}: chmod 0600 {path}")]
    Open { path: PathBuf },
    #[error("{path} has no line for this host, port, database and user")]
    NoLine { path: PathBuf },
    /// `origin` is a path or a program.
    #[error("{origin} has {lines} lines: a secret is one line")]
    Lines { origin: String, lines: usize },
    #[error("{origin} is empty: a secret is one line")]
    Empty { origin: String },
    #[error("{origin} has more than {MAX_SECRET_BYTES} bytes or is not UTF-8: a secret is one line of text")]
    NoText { origin: String },
    #[error("can't run {program}")]
    NoProgram {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} {problem}: run it as the user of posthouse to see why")]
    Failed { program: String, problem: String },
}

impl SecretSource {
    /// Reads the secret. Blocks for at most the ten seconds that a command has.
    pub(crate) fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Variable(name) => variable(name).ok_or(SecretError::Unset(name)),
            Self::File(path) => file::read(path),
            Self::Command(command) => command::read(command),
            Self::Passfile(entry) => passfile::read(entry),
        }
    }
}

/// Reads an environment variable. An empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<Secret> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(Secret::from)
}

pub(crate) use self::file::{is_readable_by_all, is_writable_by_all};
pub(crate) use self::passfile::PassfileEntry;

/// Returns the only line of `text`, which may end with a newline: editors and `echo` write one.
fn only_line(text: Zeroizing<Vec<u8>>, origin: impl Fn() -> String) -> Result<Secret, SecretError> {
    let too_long = text.len() as u64 > MAX_SECRET_BYTES;
    let line = std::str::from_utf8(&text).ok().filter(|_| !too_long);
    let line = line.ok_or_else(|| SecretError::NoText { origin: origin() })?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.split('\n').count() {
        1 if line.is_empty() => Err(SecretError::Empty { origin: origin() }),
        1 => Ok(Secret::from(line.to_owned())),
        lines => Err(SecretError::Lines { origin: origin(), lines }),
    }
}

/// A secret with its source. Clones share the value, so that a new one reaches all of them.
#[derive(Clone)]
pub(crate) struct Credential {
    source: SecretSource,
    current: Arc<RwLock<Secret>>,
}

impl Credential {
    /// Reads the secret for the first time.
    pub(crate) fn read(source: SecretSource) -> Result<Self, SecretError> {
        let current = Arc::new(RwLock::new(source.read()?));
        Ok(Self { source, current })
    }

    /// The last value that was read.
    pub(crate) fn secret(&self) -> Secret {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the source again, for example after a refused login. Returns whether the secret is
    /// another one than `refused`, so that a retry makes sense. Blocks as [`SecretSource::read`].
    pub(crate) fn reread(&self, refused: &Secret) -> bool {
        if self.secret() != *refused {
            return true;
        }
        match self.source.read() {
            Ok(secret) if secret == *refused => false,
            Ok(secret) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = secret;
                tracing::info!(source = ?self.source, "read a new secret");
                true
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!(error = format!("{error:#}"), "secret can't be read again");
                false
            }
        }
    }
}

// The value is no part of a config's identity.
impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:?})", self.source)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn command(script: &str) -> SecretSource {
        SecretSource::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[test]
    fn a_secret_is_one_line_and_is_never_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        for (content, secret) in
            [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s3cret ", " s3cret "), ("ü\n", "ü")]
        {
            std::fs::write(&path, content).expect("a file");
            let read = SecretSource::File(path.clone()).read().expect("a secret");
            assert_eq!(read.reveal(), secret);
            assert!(!format!("{read:?}").contains(secret.trim()));
        }
        for content in ["", "\n", "one\ntwo", "one\n\n", "one\n\ntwo\n"] {
            std::fs::write(&path, content).expect("a file");
            let error = SecretSource::File(path.clone()).read().expect_err("no secret").to_string();
            assert!(error.contains("one line") && !error.contains("two"), "{content:?}: {error}");
        }
        std::fs::write(&path, vec![b'a'; 70 << 10]).expect("a file");
        assert!(matches!(SecretSource::File(path.clone()).read(), Err(SecretError::NoText { .. })));
        std::fs::write(&path, b"\xff\xfe").expect("a file");
        assert!(matches!(SecretSource::File(path).read(), Err(SecretError::NoText { .. })));
    }

    #[test]
    fn a_command_prints_the_secret_within_its_limits() {
        assert_eq!(command("echo t0ken").read().expect("a secret").reveal(), "t0ken");
        let error = command("echo t0ken; exit 3").read().expect_err("a failure").to_string();
        assert!(error.contains("exit status: 3") && !error.contains("t0ken"), "{error}");
        let error = command("cat /dev/zero").read().expect_err("an endless secret");
        assert!(matches!(error, SecretError::NoText { .. }), "{error}");
        let missing = SecretSource::Command(vec!["/nowhere/token".to_owned()]).read();
        assert!(matches!(missing, Err(SecretError::NoProgram { .. })));
    }

    #[test]
    fn the_arguments_of_a_command_are_not_shown() {
        let source = command("echo hunter2");
        let credential = Credential::read(source.clone()).expect("a secret");
        assert_eq!(format!("{source:?} {credential:?}"), "command sh Credential(command sh)");
        let error = command("exit 1; hunter2").read().expect_err("a failure");
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_its_children() {
        let begun = Instant::now();
        let source = ["sh", "-c", "sleep 600 & sleep 600"].map(str::to_owned);
        let error = command::read_within(&source, std::time::Duration::from_millis(200));
        assert!(matches!(error, Err(SecretError::Failed { .. })), "{error:?}");
        assert!(begun.elapsed().as_secs() < 60, "it waited for the command");
    }

    #[test]
    fn a_changed_file_gives_a_new_secret_to_every_clone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        std::fs::write(&path, "old").expect("a file");
        let credential = Credential::read(SecretSource::File(path.clone())).expect("a secret");
        let (clone, old) = (credential.clone(), credential.secret());
        assert!(!credential.reread(&old), "the file has not changed");
        std::fs::write(&path, "new").expect("a file");
        assert!(credential.reread(&old));
        assert_eq!(clone.secret().reveal(), "new");
        std::fs::remove_file(&path).expect("no file");
        assert!(clone.reread(&old), "another clone has read it already");
        assert!(!clone.reread(&clone.secret()));
        assert_eq!(clone.secret().reveal(), "new");
    }
}
