//! Inserting blocks into shards: routing, throttling and retries.

mod stale_tokens;
mod throttle;
mod pending_insert;
mod route;
mod store;

pub use self::pending_insert::PendingInsert;
pub use self::route::{Destination, Route, RouteChoice, RouteError, Way, settle};
pub use self::stale_tokens::StaleTokens;
pub use self::store::{StoreError, Stored, store};
pub use self::throttle::{Pressure, Throttle, observe};
