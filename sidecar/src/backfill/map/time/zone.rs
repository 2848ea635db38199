//! Time zones for timestamps without one.

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use serde::Serialize;

use super::offset::offset;

const MICROS: i64 = 1_000_000;

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

#[derive(Debug, Clone, PartialEq)]
enum Rules {
    Utc,
    /// From the database in the binary, so that a mapping means the same on every machine.
    Other(TimeZone),
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
            _ if name.starts_with(['+', '-']) => Rules::Other(fixed(name).ok_or_else(wrong)?),
            _ => Rules::Other(TimeZone::get(name).map_err(|_| wrong())?),
        };
        Ok(Self { name: name.to_owned(), ambiguous, rules })
    }

    /// Whether local time equals UTC, so that [`Zone::utc`] changes no value.
    pub(crate) fn is_utc(&self) -> bool {
        matches!(self.rules, Rules::Utc)
    }

    /// Converts local time to UTC. Both are microseconds since 1970.
    pub(crate) fn utc(&self, local: i64) -> Result<i64, String> {
        let Rules::Other(zone) = &self.rules else { return Ok(local) };
        // Only whole seconds pass through the zone's rules, because every offset is a whole number
        // of seconds.
        let (second, micros) = (local.div_euclid(MICROS), local.rem_euclid(MICROS));
        let Ok(moment) = Timestamp::from_second(second) else {
            return Err("is not a date".to_owned());
        };
        let local = Offset::UTC.to_datetime(moment);
        let offset = match (zone.to_ambiguous_timestamp(local).offset(), self.ambiguous) {
            (AmbiguousOffset::Unambiguous { offset }, _)
            | (AmbiguousOffset::Fold { before: offset, .. }, Ambiguous::Earlier)
            | (AmbiguousOffset::Fold { after: offset, .. }, Ambiguous::Later) => offset,
            (AmbiguousOffset::Fold { .. }, Ambiguous::Reject) => {
                return Err(format!(
                    "occurs twice in {} (clocks were put back): give ambiguous = \"earlier\" or \"later\" in the mapping",
                    self.name
                ));
            }
            (AmbiguousOffset::Gap { .. }, _) => {
                return Err(format!("does not exist in {} (clocks were put forward)", self.name));
            }
        };
        Ok((second - i64::from(offset.seconds())) * MICROS + micros)
    }
}

/// Zone of an offset such as `+02:00`, `+0200` or `+02`.
fn fixed(name: &str) -> Option<TimeZone> {
    let seconds = offset(name.as_bytes()).or_else(|| offset(format!("{name}00").as_bytes()))?;
    Offset::from_seconds(i32::try_from(seconds).ok()?).ok().map(TimeZone::fixed)
}
