//! Arrow batches as events, by a mapping that is checked before the first row.
//!
//! A mapping is read ([`Mapping`]), bound to a file's schema at plan time ([`Mapping::bind`]: every fault at once), and maps
//! batch after batch ([`Mapper::map`]): good rows are events, bad rows are rejects with every reason. What is decided
//! here, where a message from Kafka leaves no question:
//!
//! - `uuid`, `event`, `timestamp`, `team_id` and `distinct_id` are required: null is a reject, unless the mapping gives a
//!   `default`. Empty texts are values.
//! - Null `properties`, `elements_hash` and `elements_chain` are empty, as `events_mv` has them. A null `created_at` is the
//!   row's timestamp: there is no message whose time could stand for it. A null `_timestamp` is 0, so that the same
//!   event from Kafka is the later version.
//! - Texts are UTF-8, or the row is a reject, as a message is that is not UTF-8. `properties` is not parsed.
//! - Texts of timestamps follow `sql/events/message.sql`: full date and time, years 1900 to 2299, up to nine digits behind
//!   the second. What is finer than a microsecond is cut off, in texts and in timestamps alike.
//! - Timestamps, dates and texts that have no zone are in the mapping's (UTC unless it says so). A local time that does not
//!   exist is a reject; one that comes twice is too, unless the mapping says which.
//! - Numbers are moments only by the mapping's `unit`, and a team only if they are whole: nothing is rounded.

mod error;
mod reject;
mod time;
mod mapping;
mod columns;
mod mapper;
mod quarantine;

pub use self::error::MappingError;
pub use self::mapper::{Mapped, Mapper};
pub use self::mapping::Mapping;
pub use self::mapping::file::PRESETS;
pub use self::quarantine::{Quarantine, QuarantineError};
pub use self::reject::Reject;

#[cfg(test)]
mod tests;
