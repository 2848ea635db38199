//! Target position of a reset, parsed from the command line.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::duration;

/// Position at which a group continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// First message of each partition.
    Earliest,
    /// Next message of each partition.
    Latest,
    /// First message that is not older than a time, in milliseconds since 1970.
    Time(i64),
    /// First message that is not older than this age.
    Ago(Duration),
    /// Offsets by partition. All other partitions keep theirs.
    Offsets(BTreeMap<i32, i64>),
}

/// A text that is no valid target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "give earliest, latest, a time (2026-11-01T00:00:00Z), how long ago (24h), or offsets by partition (0:123,1:456)"
)]
pub(crate) struct TargetError;

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let offsets = || text.split(',').map(offset).collect::<Option<Vec<_>>>();
        if let Some(pairs) = offsets() {
            let offsets: BTreeMap<i32, i64> = pairs.iter().copied().collect();
            // A partition that is given twice is a mistake.
            return if offsets.len() == pairs.len() { Ok(Self::Offsets(offsets)) } else { Err(TargetError) };
        }
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(Self::Time(time.as_millisecond()));
        }
        duration::parse(text).map(Self::Ago).ok_or(TargetError)
    }
}

fn offset(pair: &str) -> Option<(i32, i64)> {
    let (partition, offset) = pair.trim().split_once(':')?;
    let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
    (partition >= 0 && offset >= 0).then_some((partition, offset))
}

impl Target {
    /// The time of the target, in milliseconds since 1970; `None` for targets without one.
    pub(crate) fn time(&self, now: i64) -> Option<i64> {
        match self {
            Self::Time(time) => Some(*time),
            Self::Ago(ago) => Some(now.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Time(time) => match jiff::Timestamp::from_millisecond(*time) {
                Ok(time) => write!(f, "{time}"),
                Err(_) => write!(f, "{time} ms"),
            },
            Self::Ago(ago) => write!(f, "{} ago", duration::shown(*ago)),
            Self::Offsets(offsets) => {
                let pairs: Vec<String> = offsets.iter().map(|(part, at)| format!("{part}:{at}")).collect();
                f.write_str(&pairs.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_told_from_the_others() {
        let right = [
            ("earliest", Target::Earliest),
            ("latest", Target::Latest),
            ("1970-01-01T00:00:01Z", Target::Time(1000)),
            ("1970-01-01T02:00:01+02:00", Target::Time(1000)),
            ("24h", Target::Ago(Duration::from_secs(86_400))),
            ("1d 2h", Target::Ago(Duration::from_secs(93_600))),
            ("0:5, 3:7", Target::Offsets(BTreeMap::from([(0, 5), (3, 7)]))),
        ];
        for (text, target) in right {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
        for text in ["", "5", "soon", "0:5,0:6", "0:-1", "-1:0", "0:5,", "2026-11-01", "a:1"] {
            assert_eq!(text.parse::<Target>(), Err(TargetError), "{text}");
        }
    }

    #[test]
    fn a_target_is_written_as_it_is_read() {
        for text in ["earliest", "latest", "2026-11-01T00:00:00Z", "0:5,3:7"] {
            assert_eq!(text.parse::<Target>().expect("right").to_string(), text);
        }
        assert_eq!(Target::Ago(Duration::from_secs(60)).time(100_000), Some(40_000));
    }
}
