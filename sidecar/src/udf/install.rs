//! Installation of the UDFs on a node, with verification.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use posthouse_udf::functions::FUNCTIONS;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::check::{differs_for, wrong_values};
use super::folders::{self, TEMPORARY};
use super::loaded::{LoadedFunction, loaded};
use super::prune::{by_folder, superseded};
use super::release::PROGRAM;
use super::xml::{self, functions_xml, is_ours};
use super::{RELOAD, Release};
use crate::config::NodeFiles;
use crate::node::Node;

/// Ids compared after an install. A few ids of every kind suffice; whole blocks would prove no
/// more.
const PROOF_ROWS: u64 = 2_000;

/// Minimum time between the old file and its replacement. A node rereads a declaration only if its
/// modification time differs, in whole seconds.
const FILE_TIME_STEP: Duration = Duration::from_secs(1);

const PROGRAM_MODE: u32 = 0o755;
const DECLARATION_MODE: u32 = 0o644;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileState {
    /// New or different.
    Written,
    /// Identical to the existing file.
    Unchanged,
}

/// Result of an install on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Installed {
    pub(crate) node: String,
    /// Folder of the program that the node runs now.
    pub(crate) release: String,
    pub(crate) program: FileState,
    /// State of the declaration file.
    pub(crate) functions: FileState,
    /// Folders of older releases that [`prune`] removed.
    pub(crate) removed: Vec<String>,
    /// Functions of the node before the install.
    #[serde(skip)]
    before: Vec<LoadedFunction>,
    /// Functions after the install.
    #[serde(skip)]
    now: Vec<LoadedFunction>,
}

/// Installs `release` for `node`, whose disk is at `files`. Idempotent.
///
/// Running queries continue with their program, because the new one has a separate folder and the
/// declaration is replaced atomically. Older releases are kept for [`prune`]. Safe to repeat after
/// any failure.
///
/// # Errors
/// After a failure in any step, the node runs either the old program or the new one.
pub(crate) async fn install(node: &Node, files: &NodeFiles, release: &Release) -> anyhow::Result<Installed> {
    let before = loaded(node).await?;
    let (program, functions) = write_files(files, release)?;
    node.execute(RELOAD).await?;
    let now = prove(node, files, release).await?;
    Ok(Installed {
        node: node.name.clone(),
        release: release.folder().to_owned(),
        program,
        functions,
        removed: Vec::new(),
        before,
        now,
    })
}

/// Removes the releases that none of these nodes needs, each with its disk, once all of them have
/// `release`.
///
/// Nodes that share a folder of programs form a group: a release that one of them ran before is
/// kept for all.
///
/// # Errors
/// Fails if a release can't be read or removed. Safe to repeat.
pub(crate) fn prune(
    disks: &[&NodeFiles],
    release: &Release,
    installed: &mut [Installed],
) -> anyhow::Result<()> {
    let folders: Vec<_> = disks.iter().map(|files| files.user_scripts_path.as_path()).collect();
    for sharers in by_folder(&folders) {
        let Some(folder) = sharers.first().and_then(|first| folders.get(*first)) else { continue };
        let ran = |what: fn(&Installed) -> &Vec<LoadedFunction>| -> Vec<LoadedFunction> {
            sharers.iter().filter_map(|sharer| installed.get(*sharer)).flat_map(what).cloned().collect()
        };
        let (before, now) = (ran(|node| &node.before), ran(|node| &node.now));
        let found = folders::find(folder)?.releases;
        for old in superseded(&found, release.folder(), &before, &now) {
            folders::remove(&old.path)?;
            for sharer in &sharers {
                if let Some(node) = installed.get_mut(*sharer) {
                    node.removed.push(old.name.clone());
                }
            }
        }
    }
    Ok(())
}

fn write_files(files: &NodeFiles, release: &Release) -> anyhow::Result<(FileState, FileState)> {
    if fs::read(&files.functions_config_file).is_ok_and(|content| !content.is_empty() && !is_ours(&content)) {
        return Err(xml::not_ours(&files.functions_config_file));
    }
    let folder = files.user_scripts_path.join(release.folder());
    fs::create_dir_all(&folder).with_context(|| cant_write(&folder))?;
    // The server runs as another user than the installer.
    fs::set_permissions(&folder, Permissions::from_mode(PROGRAM_MODE))
        .with_context(|| cant_write(&folder))?;
    let program = place(&folder.join(PROGRAM), release.bytes(), PROGRAM_MODE)?;
    let xml = functions_xml(&release.program())?;
    let functions = place(&files.functions_config_file, xml.as_bytes(), DECLARATION_MODE)?;
    Ok((program, functions))
}

/// Writes `content` to `path` atomically: the file is always complete, old or new, even after a
/// crash.
fn place(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<FileState> {
    if holds(path, content, mode) {
        return Ok(FileState::Unchanged);
    }
    write_atomically(path, content, mode).with_context(|| cant_write(path))?;
    Ok(FileState::Written)
}

fn cant_write(path: &Path) -> String {
    format!(
        "can't write {}: let this user write there, or correct user_scripts_path and functions_config_file in the config",
        path.display()
    )
}

fn holds(path: &Path, content: &[u8], mode: u32) -> bool {
    let mode_is_right =
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o777 == mode);
    mode_is_right && fs::read(path).is_ok_and(|found| found == content)
}

fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Without the suffix `.xml`, because the server must not read an incomplete declaration.
    let mut file = NamedTempFile::with_suffix_in(TEMPORARY, folder)?;
    file.write_all(content)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    if let Ok(old) = fs::metadata(path) {
        file.as_file().set_modified(SystemTime::now().max(old.modified()? + FILE_TIME_STEP))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Verifies that the node has posthouse's command for every function, and that the results equal
/// those of ClickHouse's own functions.
///
/// A reload alone is no proof. If the server can't parse a declaration, or does not look for it,
/// the old functions stay in place without an error.
async fn prove(node: &Node, files: &NodeFiles, release: &Release) -> anyhow::Result<Vec<LoadedFunction>> {
    let loaded = loaded(node).await?;
    check_commands(node, files, release, &loaded)?;
    if loaded.iter().any(|function| function.command.is_none()) {
        tracing::warn!(node = %node.name, "node is too old to say which program its functions run");
    }
    if differs_for(node, &[1, 2], PROOF_ROWS, 0).await?.differing > 0 {
        return Err(wrong_values(node));
    }
    Ok(loaded)
}

fn check_commands(
    node: &Node,
    files: &NodeFiles,
    release: &Release,
    loaded: &[LoadedFunction],
) -> anyhow::Result<()> {
    let program = release.program();
    for function in FUNCTIONS {
        let expected = format!("{program} {}", function.name);
        let found = loaded.iter().find(|loaded| loaded.name == function.name);
        let problem = match found {
            Some(found) if !found.problem.is_empty() => found.problem.clone(),
            Some(LoadedFunction { command: Some(command), .. }) if *command != expected => {
                format!("it runs {command:?}: remove the other file that declares it")
            }
            Some(_) => continue,
            None => format!(
                "it has no such function: its user_defined_executable_functions_config must match {}",
                files.functions_config_file.display()
            ),
        };
        bail!("node {} does not run {} from our file: {problem}", node.name, function.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(folder: &Path, content: &str) -> Release {
        let path = folder.join("program");
        fs::write(&path, content).expect("a program");
        Release::read(&path).expect("a release")
    }

    #[test]
    fn the_second_time_changes_nothing_and_damage_is_mended() {
        let disk = tempfile::tempdir().expect("a folder");
        let scripts = disk.path().join("scripts");
        let files = NodeFiles {
            user_scripts_path: scripts.clone(),
            functions_config_file: disk.path().join("functions.xml"),
        };
        let release = release(disk.path(), "program");
        let write = || write_files(&files, &release).expect("written");
        assert_eq!(write(), (FileState::Written, FileState::Written));
        assert_eq!(write(), (FileState::Unchanged, FileState::Unchanged));

        let program = scripts.join(release.program());
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!((mode(&program), mode(&files.functions_config_file)), (PROGRAM_MODE, DECLARATION_MODE));
        fs::write(&program, "prog").expect("damage");
        assert_eq!(write(), (FileState::Written, FileState::Unchanged));
        fs::set_permissions(&program, Permissions::from_mode(0o600)).expect("damage");
        assert_eq!(write(), (FileState::Written, FileState::Unchanged));
        assert_eq!(fs::read(&program).expect("a file"), b"program");

        let left: Vec<_> = fs::read_dir(&scripts).expect("a folder").collect();
        assert_eq!(left.len(), 1, "temporary files are left: {left:?}");
    }

    #[test]
    fn another_program_gets_another_folder_and_the_old_one_stays() {
        let disk = tempfile::tempdir().expect("a folder");
        let scripts = disk.path().join("scripts");
        let files = NodeFiles {
            user_scripts_path: scripts.clone(),
            functions_config_file: disk.path().join("functions.xml"),
        };
        let old = release(disk.path(), "old");
        write_files(&files, &old).expect("written");
        let modified =
            || fs::metadata(&files.functions_config_file).expect("a file").modified().expect("a time");
        let before = modified();
        let new = release(disk.path(), "new");
        assert_eq!(write_files(&files, &new).expect("written"), (FileState::Written, FileState::Written));
        assert_eq!(fs::read(scripts.join(old.program())).expect("the old one"), b"old");
        let xml = fs::read_to_string(&files.functions_config_file).expect("a file");
        assert!(xml.contains(&new.program()) && !xml.contains(&old.program()));
        assert!(modified() >= before + FILE_TIME_STEP, "the node would not read it again");
    }

    #[test]
    fn somebody_elses_declaration_is_not_overwritten() {
        let disk = tempfile::tempdir().expect("a folder");
        let functions = disk.path().join("functions.xml");
        fs::write(&functions, "<functions/>").expect("a file");
        let files = NodeFiles {
            user_scripts_path: disk.path().join("scripts"),
            functions_config_file: functions.clone(),
        };
        let error = write_files(&files, &release(disk.path(), "p")).expect_err("not ours").to_string();
        assert!(error.contains(&functions.display().to_string()), "{error}");
        assert_eq!(fs::read(&functions).expect("a file"), b"<functions/>");
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_named() {
        let disk = tempfile::tempdir().expect("a folder");
        let blocked = disk.path().join("file");
        fs::write(&blocked, "").expect("a file");
        let files = NodeFiles {
            user_scripts_path: blocked.clone(),
            functions_config_file: disk.path().join("functions.xml"),
        };
        let error = write_files(&files, &release(disk.path(), "p")).expect_err("not a folder").to_string();
        assert!(error.contains(&blocked.display().to_string()), "{error}");
    }
}
