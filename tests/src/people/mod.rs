//! Person databases for tests: the application's tables, workloads, and comparison.

mod change;
mod difference;
mod lives;
mod properties;
mod town;
mod truth;

pub use change::Kind;
pub use difference::{Differences, differences};
pub use lives::{Lives, Tally};
pub use town::{Deletion, Identity, Layout, Rules, Town};
pub use truth::{DistinctIds, People, Person, Persons, on_node, on_nodes};
