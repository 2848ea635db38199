//! A change to a topic, and its text.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::retention::RETENTION;
use super::values::{bytes, shown};
use crate::kafka::{ConfigOrigin, NewTopic, TopicConfig};

/// A change to a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum TopicChange {
    /// The topic is missing.
    Create(NewTopic),
    /// The topic has too few partitions.
    AddPartitions {
        name: String,
        from: usize,
        /// The new total.
        to: usize,
    },
    /// The config has another value, or the value is not set on the topic.
    SetConfig {
        name: String,
        key: String,
        /// The effective config.
        from: TopicConfig,
        to: String,
    },
    /// The file no longer names the config, and pruning is on.
    ResetConfig {
        name: String,
        key: String,
        /// The effective config.
        from: TopicConfig,
    },
    /// The file marks the topic for deletion.
    Delete {
        name: String,
        /// Number of partitions.
        partitions: usize,
    },
}

/// A change with its side effects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    #[serde(flatten)]
    pub(crate) change: TopicChange,
    /// Side effects for an operator.
    pub(crate) warnings: Vec<String>,
    /// The desired value, if this is one of several steps towards it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) towards: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) frees: Option<Frees>,
}

/// Data that brokers reclaim by a change, as far as they report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frees {
    /// Messages older than the new retention.
    pub(crate) messages: u64,
    /// Approximate bytes on all brokers; `None` if the brokers do not report them.
    pub(crate) bytes: Option<u64>,
}

impl TopicChange {
    /// The topic of the change.
    pub(crate) fn topic(&self) -> &str {
        match self {
            Self::Create(NewTopic { name, .. })
            | Self::AddPartitions { name, .. }
            | Self::SetConfig { name, .. }
            | Self::ResetConfig { name, .. }
            | Self::Delete { name, .. } => name,
        }
    }
}

impl TopicChange {
    /// Whether brokers delete messages by the change: `Some` with the minimum age in milliseconds,
    /// or with `None` for all messages.
    pub(crate) fn deletes(&self) -> Option<Option<i64>> {
        match self {
            Self::Delete { .. } => Some(None),
            Self::SetConfig { key, from, to, .. } if key == RETENTION => {
                let to = to.parse::<i64>().ok().filter(|to| *to >= 0)?;
                let from = from.value.as_deref().and_then(|from| from.parse::<i64>().ok())?;
                (from < 0 || to < from).then_some(Some(to))
            }
            _ => None,
        }
    }
}

impl From<TopicChange> for Step {
    fn from(change: TopicChange) -> Self {
        Self { change, warnings: Vec::new(), towards: None, frees: None }
    }
}

impl fmt::Display for Frees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reclaims {} messages", self.messages)?;
        match self.bytes {
            Some(count) => write!(f, ", about {} on all brokers", bytes(count)),
            None => f.write_str("; the brokers report no sizes"),
        }
    }
}

impl fmt::Display for TopicChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(topic) => {
                let (name, partitions, copies) = (&topic.name, topic.partitions, topic.replication_factor);
                write!(f, "+ {name}: partitions {partitions}, replication factor {copies}")?;
                topic.configs.iter().try_for_each(|(key, value)| write!(f, ", {key} {}", shown(key, value)))
            }
            Self::AddPartitions { name, from, to } => write!(f, "~ {name}: partitions {from} → {to}"),
            Self::SetConfig { name, key, from, to } => {
                write!(f, "~ {name}: {key} {} → {}", current(key, from), shown(key, to))
            }
            Self::ResetConfig { name, key, from } => {
                write!(f, "~ {name}: {key} {} → left to the brokers", current(key, from))
            }
            Self::Delete { name, partitions } => {
                write!(f, "- {name}: deleted with all messages, partitions {partitions}")
            }
        }
    }
}

fn current(key: &str, config: &TopicConfig) -> String {
    let value = config.value.as_deref().map_or_else(|| "(hidden)".to_owned(), |value| shown(key, value));
    match config.source {
        ConfigOrigin::Topic => value,
        ConfigOrigin::Broker => format!("{value}, the brokers' own"),
        ConfigOrigin::Default => format!("{value}, Kafka's default"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deletes_is_told_from_what_does_not() {
        let set = |from: &str, to: &str| TopicChange::SetConfig {
            name: "a".to_owned(),
            key: RETENTION.to_owned(),
            from: TopicConfig { value: Some(from.to_owned()), source: ConfigOrigin::Topic },
            to: to.to_owned(),
        };
        assert_eq!(set("10", "5").deletes(), Some(Some(5)));
        assert_eq!(set("-1", "5").deletes(), Some(Some(5)));
        assert_eq!(set("5", "10").deletes(), None);
        assert_eq!(set("5", "-1").deletes(), None);
        assert_eq!(TopicChange::Delete { name: "a".to_owned(), partitions: 1 }.deletes(), Some(None));
    }
}
