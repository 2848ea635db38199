//! What a stack is made of: shards, replicas, brokers, PostgreSQL, and what its nodes have beyond the defaults.

use std::collections::BTreeMap;

use anyhow::ensure;

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackSpec {
    /// The shards of the cluster, in the order of `remote_servers`.
    pub shards: Vec<ShardSpec>,
    /// Apache Kafka brokers; the first is the controller too.
    pub brokers: usize,
    /// Who the brokers let in beside everybody at their open door: see [`StackSpec::guarded`].
    pub users: Vec<User>,
    /// Whether there is a PostgreSQL.
    pub postgres: bool,
    /// The same for every ClickHouse node.
    pub nodes: NodeOptions,
}

/// A user of the brokers' guarded door, who may do what rules of the brokers allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: &'static str,
    /// The password.
    pub password: &'static str,
}

/// One shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardSpec {
    /// Its share of the rows, against the sum of all weights.
    pub weight: u32,
    /// ClickHouse nodes that hold it.
    pub replicas: usize,
}

/// What a ClickHouse node has beyond the defaults of the stack; a later value replaces an earlier or default
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) merge_tree: BTreeMap<String, String>,
    pub(crate) xml: Vec<String>,
    pub(crate) users_xml: Vec<String>,
    pub(crate) profiles_xml: Vec<String>,
    pub(crate) fetch_bytes: u32,
}

/// One answer of the broker, for one partition: a block of 65,536 messages of 400 bytes, which is what they have when
/// compressed. Two partitions fit into librdkafka's and the broker's default limits (50 and 55 MiB). A block that is
/// read again after a crash must come back in one poll, and so in one answer.
const FETCH_BYTES: u32 = 25 << 20;

impl Default for StackSpec {
    /// Two shards of weights 1 and 3, so that a forgotten weight shows, and one broker.
    fn default() -> Self {
        Self::sharded(&[1, 3])
    }
}

impl StackSpec {
    /// One shard per weight, one replica each, and one broker.
    pub fn sharded(weights: &[u32]) -> Self {
        Self {
            shards: weights.iter().map(|&weight| ShardSpec { weight, replicas: 1 }).collect(),
            brokers: 1,
            users: Vec::new(),
            postgres: false,
            nodes: NodeOptions::default(),
        }
    }

    /// The same with this many replicas of every shard.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.shards.iter_mut().for_each(|shard| shard.replicas = replicas);
        self
    }

    /// The same with this many brokers.
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers;
        self
    }

    /// The same with a second door to every broker, where these users log in by SASL PLAIN and may do what the brokers' rules
    /// allow; whoever comes by the first door may do everything.
    pub fn guarded(mut self, users: &[User]) -> Self {
        self.users = users.to_vec();
        self
    }

    /// The same with a PostgreSQL beside it.
    pub fn postgres(mut self) -> Self {
        self.postgres = true;
        self
    }

    /// The same with these options for every node.
    pub fn nodes(mut self, nodes: NodeOptions) -> Self {
        self.nodes = nodes;
        self
    }

    /// Whether any shard has more than one replica.
    pub fn is_replicated(&self) -> bool {
        self.shards.iter().any(|shard| shard.replicas > 1)
    }

    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        ensure!(!self.shards.is_empty(), "a stack needs at least one shard");
        for (shard, number) in self.shards.iter().zip(1..) {
            ensure!(shard.weight > 0, "shard {number} has weight 0: it would get no rows; use 1 or more");
            ensure!(shard.replicas > 0, "shard {number} has no replica; use 1 or more");
        }
        ensure!(self.brokers > 0, "a stack needs at least one broker");
        Ok(())
    }
}

impl Default for NodeOptions {
    fn default() -> Self {
        let none = Self {
            settings: BTreeMap::new(),
            merge_tree: BTreeMap::new(),
            xml: Vec::new(),
            users_xml: Vec::new(),
            profiles_xml: Vec::new(),
            fetch_bytes: FETCH_BYTES,
        };
        none
            // An insert returns when all shards have it, as a production profile has it.
            .setting("distributed_foreground_insert", "1")
            // Kafka tables whose offsets live in Keeper are still behind this setting.
            .setting("allow_experimental_kafka_offsets_storage_in_keeper", "1")
            // Every month that `sharded_events` has a partition for may come in one block.
            .setting("max_partitions_per_insert_block", "192")
            // `clickhouse local` takes a bare `1` for `SELECT 1`; a server does not.
            .setting("implicit_select", "0")
    }
}

impl NodeOptions {
    /// A setting of the default profile, for queries and for background work (Kafka, Distributed) alike.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// A default of every MergeTree table, such as `max_bytes_to_merge_at_max_space_in_pool` = `1` against
    /// merges.
    pub fn merge_tree(mut self, name: &str, value: &str) -> Self {
        self.merge_tree.insert(name.into(), value.into());
        self
    }

    /// A piece of XML inside `<clickhouse>` of the node's config.xml.
    pub fn xml(mut self, snippet: &str) -> Self {
        self.xml.push(snippet.into());
        self
    }

    /// How much of a partition one answer of the broker may hold, instead of 25 MiB.
    pub fn fetch_bytes(mut self, bytes: u32) -> Self {
        self.fetch_bytes = bytes;
        self
    }

    /// A piece of XML inside `<users>` of the node's users.xml.
    pub fn users_xml(mut self, snippet: &str) -> Self {
        self.users_xml.push(snippet.into());
        self
    }

    /// A piece of XML inside `<profiles>` of the node's users.xml.
    pub fn profiles_xml(mut self, snippet: impl Into<String>) -> Self {
        self.profiles_xml.push(snippet.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_without_rows_or_nodes_is_refused() {
        assert!(StackSpec::default().validate().is_ok());
        assert!(StackSpec::sharded(&[]).validate().is_err());
        assert!(StackSpec::sharded(&[1, 0]).validate().is_err());
        assert!(StackSpec::default().replicas(0).validate().is_err());
        assert!(StackSpec::default().brokers(0).validate().is_err());
    }
}
