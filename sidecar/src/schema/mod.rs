//! The schema of every node, kept as the config wants it: `objects → render → observe → plan → apply`.

mod objects;

mod apply;
mod cluster;
mod definition;
mod observe;
mod plan;
mod render;
mod steps;
mod stops;
mod upgrades;

pub use self::apply::{ApplyError, StepError, apply};
pub use self::cluster::ClusterError;
pub(crate) use self::cluster::differences as cluster_differences;
pub use self::objects::{OBJECTS, Object, Role, Section};
pub use self::observe::{ObserveError, observe};
pub use self::plan::{Action, Alteration, Change, Difference, Plan};
pub use self::render::{Statement, render};
pub use self::steps::{Step, steps};
pub use self::stops::stops;
