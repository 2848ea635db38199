//! Programs and folders for PostgreSQL's unprivileged user.
//!
//! The server refuses to run as root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use anyhow::{Context, ensure};

/// The id of the user `nobody`.
pub(super) const NOBODY: u32 = 65_534;

/// Links the programs into a second folder, because the cache may be in a home folder that is
/// closed to other users. A hard link costs no space. Across file systems it is a copy of 60 MB.
pub(super) fn link_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            link_all(&from, &to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o755))?)
}

/// Gives the server its folder, and opens the scratch folder, which is closed to other users at
/// first.
pub(super) fn let_in(scratch: &Path, dir: &Path) -> anyhow::Result<()> {
    fs::set_permissions(scratch, fs::Permissions::from_mode(0o711))?;
    chown(dir, Some(NOBODY), Some(NOBODY))?;
    for folder in scratch.ancestors().skip(1) {
        let mode = fs::metadata(folder)?.permissions().mode();
        ensure!(
            mode & 0o001 != 0,
            "PostgreSQL does not run as root, and user nobody can't enter {} on the path to its scratch folder: set \
             POSTHOUSE_SCRATCH to a folder that all users may enter, or run as another user",
            folder.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_linked_with_their_links_and_are_open_to_others() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir_all(from.join("lib")).unwrap();
        fs::write(from.join("lib/a.so.1"), "library").unwrap();
        symlink("a.so.1", from.join("lib/a.so")).unwrap();
        link_all(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("lib/a.so")).unwrap(), "library");
        assert_eq!(fs::read_link(to.join("lib/a.so")).unwrap(), Path::new("a.so.1"));
        assert_eq!(fs::metadata(to.join("lib")).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
