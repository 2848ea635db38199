//! Brings the program and its declaration to a node's disk, has the node load them, and proves that it did.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use posthouse_udf::functions::FUNCTIONS;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::check::differs_for;
use super::release::PROGRAM;
use super::xml::functions_xml;
use super::{Release, UdfError};
use crate::config::NodeFiles;
use crate::node::Node;

const RELOAD: &str = include_str!("../../../sql/inspect/udf_reload.sql");
const LOADED: &str = include_str!("../../../sql/inspect/udf_loaded.sql");

/// ClickHouse's code for a table that is not there: versions before 26 don't list their programs.
const UNKNOWN_TABLE: u32 = 60;

/// Ids the proof compares: a few blocks' worth would prove no more than some of every kind.
const PROOF_ROWS: u64 = 2_000;

const PROGRAM_MODE: u32 = 0o755;
const DECLARATION_MODE: u32 = 0o644;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// It is new, or was different.
    Written,
    /// It was there already, byte by byte.
    Unchanged,
}

/// What was done for one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// The node.
    pub node: String,
    /// The folder of the program it runs now.
    pub release: String,
    /// The program.
    pub program: FileState,
    /// The file that declares the functions.
    pub functions: FileState,
}

/// Installs `release` for `node`, whose disk is at `files`; doing it again changes nothing.
///
/// Queries that are running go on with the program they have: the new one stands in a folder of its own, and the
/// declaration is replaced in one step. Safe to repeat after any failure.
///
/// # Errors
/// [`UdfError`]; whatever the step, the node runs either the old program or the new one.
pub async fn install(node: &Node, files: &NodeFiles, release: &Release) -> Result<Installed, UdfError> {
    let (program, functions) = write_files(files, release)?;
    node.execute(RELOAD).await?;
    prove(node, files, release).await?;
    Ok(Installed { node: node.name.clone(), release: release.folder().to_owned(), program, functions })
}

fn write_files(files: &NodeFiles, release: &Release) -> Result<(FileState, FileState), UdfError> {
    let folder = files.user_scripts.join(release.folder());
    let failed = |source| UdfError::Write { path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(failed)?;
    // The server is another user than the one who installs.
    fs::set_permissions(&folder, Permissions::from_mode(PROGRAM_MODE)).map_err(failed)?;
    let program = place(&folder.join(PROGRAM), release.bytes(), PROGRAM_MODE)?;
    let xml = functions_xml(&release.program())?;
    let functions = place(&files.functions, xml.as_bytes(), DECLARATION_MODE)?;
    Ok((program, functions))
}

/// Makes `path` hold `content`: at any moment it is whole, old or new, even after a crash.
fn place(path: &Path, content: &[u8], mode: u32) -> Result<FileState, UdfError> {
    if holds(path, content, mode) {
        return Ok(FileState::Unchanged);
    }
    write_atomically(path, content, mode)
        .map_err(|source| UdfError::Write { path: path.to_owned(), source })?;
    Ok(FileState::Written)
}

fn holds(path: &Path, content: &[u8], mode: u32) -> bool {
    let mode_is_right =
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o777 == mode);
    mode_is_right && fs::read(path).is_ok_and(|found| found == content)
}

fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // No `.xml` at its end: the server must not read a half-written declaration.
    let mut file = NamedTempFile::with_suffix_in(".posthouse-tmp", folder)?;
    file.write_all(content)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[derive(Deserialize)]
struct Loaded {
    name: String,
    command: String,
    problem: String,
}

/// The node names our command for every function, and answers with it as its own functions do.
///
/// Reloading alone proves nothing: a declaration that the server can't read, or does not look for, leaves the old
/// functions in place without an error.
async fn prove(node: &Node, files: &NodeFiles, release: &Release) -> Result<(), UdfError> {
    match node.rows::<Loaded>(LOADED).await {
        Ok(loaded) => check_commands(node, files, release, &loaded)?,
        Err(error) if error.code() == Some(UNKNOWN_TABLE) => {
            tracing::warn!("node {} is too old to say which program its functions run", node.name);
        }
        Err(error) => return Err(error.into()),
    }
    if differs_for(node, &[1, 2], PROOF_ROWS, 0).await?.differing > 0 {
        return Err(UdfError::Wrong { node: node.name.clone() });
    }
    Ok(())
}

fn check_commands(
    node: &Node,
    files: &NodeFiles,
    release: &Release,
    loaded: &[Loaded],
) -> Result<(), UdfError> {
    let program = release.program();
    for function in FUNCTIONS {
        let expected = format!("{program} {}", function.name);
        let found = loaded.iter().find(|loaded| loaded.name == function.name);
        let problem = match found {
            Some(found) if !found.problem.is_empty() => found.problem.clone(),
            Some(found) if found.command != expected => {
                format!("it runs {:?}: remove the other file that declares it", found.command)
            }
            Some(_) => continue,
            None => format!(
                "it has no such function: its user_defined_executable_functions_config must match {}",
                files.functions.display()
            ),
        };
        return Err(UdfError::NotTaken { node: node.name.clone(), function: function.name, problem });
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
        let files = NodeFiles { user_scripts: scripts.clone(), functions: disk.path().join("functions.xml") };
        let release = release(disk.path(), "program");
        let write = || write_files(&files, &release).expect("written");
        assert_eq!(write(), (FileState::Written, FileState::Written));
        assert_eq!(write(), (FileState::Unchanged, FileState::Unchanged));

        let program = scripts.join(release.program());
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!((mode(&program), mode(&files.functions)), (PROGRAM_MODE, DECLARATION_MODE));
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
        let files = NodeFiles { user_scripts: scripts.clone(), functions: disk.path().join("functions.xml") };
        let old = release(disk.path(), "old");
        write_files(&files, &old).expect("written");
        let new = release(disk.path(), "new");
        assert_eq!(write_files(&files, &new).expect("written"), (FileState::Written, FileState::Written));
        assert_eq!(fs::read(scripts.join(old.program())).expect("the old one"), b"old");
        let xml = fs::read_to_string(&files.functions).expect("a file");
        assert!(xml.contains(&new.program()) && !xml.contains(&old.program()));
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_named() {
        let disk = tempfile::tempdir().expect("a folder");
        let blocked = disk.path().join("file");
        fs::write(&blocked, "").expect("a file");
        let files = NodeFiles { user_scripts: blocked.clone(), functions: disk.path().join("functions.xml") };
        let error = write_files(&files, &release(disk.path(), "p")).expect_err("not a folder").to_string();
        assert!(error.contains(&blocked.display().to_string()), "{error}");
    }
}
