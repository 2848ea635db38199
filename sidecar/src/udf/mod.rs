//! Our functions on the nodes: installed beside running ones, and proven against the server's own.

pub mod check;
mod folders;
pub mod golden;
pub mod install;
pub mod list;
mod loaded;
mod prune;
pub mod release;
pub mod uninstall;
pub mod xml;

use std::io;
use std::path::PathBuf;

use crate::node::NodeError;

pub use self::check::{Check, check};
pub use self::install::{FileState, Installed, install, prune};
pub use self::list::{Listed, list};
pub use self::release::Release;
pub use self::uninstall::{Removal, plan_removal, remove_functions, remove_releases};

const RELOAD: &str = include_str!("../../../sql/inspect/udf_reload.sql");

/// What can go wrong with functions.
#[derive(Debug, thiserror::Error)]
pub enum UdfError {
    /// The program can't be read.
    #[error("can't read the program {path}: build it, or give its place with --binary")]
    Program {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program does not run here, so it was installed nowhere.
    #[error("{path} does not serve {function}: {problem}: give the program of this posthouse with --binary")]
    Unfit {
        /// The program.
        path: PathBuf,
        /// The function it was tried with.
        function: &'static str,
        /// What it did instead.
        problem: String,
    },
    /// A file of a node can't be written.
    #[error(
        "can't write {path}: let this user write there, or correct user_scripts and functions in the config"
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of a node can't be read.
    #[error(
        "can't read {path}: let this user read there, or correct user_scripts and functions in the config"
    )]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of a node can't be removed.
    #[error("can't remove {path}: let this user write there, then run the same again")]
    Remove {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file that declares the functions is somebody else's, so nothing was written or removed.
    #[error(
        "{path} was not written by posthouse udf install: correct functions in the config, or move it away"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A node has a function that runs a program of ours, though our file is gone; the programs were left.
    #[error(
        "node {node} still has {function}, which runs {command:?}: remove the other file that declares it, then \
         run posthouse udf uninstall again"
    )]
    StillThere {
        /// The node.
        node: String,
        /// The function.
        function: String,
        /// What it runs.
        command: String,
    },
    /// The node did not take a function from our file.
    #[error("node {node} does not run {function} from our file: {problem}")]
    NotTaken {
        /// The node.
        node: String,
        /// The function.
        function: &'static str,
        /// What it does instead, and what to do.
        problem: String,
    },
    /// A function is installed and answers wrongly.
    #[error("node {node} answers with wrong values: see posthouse udf check")]
    Wrong {
        /// The node.
        node: String,
    },
    /// A statement failed, or the node is unreachable.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Our own templates are wrong.
    #[error("can't render a template: please report this")]
    Render(#[source] Box<dyn std::error::Error + Send + Sync>),
}
