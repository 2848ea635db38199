//! Time zones for timestamps that have none of their own.

use std::str::FromStr;

use arrow_array::timezone::Tz;
use chrono::{DateTime, LocalResult, TimeZone};
use serde::Serialize;

use super::offset::offset;

const MICROS: i64 = 1_000_000;
/// Bytes of an offset of hours alone, such as +02.
const HOURS: usize = 3;

/// A zone, and what to make of the hour that comes twice in autumn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Zone {
    name: String,
    ambiguous: Ambiguous,
    #[serde(skip)]
    rules: Rules,
}

/// Which of two instants a local time means when clocks were put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Ambiguous {
    /// None: the row is a reject.
    Reject,
    /// The first, before clocks were put back.
    Earlier,
    /// The second.
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
    /// The zone `name` (`Europe/Berlin`, `+02:00`).
    pub(crate) fn new(name: &str, ambiguous: Ambiguous) -> Result<Self, String> {
        let wrong = || "is no time zone: give one such as \"Europe/Berlin\" or \"+02:00\"".to_owned();
        let rules = match name {
            "UTC" => Rules::Utc,
            // arrow takes +02:60 for +03:00.
            _ if name.starts_with(['+', '-']) && name.len() > HOURS && offset(name.as_bytes()).is_none() => {
                return Err(wrong());
            }
            _ => Rules::Other(Tz::from_str(name).map_err(|_| wrong())?),
        };
        Ok(Self { name: name.to_owned(), ambiguous, rules })
    }

    /// Whether local time is UTC, so that [`Zone::utc`] changes nothing.
    pub(crate) fn is_utc(&self) -> bool {
        matches!(self.rules, Rules::Utc)
    }

    /// The instant of a local time; both are microseconds since 1970.
    pub(crate) fn utc(&self, local: i64) -> Result<i64, String> {
        let Rules::Other(zone) = self.rules else { return Ok(local) };
        // Only whole seconds go through the zone's rules: every offset is one.
        let (second, micros) = (local.div_euclid(MICROS), local.rem_euclid(MICROS));
        let Some(naive) = DateTime::from_timestamp(second, 0).map(|moment| moment.naive_utc()) else {
            return Err("is no date".to_owned());
        };
        let second = match (zone.from_local_datetime(&naive), self.ambiguous) {
            (LocalResult::Single(moment), _)
            | (LocalResult::Ambiguous(moment, _), Ambiguous::Earlier)
            | (LocalResult::Ambiguous(_, moment), Ambiguous::Later) => moment.timestamp(),
            (LocalResult::Ambiguous(..), Ambiguous::Reject) => {
                return Err(format!(
                    "comes twice in {} (clocks were put back): give ambiguous = \"earlier\" or \"later\" in the mapping",
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
