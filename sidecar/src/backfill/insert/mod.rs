//! Inserting blocks into shards: routing, throttling and retries.

mod stale_tokens;
mod throttle;
mod ledger_answer;
mod pending_insert;
mod route;
mod store;

pub(crate) use self::ledger_answer::LedgerAnswer;
pub(crate) use self::pending_insert::PendingInsert;
pub(crate) use self::route::{Destination, Route, RouteChoice, settle};
pub(crate) use self::stale_tokens::StaleTokens;
pub(crate) use self::store::{AFTER_UNDO, StoreError, Stored, store};
pub(crate) use self::throttle::{Throttle, observe};
