//! UDFs on the nodes: installation, listing, checks and removal.

pub(crate) mod check;
mod folders;
pub(crate) mod golden;
pub(crate) mod install;
pub(crate) mod list;
mod loaded;
mod place;
mod prune;
pub(crate) mod release;
pub(crate) mod uninstall;
pub(crate) mod xml;

pub(crate) use self::check::{FunctionCheck, check};
pub(crate) use self::install::{Installed, install, prune};
pub(crate) use self::list::{Listed, list};
pub(crate) use self::loaded::function_names;
pub(crate) use self::place::FileState;
pub use self::release::Release;
pub(crate) use self::uninstall::{Removal, plan_removal, remove_functions, remove_releases};

const RELOAD: &str = include_str!("../../../sql/inspect/udf_reload.sql");
