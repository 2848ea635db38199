//! People as the application keeps them in PostgreSQL: the tables, lives that change them, and what of it a node shows.

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
