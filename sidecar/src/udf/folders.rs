//! Release folders below a node's `user_scripts`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

use super::place::{TEMPORARY, cant_read, remove_folder};
use super::release::{CHECKSUM_BYTES, PROGRAM};

/// A folder with the name of a release that contains only the posthouse program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReleaseFolder {
    /// For example `posthouse-0.1.0-1a2b3c4d`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Modification time of the program.
    pub(super) written: SystemTime,
}

/// Folders below `user_scripts` with the names of releases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Folders {
    /// Posthouse's releases, newest first.
    pub(super) releases: Vec<ReleaseFolder>,
    /// Folders without any file, from an installation or a removal that was killed.
    pub(super) empty: Vec<ReleaseFolder>,
    /// Folders without the program or with other files. Never touched.
    pub(super) lookalikes: Vec<PathBuf>,
}

/// Whether `name` has exactly the form `posthouse-VERSION-CHECKSUM`.
pub(super) fn is_release(name: &str) -> bool {
    let parts = name.strip_prefix("posthouse-").and_then(|rest| rest.rsplit_once('-'));
    parts.is_some_and(|(version, checksum)| is_version(version) && is_checksum(checksum))
}

/// Three numbers, then the characters that semver allows after `-` or `+`.
fn is_version(text: &str) -> bool {
    let (core, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let of_semver = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
    core.split('.').count() == 3
        && core.split('.').all(number)
        && rest.len() != 1
        && rest.bytes().all(of_semver)
}

fn is_checksum(text: &str) -> bool {
    text.len() == 2 * CHECKSUM_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the release in a function's command. Its position varies, because foreign declarations
/// may use absolute paths or a shell.
pub(super) fn release_in(command: &str) -> Option<&str> {
    let between = |character: char| character.is_whitespace() || "/'\"=;".contains(character);
    command.split(between).find(|part| is_release(part))
}

/// Lists the releases in `user_scripts`. A missing folder has none.
pub(super) fn find(user_scripts: &Path) -> anyhow::Result<Folders> {
    find_in(user_scripts).with_context(|| cant_read(user_scripts))
}

fn find_in(user_scripts: &Path) -> io::Result<Folders> {
    let entries = match fs::read_dir(user_scripts) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Folders::default()),
        entries => entries?,
    };
    let mut folders = Folders::default();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !is_release(&name) {
            continue;
        }
        let path = entry.path();
        match content(&path)? {
            FolderContent::Program(written) => folders.releases.push(ReleaseFolder { name, path, written }),
            FolderContent::Empty(written) => folders.empty.push(ReleaseFolder { name, path, written }),
            FolderContent::Other => folders.lookalikes.push(path),
        }
    }
    folders.releases.sort_by(|a, b| (b.written, &b.name).cmp(&(a.written, &a.name)));
    folders.empty.sort_by(|a, b| a.name.cmp(&b.name));
    folders.lookalikes.sort();
    Ok(folders)
}

/// Files in a folder, without those that were being written.
enum FolderContent {
    /// Only the program, with its modification time.
    Program(SystemTime),
    /// No file, with the folder's modification time.
    Empty(SystemTime),
    /// Other files, or a link instead of the folder.
    Other,
}

fn content(folder: &Path) -> io::Result<FolderContent> {
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() {
        return Ok(FolderContent::Other);
    }
    let mut program = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, metadata) = (entry.file_name(), entry.metadata()?);
        match metadata.is_file() {
            true if name == PROGRAM => program = Some(metadata.modified()?),
            true if is_temporary(&name) => {}
            _ => return Ok(FolderContent::Other),
        }
    }
    Ok(match program {
        Some(written) => FolderContent::Program(written),
        None => FolderContent::Empty(found.modified()?),
    })
}

fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.ends_with(TEMPORARY))
}

/// Removes the release folder at `path`. A missing folder is not an error.
///
/// An interrupted removal leaves the program or an empty folder, and the next one completes it. A
/// file that was added in the meantime is kept, and so is the folder.
///
/// # Errors
/// Fails if the folder can't be emptied and removed.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    unless_gone(remove_folder(path, PROGRAM), path)
}

/// Removes a file durably before the next step. A missing file is not an error.
pub(super) fn remove_file(path: &Path) -> anyhow::Result<()> {
    let removed = fs::remove_file(path).and_then(|()| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    });
    unless_gone(removed, path)
}

fn unless_gone(removed: io::Result<()>, path: &Path) -> anyhow::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| {
            format!(
                "can't remove {}: let this user write there, then run the same command again",
                path.display()
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_name_is_a_release() {
        for name in
            ["posthouse-0.1.0-1a2b3c4d", "posthouse-12.0.3-rc.1-00000000", "posthouse-1.0.0-a-b+c-abcdef01"]
        {
            assert!(is_release(name), "{name}");
        }
        for name in [
            "posthouse-0.1.0",
            "posthouse-0.1.0-",
            "posthouse-0.1.0-1a2b3c4",
            "posthouse-0.1.0-1a2b3c4dd",
            "posthouse-0.1.0-1A2B3C4D",
            "posthouse-0.1-1a2b3c4d",
            "posthouse-0.1.x-1a2b3c4d",
            "posthouse-0.1.0--1a2b3c4d",
            "posthouse--1a2b3c4d",
            "posthouse-0.1.0/x-1a2b3c4d",
            "my-posthouse-0.1.0-1a2b3c4d",
            "posthouse-0.1.0-1a2b3c4d.bak",
            "",
        ] {
            assert!(!is_release(name), "{name}");
        }
    }

    #[test]
    fn the_release_of_a_command_is_found_wherever_it_stands() {
        let name = "posthouse-0.1.0-1a2b3c4d";
        for command in [
            format!("{name}/posthouse-udf shardKey"),
            format!("/var/lib/clickhouse/user_scripts/{name}/posthouse-udf shardKey"),
            format!("sh -c 'exec \"{name}/posthouse-udf\" shardKey'"),
        ] {
            assert_eq!(release_in(&command), Some(name), "{command}");
        }
        assert_eq!(release_in("old-posthouse-0.1.0-1a2b3c4d/posthouse-udf shardKey"), None);
        assert_eq!(release_in(""), None);
    }

    #[test]
    fn only_folders_with_our_program_alone_are_found_and_removed() {
        let disk = tempfile::tempdir().expect("a folder");
        let put = |path: &str| {
            let path = disk.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(&path, "content").expect("a file");
        };
        let (ours, cut_short) = ("posthouse-0.1.0-00000001", "posthouse-0.1.0-00000002");
        put(&format!("{ours}/{PROGRAM}"));
        put(&format!("{cut_short}/{PROGRAM}"));
        put(&format!("{cut_short}/.tmpAbc{TEMPORARY}"));
        put(&format!("posthouse-0.1.0-00000003/{PROGRAM}"));
        put("posthouse-0.1.0-00000003/notes.txt");
        put("posthouse-0.1.0-00000004/other-program");
        put("posthouse-0.1.0-00000005");
        put(&format!("posthouse-mine/{PROGRAM}"));
        // A removal that was killed after the program, and an installation that was killed before.
        let (emptied, begun) = ("posthouse-0.1.0-00000007", "posthouse-0.1.0-00000008");
        fs::create_dir(disk.path().join(emptied)).expect("a folder");
        put(&format!("{begun}/.tmpAbc{TEMPORARY}"));
        let link = disk.path().join("posthouse-0.1.0-00000006");
        std::os::unix::fs::symlink(disk.path().join(ours), link).expect("a link");

        let found = find(disk.path()).expect("readable");
        let mut names: Vec<_> = found.releases.iter().map(|folder| folder.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, [ours, cut_short]);
        assert_eq!(found.lookalikes.len(), 4, "{:?}", found.lookalikes);
        let empty: Vec<_> = found.empty.iter().map(|folder| folder.name.as_str()).collect();
        assert_eq!(empty, [emptied, begun]);
        for folder in found.releases.iter().chain(&found.empty) {
            remove(&folder.path).expect("removed");
            remove(&folder.path).expect("gone already");
        }
        let left = find(disk.path()).expect("readable");
        assert_eq!((left.releases, left.empty, left.lookalikes), (Vec::new(), Vec::new(), found.lookalikes));
        assert!(find(&disk.path().join("none")).expect("no folder").releases.is_empty());
    }
}
