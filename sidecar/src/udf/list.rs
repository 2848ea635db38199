//! Releases and functions of a node, with their states.

use std::time::SystemTime;

use posthouse_udf::functions::FUNCTIONS;
use serde::{Serialize, Serializer};

use super::folders::{self, ReleaseFolder};
use super::loaded::{LoadedFunction, loaded};
use crate::node::Node;

/// UDFs of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    pub(crate) node: String,
    /// Location of the node's disk. Without access to it, `releases` has only those named by
    /// functions.
    pub(crate) disk: Disk,
    /// Newest first.
    pub(crate) releases: Vec<ListedRelease>,
    /// All posthouse functions, and other functions that run a posthouse release.
    pub(crate) functions: Vec<ListedFunction>,
}

/// Location of a node's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Disk {
    /// On this machine, according to the config.
    Here,
    /// The config has no path.
    Elsewhere,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ListedRelease {
    /// Name of the folder below `user_scripts`.
    pub(crate) release: String,
    pub(crate) state: ReleaseState,
    /// Modification time of the program, if this machine has it. In JSON: seconds since 1970 in
    /// UTC.
    #[serde(rename = "written_unix_s", serialize_with = "unix_seconds")]
    pub(crate) written: Option<SystemTime>,
    /// Functions that run the release.
    pub(crate) functions: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReleaseState {
    /// Functions run it.
    Running,
    /// It is on the disk, and no function runs it.
    Idle,
    /// Functions name it, but it is missing from the disk, so their queries fail.
    Lost,
    /// The node is too old to report it.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ListedFunction {
    /// Name in queries.
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) state: FunctionState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum FunctionState {
    /// It runs a posthouse release.
    Running {
        release: String,
    },
    /// It runs another command.
    Foreign {
        command: String,
    },
    /// The node failed to load it.
    Failed {
        problem: String,
    },
    /// The node has it but is too old to report its command.
    Unknown,
    Missing,
}

/// Reads the disk of `node`, if it is on this machine, and queries the node's functions.
///
/// # Errors
/// Fails if the folder can't be read or the node can't be queried.
pub(crate) async fn list(node: &Node) -> anyhow::Result<Listed> {
    let found = match &node.files {
        Some(files) => Some(folders::find(&files.user_scripts_path)?.releases),
        None => None,
    };
    let loaded = loaded(node).await?;
    Ok(Listed {
        node: node.name.clone(),
        disk: if found.is_some() { Disk::Here } else { Disk::Elsewhere },
        releases: releases(found.as_deref(), &loaded),
        functions: functions(&loaded),
    })
}

/// Releases on the disk, followed by releases that only functions name.
fn releases(found: Option<&[ReleaseFolder]>, loaded: &[LoadedFunction]) -> Vec<ListedRelease> {
    let running = |release: &str| -> Vec<String> {
        let functions = loaded.iter().filter(|function| function.release() == Some(release));
        functions.map(|function| function.name.clone()).collect()
    };
    let mut releases = Vec::new();
    for folder in found.unwrap_or_default() {
        let functions = running(&folder.name);
        let state = match functions.is_empty() {
            false => ReleaseState::Running,
            true if loaded.iter().any(|function| function.command.is_none()) => ReleaseState::Unknown,
            true => ReleaseState::Idle,
        };
        let (release, written) = (folder.name.clone(), Some(folder.written));
        releases.push(ListedRelease { release, state, written, functions });
    }
    let state = if found.is_some() { ReleaseState::Lost } else { ReleaseState::Running };
    for release in loaded.iter().filter_map(LoadedFunction::release) {
        if releases.iter().all(|listed| listed.release != release) {
            let functions = running(release);
            releases.push(ListedRelease { release: release.to_owned(), state, written: None, functions });
        }
    }
    releases
}

/// Every function of the registry, followed by others that run a posthouse release.
fn functions(loaded: &[LoadedFunction]) -> Vec<ListedFunction> {
    let ours = FUNCTIONS.iter().map(|function| function.name);
    let others = loaded.iter().filter(|function| function.release().is_some());
    let others =
        others.map(|function| function.name.as_str()).filter(|name| ours.clone().all(|our| our != *name));
    let state =
        |name: &str| loaded.iter().find(|found| found.name == name).map_or(FunctionState::Missing, state);
    ours.clone()
        .chain(others)
        .map(|name| ListedFunction { name: name.to_owned(), state: state(name) })
        .collect()
}

fn state(function: &LoadedFunction) -> FunctionState {
    match (&function.command, function.release()) {
        _ if !function.problem.is_empty() => FunctionState::Failed { problem: function.problem.clone() },
        (_, Some(release)) => FunctionState::Running { release: release.to_owned() },
        (Some(command), None) => FunctionState::Foreign { command: command.clone() },
        (None, None) => FunctionState::Unknown,
    }
}

fn unix_seconds<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let seconds = |time: &SystemTime| Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs());
    time.as_ref().and_then(seconds).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "posthouse-0.2.0-00000002";
    const OLD: &str = "posthouse-0.1.0-00000001";

    fn folder(name: &str) -> ReleaseFolder {
        ReleaseFolder { name: name.to_owned(), path: name.into(), written: SystemTime::UNIX_EPOCH }
    }

    fn runs(name: &str, command: Option<&str>, problem: &str) -> LoadedFunction {
        LoadedFunction {
            name: name.to_owned(),
            command: command.map(str::to_owned),
            problem: problem.to_owned(),
        }
    }

    fn states(found: Option<&[ReleaseFolder]>, loaded: &[LoadedFunction]) -> Vec<(String, ReleaseState)> {
        releases(found, loaded).into_iter().map(|listed| (listed.release, listed.state)).collect()
    }

    #[test]
    fn a_release_is_what_the_functions_make_of_it() {
        let loaded = [runs("a", Some(&format!("{NEW}/posthouse-udf a")), ""), runs("b", Some("cat"), "")];
        let is = |name: &str, state| (name.to_owned(), state);
        let both = [folder(NEW), folder(OLD)];
        assert_eq!(
            states(Some(&both), &loaded),
            [is(NEW, ReleaseState::Running), is(OLD, ReleaseState::Idle)]
        );
        let old = [folder(OLD)];
        assert_eq!(states(Some(&old), &loaded), [is(OLD, ReleaseState::Idle), is(NEW, ReleaseState::Lost)]);
        assert_eq!(states(None, &loaded), [is(NEW, ReleaseState::Running)]);
        assert_eq!(states(Some(&old), &[runs("a", None, "")]), [is(OLD, ReleaseState::Unknown)]);
        assert!(states(None, &[]).is_empty());
    }

    #[test]
    fn every_function_has_a_state_and_those_of_others_stay_out() {
        let first = FUNCTIONS[0].name;
        let state_of = |loaded: &LoadedFunction| functions(std::slice::from_ref(loaded)).remove(0).state;
        let command = format!("{OLD}/posthouse-udf {first}");
        assert_eq!(
            state_of(&runs(first, Some(&command), "")),
            FunctionState::Running { release: OLD.to_owned() }
        );
        assert_eq!(
            state_of(&runs(first, Some("cat"), "")),
            FunctionState::Foreign { command: "cat".to_owned() }
        );
        assert_eq!(
            state_of(&runs(first, Some(&command), "broken")),
            FunctionState::Failed { problem: "broken".to_owned() }
        );
        assert_eq!(state_of(&runs(first, None, "")), FunctionState::Unknown);
        assert_eq!(state_of(&runs("theirs", Some("cat"), "")), FunctionState::Missing);

        let listed = functions(&[runs("theirs", Some("cat"), ""), runs("retired", Some(&command), "")]);
        let names: Vec<_> =
            listed.iter().skip(FUNCTIONS.len()).map(|function| function.name.as_str()).collect();
        assert_eq!(names, ["retired"]);
    }
}
