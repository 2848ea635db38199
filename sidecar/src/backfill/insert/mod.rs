//! Inserting blocks into shards: routing, throttling and retries.

mod ghosts;
mod pace;
mod parcel;
mod route;
mod store;

pub use self::ghosts::Ghosts;
pub use self::pace::{Pace, Pressure, observe};
pub use self::parcel::Parcel;
pub use self::route::{Destination, Route, RouteChoice, RouteError, Way, settle};
pub use self::store::{StoreError, Stored, store};
