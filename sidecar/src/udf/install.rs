//! Installation of the UDFs on a node, with verification.

use std::ffi::OsStr;

use anyhow::bail;
use posthouse_udf::functions::FUNCTIONS;
use serde::Serialize;

use super::check::{differs_for, wrong_values};
use super::folders::{self, Folders};
use super::loaded::{LoadedFunction, loaded};
use super::place::{FileState, OpenFolder, PROGRAM_MODE, read_declaration};
use super::prune::{by_folder, superseded};
use super::release::PROGRAM;
use super::xml::{self, functions_xml, is_ours};
use super::{RELOAD, Release};
use crate::config::NodeFiles;
use crate::node::Node;

/// Ids compared after an install. A few ids of every kind suffice; whole blocks would prove no
/// more.
const PROOF_ROWS: u64 = 2_000;

const DECLARATION_MODE: u32 = 0o644;

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
        let Folders { releases, empty, .. } = folders::find(folder)?;
        let empty = empty.iter().filter(|folder| folder.name != release.folder());
        for old in superseded(&releases, release.folder(), &before, &now).into_iter().chain(empty) {
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
    let path = &files.functions_config_file;
    if read_declaration(path)?.is_some_and(|content| !content.is_empty() && !is_ours(&content)) {
        return Err(xml::not_ours(path));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
        bail!("{} is no path of a file: correct functions_config_file in the config", path.display());
    };
    let scripts = OpenFolder::create(&files.user_scripts_path)?;
    let program = scripts.create_inside(release.folder())?.put(PROGRAM, release.bytes(), PROGRAM_MODE)?;
    let xml = functions_xml(&release.program())?;
    let functions = OpenFolder::open(folder)?.put(name, xml.as_bytes(), DECLARATION_MODE)?;
    Ok((program, functions))
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
mod tests;
