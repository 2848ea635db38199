//! Conversion of Arrow batches to events by a mapping.
//!
//! A mapping is parsed ([`Mapping`]), bound to a file's schema at plan time ([`Mapping::bind`]
//! reports all errors at once), and applied to each batch ([`Mapper::map`]). Valid rows become
//! events. Invalid rows become rejects with all their reasons. The rules where Parquet allows more
//! than a message from Kafka:
//!
//! - `uuid`, `event`, `timestamp`, `team_id` and `distinct_id` are required. A null is rejected
//!   unless the mapping gives a `default`. Empty strings are values.
//! - Null `properties`, `elements_hash` and `elements_chain` become empty, as in `events_mv`. A
//!   null `created_at` becomes the row's timestamp, because a row has no message time. A null
//!   `_timestamp` becomes 0, so that the same event from Kafka is the later version.
//! - Strings must be UTF-8, like messages. Other rows are rejected. `properties` is not parsed.
//! - String timestamps follow `sql/events/message.sql`: full date and time, years 1900 to 2299, up
//!   to nine fractional digits. Digits beyond microseconds are cut off, in strings and timestamps
//!   alike. Further forms that databases write are accepted too: see `time::written`.
//! - Of several columns, the first value that is not null counts. Columns that the file lacks are
//!   looked for in its path, as in `team_id=7/`.
//! - Ids are text, whole numbers (also as decimals and floats), UUIDs or bytes of a fixed length.
//! - Timestamps, dates and strings without a zone use the mapping's zone (default UTC). A local
//!   time that does not exist is rejected. A local time that occurs twice is rejected unless the
//!   mapping selects one of the two.
//! - Numbers are timestamps only with the mapping's `unit`, and teams only if they are whole.
//!   Numbers are never rounded.
//! - Columns beyond the core follow the rules for fields of messages. An enumeration may be given
//!   by its numbers too, and a float may be rounded.

mod error;
mod reject;
mod time;
mod mapping;
mod columns;
mod mapper;
mod quarantine;

pub(crate) use self::error::MappingError;
pub(crate) use self::mapper::Mapper;
pub(crate) use self::mapping::Mapping;
pub(crate) use self::mapping::file::PRESETS;
pub(crate) use self::mapping::unread::unread_columns;
pub(crate) use self::quarantine::{Quarantine, cant_write};
pub(crate) use self::reject::Reject;

#[cfg(test)]
mod tests;
