//! Refusals of a reset, each with a hint.

use std::fmt;

use crate::kafka::{OffsetBounds, TopicPartition};

/// Reason to refuse a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResetRefusal {
    /// The group is posthouse's own lock.
    Lock,
    /// A node does not answer, and may read in the group.
    Silent(String),
    /// The group has other consumers.
    Members(Vec<String>),
    /// The brokers don't report the group's members.
    Untold,
    /// Kafka tables outside the schema read in the group.
    Tables(Vec<String>),
    /// The schema differs in more than missing Kafka tables.
    Drift(String),
    /// A Kafka table of the schema is detached.
    Detached(String),
    /// Keeper has a replica of a node that is not in the config.
    Stray(String),
    /// No topic of the group is known.
    Unknown,
    /// Offsets are given, and the group has more than one topic.
    Topics(Vec<String>),
    /// The time is in the future.
    Future,
    /// The topic does not exist.
    NoTopic(String),
    /// The partition does not exist; with the topic's partition count.
    NoPartition(String, i32, usize),
    /// No broker leads the partition.
    NoLeader(TopicPartition),
    /// The offset is outside the partition's bounds.
    OutOfBounds(TopicPartition, i64, OffsetBounds),
}

impl fmt::Display for ResetRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock => write!(f, "it is the lock of posthouse topics, and has no offsets"),
            Self::Silent(said) => {
                write!(f, "a node may read in the group and does not answer: {said}")
            }
            Self::Members(members) => {
                write!(f, "it is being read by {}: stop these consumers first", members.join(", "))
            }
            Self::Untold => write!(
                f,
                "the brokers don't report its members: it is a share or streams group, or this user lacks the right Describe \
                 on the group or one of its topics; grant it, or stop its consumers and use \
                 kafka-consumer-groups.sh --reset-offsets"
            ),
            Self::Tables(tables) => write!(
                f,
                "Kafka tables outside the schema read in it: {}; drop them on every node (DROP TABLE … SYNC), reset, \
                 and create them again: with offsets in Keeper they take the group's offsets only when they are created",
                tables.join(", ")
            ),
            Self::Drift(drift) => write!(f, "the schema differs: {drift}; run posthouse schema apply first"),
            Self::Detached(table) => {
                write!(f, "{table} is detached and its offsets stay in Keeper: ATTACH TABLE it first")
            }
            Self::Stray(replica) => write!(
                f,
                "Keeper knows the replica {replica}, which no node has, so that the old offsets would stay: remove it there \
                 first if its node is gone for good"
            ),
            Self::Unknown => write!(f, "the group is unknown: name a topic with --topic to begin there"),
            Self::Topics(topics) => {
                write!(
                    f,
                    "offsets apply to one topic, and it has {}: name one with --topic",
                    topics.join(", ")
                )
            }
            Self::Future => write!(f, "the time is in the future: use latest"),
            Self::NoTopic(topic) => {
                write!(f, "topic {topic} does not exist: see posthouse topics plan")
            }
            Self::NoPartition(topic, partition, count) => {
                write!(f, "topic {topic} has no partition {partition}: its {count} partitions start at 0")
            }
            Self::NoLeader(place) => {
                write!(
                    f,
                    "no broker leads {} partition {}: start the brokers that have it",
                    place.topic, place.partition
                )
            }
            Self::OutOfBounds(place, offset, bounds) => write!(
                f,
                "{} partition {} has the offsets {} to {}, not {offset}",
                place.topic, place.partition, bounds.first, bounds.end
            ),
        }
    }
}

/// All refusals of a reset; no change was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusals {
    pub(crate) group: String,
    /// At least one.
    pub(crate) refusals: Vec<ResetRefusal>,
}

impl std::error::Error for Refusals {}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {} is not reset; no change was made", self.group)?;
        self.refusals.iter().try_for_each(|refusal| write!(f, "\n  {refusal}"))
    }
}
