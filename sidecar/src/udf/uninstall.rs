//! Takes our functions from a node: first the functions, proven gone, then the programs that they ran.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use posthouse_udf::functions::FUNCTIONS;
use serde::Serialize;

use super::folders::{self, Folders};
use super::loaded::{Loaded, loaded};
use super::{RELOAD, UdfError, xml};
use crate::config::NodeFiles;
use crate::node::Node;

/// What is to be done for one node, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// The node.
    pub node: String,
    /// What changes; empty if nothing of ours is there.
    pub changes: Vec<Change>,
    /// Folders that are named as our releases are, but don't hold our program alone: they stay.
    pub left: Vec<PathBuf>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// The file that declares the functions goes.
    RemoveFunctions {
        /// The file.
        path: PathBuf,
    },
    /// The node reads its function files again.
    ReloadFunctions,
    /// A program goes, with its folder.
    RemoveRelease {
        /// The folder.
        path: PathBuf,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveFunctions { path } | Self::RemoveRelease { path } => {
                write!(f, "remove {}", path.display())
            }
            Self::ReloadFunctions => f.write_str("reload functions"),
        }
    }
}

/// Whose the file is that declares the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declaration {
    Absent,
    Ours,
    Foreign,
}

/// Looks at `node`, whose disk is at `files`, and says what is to be removed; changes nothing.
///
/// # Errors
/// [`UdfError::NotOurs`] if somebody else wrote the functions' file, [`UdfError::Read`] for what can't be read, and
/// [`UdfError::Node`] if the node can't be asked.
pub async fn plan_removal(node: &Node, files: &NodeFiles) -> Result<Removal, UdfError> {
    let declaration = declaration(&files.functions)?;
    let (found, loaded) = (folders::find(&files.user_scripts)?, loaded(node).await?);
    let changes = changes(&files.functions, declaration, &found, &loaded)?;
    Ok(Removal { node: node.name.clone(), changes, left: found.lookalikes })
}

fn declaration(path: &Path) -> Result<Declaration, UdfError> {
    match fs::read(path) {
        Ok(content) if xml::is_ours(&content) => Ok(Declaration::Ours),
        Ok(_) => Ok(Declaration::Foreign),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Declaration::Absent),
        Err(source) => Err(UdfError::Read { path: path.to_owned(), source }),
    }
}

fn changes(
    functions: &Path,
    declaration: Declaration,
    found: &Folders,
    loaded: &[Loaded],
) -> Result<Vec<Change>, UdfError> {
    let mut changes = Vec::new();
    match declaration {
        Declaration::Foreign => return Err(UdfError::NotOurs { path: functions.to_owned() }),
        Declaration::Ours => changes.push(Change::RemoveFunctions { path: functions.to_owned() }),
        Declaration::Absent => {}
    }
    // Also without the file: a run before this one may have ended between the two.
    if declaration == Declaration::Ours || remaining(loaded).is_some() {
        changes.push(Change::ReloadFunctions);
    }
    let releases = found.releases.iter();
    changes.extend(releases.map(|folder| Change::RemoveRelease { path: folder.path.clone() }));
    Ok(changes)
}

/// The first function that still runs, or may run, a program of ours.
fn remaining(loaded: &[Loaded]) -> Option<&Loaded> {
    let named_as_ours = |name: &str| FUNCTIONS.iter().any(|function| function.name == name);
    loaded.iter().find(|function| match function.command {
        Some(_) => function.release().is_some(),
        None => named_as_ours(&function.name),
    })
}

/// Does the first half of `removal`: `node` has no function of ours afterwards, and said so itself.
///
/// Queries that are running keep the processes they have.
///
/// # Errors
/// [`UdfError::Remove`] for the file, [`UdfError::StillThere`] if another file declares a function that runs a
/// release of ours, [`UdfError::Node`] if the node can't be asked. All programs are there then; safe to repeat.
pub async fn remove_functions(node: &Node, removal: &Removal) -> Result<(), UdfError> {
    if removal.changes.is_empty() {
        return Ok(());
    }
    for change in &removal.changes {
        match change {
            Change::RemoveFunctions { path } => folders::remove_file(path)?,
            Change::ReloadFunctions => node.execute(RELOAD).await?,
            Change::RemoveRelease { .. } => {}
        }
    }
    match remaining(&loaded(node).await?) {
        None => Ok(()),
        Some(function) => Err(UdfError::StillThere {
            node: node.name.clone(),
            function: function.name.clone(),
            command: function.command.clone().unwrap_or_else(|| "unknown".to_owned()),
        }),
    }
}

/// Does the second half of `removal`, once [`remove_functions`] succeeded for every node that shares the disk.
///
/// # Errors
/// [`UdfError::Remove`]; safe to repeat.
pub fn remove_releases(removal: &Removal) -> Result<(), UdfError> {
    removal.changes.iter().try_for_each(|change| match change {
        Change::RemoveRelease { path } => folders::remove(path),
        Change::RemoveFunctions { .. } | Change::ReloadFunctions => Ok(()),
    })
}

#[cfg(test)]
mod tests {
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
        Folders { releases: names.iter().map(folder).collect(), lookalikes: Vec::new() }
    }

    fn runs(name: &str, command: Option<&str>) -> Loaded {
        Loaded { name: name.to_owned(), command: command.map(str::to_owned), problem: String::new() }
    }

    fn planned(declaration: Declaration, names: &[&str], loaded: &[Loaded]) -> Vec<String> {
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
        // After a run that ended before the reload, and one that ended before the programs went.
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
    fn a_file_of_somebody_else_is_refused_by_name() {
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
