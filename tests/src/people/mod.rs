//! Person databases for tests: the application's tables, workloads, and comparison.

mod change;
mod difference;
mod workload;
mod properties;
mod database;
mod truth;

pub use change::Kind;
pub use database::{Deletion, Identity, Layout, PersonDatabase, Rules};
pub use difference::{Differences, differences};
pub use truth::{DistinctIds, People, Person, Persons, on_node, on_nodes};
pub use workload::{PersonWorkload, Tally};
