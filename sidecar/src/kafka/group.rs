//! A consumer group with its members.

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Kafka's name of the state: `Stable`, `Empty`, `PreparingRebalance`, `Dead`, …
    pub(crate) state: String,
    pub(crate) members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Member {
    /// Member id, assigned by the group.
    pub(crate) id: String,
    /// Client id, chosen by the consumer.
    pub(crate) client: String,
    /// Address that it connects from.
    pub(crate) host: String,
    /// Assigned partitions by topic; `None` if the assignment can't be decoded.
    pub(crate) assigned: Option<Vec<(String, Vec<i32>)>>,
}

impl Group {
    /// Whether the brokers don't report its members: they list a group of another protocol, and
    /// describe it as dead.
    pub(crate) fn is_unreported(&self) -> bool {
        self.state == "Dead"
    }
}
