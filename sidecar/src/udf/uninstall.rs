//! Removal of the UDFs from a node.
//!
//! The functions are removed and verified as gone before the programs that they run.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::bail;
use posthouse_udf::functions::FUNCTIONS;
use serde::Serialize;

use super::folders::{self, Folders};
use super::loaded::{LoadedFunction, loaded};
use super::place::read_declaration;
use super::{RELOAD, xml};
use crate::config::NodeFiles;
use crate::node::Node;

/// Steps for one node, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Removal {
    pub(crate) node: String,
    /// Empty if the node has no UDFs of posthouse.
    pub(crate) changes: Vec<UninstallStep>,
    /// Folders named like releases that don't contain only the posthouse program. They are kept.
    pub(crate) left: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum UninstallStep {
    /// Removes the declaration file.
    RemoveFunctions { path: PathBuf },
    /// Reloads the function files of the node.
    ReloadFunctions,
    /// Removes a program and its folder.
    RemoveRelease { path: PathBuf },
}

impl fmt::Display for UninstallStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveFunctions { path } | Self::RemoveRelease { path } => {
                write!(f, "remove {}", path.display())
            }
            Self::ReloadFunctions => f.write_str("reload functions"),
        }
    }
}

/// Owner of the declaration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declaration {
    Absent,
    Ours,
    Foreign,
}

/// Plans the removal for `node`, whose disk is at `files`. Changes no file.
///
/// # Errors
/// Fails if the declaration file is foreign, a file can't be read, or the node can't be queried.
pub(crate) async fn plan_removal(node: &Node, files: &NodeFiles) -> anyhow::Result<Removal> {
    let declaration = declaration(&files.functions_config_file)?;
    let (found, loaded) = (folders::find(&files.user_scripts_path)?, loaded(node).await?);
    let changes = changes(&files.functions_config_file, declaration, &found, &loaded)?;
    Ok(Removal { node: node.name.clone(), changes, left: found.lookalikes })
}

fn declaration(path: &Path) -> anyhow::Result<Declaration> {
    Ok(match read_declaration(path)? {
        Some(content) if xml::is_ours(&content) => Declaration::Ours,
        Some(_) => Declaration::Foreign,
        None => Declaration::Absent,
    })
}

fn changes(
    functions: &Path,
    declaration: Declaration,
    found: &Folders,
    loaded: &[LoadedFunction],
) -> anyhow::Result<Vec<UninstallStep>> {
    let mut changes = Vec::new();
    match declaration {
        Declaration::Foreign => return Err(xml::not_ours(functions)),
        Declaration::Ours => changes.push(UninstallStep::RemoveFunctions { path: functions.to_owned() }),
        Declaration::Absent => {}
    }
    // Reloads without the file too, because an earlier run may have ended between the two steps.
    if declaration == Declaration::Ours || remaining(loaded).is_some() {
        changes.push(UninstallStep::ReloadFunctions);
    }
    let releases = found.releases.iter().chain(&found.empty);
    changes.extend(releases.map(|folder| UninstallStep::RemoveRelease { path: folder.path.clone() }));
    Ok(changes)
}

/// The first function that still runs, or may run, a posthouse program.
fn remaining(loaded: &[LoadedFunction]) -> Option<&LoadedFunction> {
    let named_as_ours = |name: &str| FUNCTIONS.iter().any(|function| function.name == name);
    loaded.iter().find(|function| match function.command {
        Some(_) => function.release().is_some(),
        None => named_as_ours(&function.name),
    })
}

/// Removes the functions of `removal` from `node`, and verifies with the node that they are gone.
///
/// Running queries keep their processes.
///
/// # Errors
/// Fails if the file can't be removed, another file declares a function that runs a posthouse
/// release, or the node can't be queried. All programs are then still in place. Safe to repeat.
pub(crate) async fn remove_functions(node: &Node, removal: &Removal) -> anyhow::Result<()> {
    if removal.changes.is_empty() {
        return Ok(());
    }
    for change in &removal.changes {
        match change {
            UninstallStep::RemoveFunctions { path } => folders::remove_file(path)?,
            UninstallStep::ReloadFunctions => node.execute(RELOAD).await?,
            UninstallStep::RemoveRelease { .. } => {}
        }
    }
    match remaining(&loaded(node).await?) {
        None => Ok(()),
        Some(function) => bail!(
            "node {} still has {}, which runs {:?}: remove the other file that declares it, then \
             run posthouse udf uninstall again",
            node.name,
            function.name,
            function.command.as_deref().unwrap_or("unknown")
        ),
    }
}

/// Removes the releases of `removal`, after [`remove_functions`] succeeded for every node that
/// shares the disk.
///
/// # Errors
/// Fails if a release can't be removed. Safe to repeat.
pub(crate) fn remove_releases(removal: &Removal) -> anyhow::Result<()> {
    removal.changes.iter().try_for_each(|change| match change {
        UninstallStep::RemoveRelease { path } => folders::remove(path),
        UninstallStep::RemoveFunctions { .. } | UninstallStep::ReloadFunctions => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use super::*;
    use crate::udf::folders::ReleaseFolder;

    const RELEASE: &str = "posthouse-0.1.0-00000001";
    const FILE: &str = "functions.xml";

    fn found(names: &[&str]) -> Folders {
        let folder = |name: &&str| ReleaseFolder {
            name: (*name).to_owned(),
            path: name.into(),
            written: SystemTime::UNIX_EPOCH,
        };
        Folders { releases: names.iter().map(folder).collect(), ..Folders::default() }
    }

    fn runs(name: &str, command: Option<&str>) -> LoadedFunction {
        LoadedFunction { name: name.to_owned(), command: command.map(str::to_owned), problem: String::new() }
    }

    fn planned(declaration: Declaration, names: &[&str], loaded: &[LoadedFunction]) -> Vec<String> {
        let changes = changes(Path::new(FILE), declaration, &found(names), loaded).expect("a plan");
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn functions_go_before_programs_and_nothing_is_left_to_do_afterwards() {
        let (file, folder) = (format!("remove {FILE}"), format!("remove {RELEASE}"));
        let ours = [runs("shardKey", Some(&format!("{RELEASE}/posthouse-udf shardKey")))];
        let theirs = [runs("theirs", Some("cat"))];
        assert_eq!(
            planned(Declaration::Ours, &[RELEASE], &ours),
            [file.as_str(), "reload functions", folder.as_str()]
        );
        // After a run that ended before the reload, and one that ended before the programs were
        // removed.
        assert_eq!(planned(Declaration::Absent, &[RELEASE], &ours), ["reload functions", folder.as_str()]);
        assert_eq!(planned(Declaration::Absent, &[RELEASE], &theirs), [folder.as_str()]);
        assert!(planned(Declaration::Absent, &[], &theirs).is_empty());
    }

    #[test]
    fn a_node_that_does_not_tell_commands_is_judged_by_names() {
        assert!(remaining(&[runs(FUNCTIONS[0].name, None)]).is_some());
        assert!(remaining(&[runs("theirs", None)]).is_none());
    }

    #[test]
    fn a_file_of_another_program_is_refused_by_name() {
        let disk = tempfile::tempdir().expect("a folder");
        let path = disk.path().join(FILE);
        assert_eq!(declaration(&path).expect("no file"), Declaration::Absent);
        fs::write(&path, xml::functions_xml("p").expect("xml")).expect("a file");
        assert_eq!(declaration(&path).expect("readable"), Declaration::Ours);
        fs::write(&path, b"<functions>\xff</functions>").expect("a file");
        let foreign = declaration(&path).expect("readable");
        let refused = changes(&path, foreign, &found(&[RELEASE]), &[]).expect_err("not ours").to_string();
        assert!(refused.contains(&path.display().to_string()), "{refused}");
    }
}
