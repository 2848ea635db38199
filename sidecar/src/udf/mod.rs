//! UDFs on the nodes: installation, listing, checks and removal.

pub(crate) mod check;
mod folders;
pub(crate) mod golden;
pub(crate) mod install;
pub(crate) mod list;
mod loaded;
mod prune;
pub(crate) mod release;
pub(crate) mod uninstall;
pub(crate) mod xml;

use std::io;
use std::path::PathBuf;

use crate::node::NodeError;

pub(crate) use self::check::{FunctionCheck, check};
pub(crate) use self::install::{FileState, Installed, install, prune};
pub(crate) use self::list::{Listed, list};
pub use self::release::Release;
pub(crate) use self::uninstall::{Removal, plan_removal, remove_functions, remove_releases};

const RELOAD: &str = include_str!("../../../sql/inspect/udf_reload.sql");

#[derive(Debug, thiserror::Error)]
pub enum UdfError {
    /// The program can't be read.
    #[error("can't read the program {path}: build it, or give its path with --binary")]
    Program {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The program fails its trial on this machine. It was not installed on any node.
    #[error("{path} does not serve {function}: {problem}: give the program of this posthouse with --binary")]
    Unfit {
        path: PathBuf,
        /// The function that the program was tried with.
        function: &'static str,
        problem: String,
    },
    /// A file of a node can't be written.
    #[error(
        "can't write {path}: let this user write there, or correct user_scripts_path and functions_config_file in the config"
    )]
    Write {
        /// File or folder.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file of a node can't be read.
    #[error(
        "can't read {path}: let this user read there, or correct user_scripts_path and functions_config_file in the config"
    )]
    Read {
        /// File or folder.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file of a node can't be removed.
    #[error("can't remove {path}: let this user write there, then run the same command again")]
    Remove {
        /// File or folder.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The declaration file was not written by posthouse, so no file was written or removed.
    #[error(
        "{path} was not written by posthouse udf install: correct functions in the config, or move it away"
    )]
    NotOurs { path: PathBuf },
    /// A node still has a function that runs a posthouse program, although posthouse's declaration
    /// is gone. The programs were not removed.
    #[error(
        "node {node} still has {function}, which runs {command:?}: remove the other file that declares it, then \
         run posthouse udf uninstall again"
    )]
    StillThere { node: String, function: String, command: String },
    /// The node did not load a function from posthouse's declaration.
    #[error("node {node} does not run {function} from our file: {problem}")]
    NotTaken {
        node: String,
        function: &'static str,
        /// The problem, with a hint.
        problem: String,
    },
    /// A function is installed and returns wrong values.
    #[error("node {node} answers with wrong values: see posthouse udf check")]
    Wrong { node: String },
    /// A statement failed, or the node is unreachable.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A built-in template is invalid.
    #[error("can't render a template: please report this")]
    Render(#[source] Box<dyn std::error::Error + Send + Sync>),
}
