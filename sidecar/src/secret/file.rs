//! Secrets from files.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::{MAX_SECRET_BYTES, Secret, SecretError, only_line};

/// Permission of every user of the machine to read a file.
const OTHERS_READ: u32 = 0o004;

/// Permission of every user of the machine to write to a file.
const OTHERS_WRITE: u32 = 0o002;

pub(super) fn read(path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let mut text = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    only_line(text, || path.display().to_string())
}

/// Whether every user of the machine may write to the file.
pub(crate) fn is_writable_by_all(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.permissions().mode() & OTHERS_WRITE != 0)
}

/// Whether every user of the machine may read the file.
pub(crate) fn is_readable_by_all(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.permissions().mode() & OTHERS_READ != 0)
}
