//! Time zones for timestamps without one.

use std::str::FromStr;

use arrow_array::timezone::Tz;
use chrono::{DateTime, LocalResult, TimeZone};
use serde::Serialize;

use super::offset::offset;

const MICROS: i64 = 1_000_000;
/// Bytes of an offset with hours only, for example `+02`.
const HOURS: usize = 3;

/// A zone, and the rule for the hour that occurs twice in autumn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Zone {
    name: String,
    ambiguous: Ambiguous,
    #[serde(skip)]
    rules: Rules,
}

/// Rule for a local time that occurs twice because clocks were put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Ambiguous {
    /// Rejects the row.
    Reject,
    /// The first, before clocks were put back.
    Earlier,
    Later,
}

#[derive(Debug, Clone, Copy)]
enum Rules {
    Utc,
    Other(Tz),
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Utc, Self::Utc) | (Self::Other(_), Self::Other(_)))
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: "UTC".to_owned(), ambiguous: Ambiguous::Reject, rules: Rules::Utc }
    }
}

impl Zone {
    /// Parses a zone name or an offset (`Europe/Berlin`, `+02:00`).
    pub(crate) fn new(name: &str, ambiguous: Ambiguous) -> Result<Self, String> {
        let wrong = || "is not a time zone: give one such as \"Europe/Berlin\" or \"+02:00\"".to_owned();
        let rules = match name {
            "UTC" => Rules::Utc,
            // arrow parses +02:60 as +03:00.
            _ if name.starts_with(['+', '-']) && name.len() > HOURS && offset(name.as_bytes()).is_none() => {
                return Err(wrong());
            }
            _ => Rules::Other(Tz::from_str(name).map_err(|_| wrong())?),
        };
        Ok(Self { name: name.to_owned(), ambiguous, rules })
    }

    /// Whether local time equals UTC, so that [`Zone::utc`] changes no value.
    pub(crate) fn is_utc(&self) -> bool {
        matches!(self.rules, Rules::Utc)
    }

    /// Converts local time to UTC. Both are microseconds since 1970.
    pub(crate) fn utc(&self, local: i64) -> Result<i64, String> {
        let Rules::Other(zone) = self.rules else { return Ok(local) };
        // Only whole seconds pass through the zone's rules, because every offset is a whole number
        // of seconds.
        let (second, micros) = (local.div_euclid(MICROS), local.rem_euclid(MICROS));
        let Some(naive) = DateTime::from_timestamp(second, 0).map(|moment| moment.naive_utc()) else {
            return Err("is not a date".to_owned());
        };
        let second = match (zone.from_local_datetime(&naive), self.ambiguous) {
            (LocalResult::Single(moment), _)
            | (LocalResult::Ambiguous(moment, _), Ambiguous::Earlier)
            | (LocalResult::Ambiguous(_, moment), Ambiguous::Later) => moment.timestamp(),
            (LocalResult::Ambiguous(..), Ambiguous::Reject) => {
                return Err(format!(
                    "occurs twice in {} (clocks were put back): give ambiguous = \"earlier\" or \"later\" in the mapping",
                    self.name
                ));
            }
            (LocalResult::None, _) => {
                return Err(format!("does not exist in {} (clocks were put forward)", self.name));
            }
        };
        Ok(second * MICROS + micros)
    }
}
