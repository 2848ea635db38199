//! Specification of a stack: shards, brokers, PostgreSQL, node options.

use std::collections::BTreeMap;

use anyhow::ensure;

use super::broker_certificates::BrokerCertificates;
use crate::secrets;

/// The servers of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackSpec {
    /// The shards of the cluster, in the order of `remote_servers`.
    pub shards: Vec<ShardSpec>,
    /// Apache Kafka brokers. The first is the controller too.
    pub brokers: usize,
    /// Users of the guarded listener, see [`StackSpec::guarded`]. The open listener needs no login.
    pub users: Vec<User>,
    /// Certificates of the encrypted listeners, see [`StackSpec::encrypted`].
    pub certificates: Option<BrokerCertificates>,
    pub postgres: bool,
    /// The same for every ClickHouse node.
    pub nodes: NodeOptions,
}

/// A user of the brokers' guarded listener, with rights by the brokers' ACLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub name: &'static str,
    pub password: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardSpec {
    /// Its share of the rows, relative to the sum of all weights.
    pub weight: u32,
    /// Number of its ClickHouse nodes.
    pub replicas: usize,
}

/// Options of a ClickHouse node beyond the stack's defaults. A later value replaces an earlier or
/// default one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) merge_tree: BTreeMap<String, String>,
    pub(crate) xml: Vec<String>,
    pub(crate) users_xml: Vec<String>,
    pub(crate) profiles_xml: Vec<String>,
    pub(crate) kafka_xml: Vec<String>,
    pub(crate) remote_servers_xml: Vec<String>,
    pub(crate) fetch_bytes: u32,
}

/// Maximum bytes of one partition in one response of the broker: a block of 65,536 messages of 400
/// bytes, their compressed size. Two partitions fit into librdkafka's and the broker's default
/// limits (50 and 55 MiB). A block that is reread after a crash must come back in one poll, and so
/// in one response.
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
            certificates: None,
            postgres: false,
            nodes: NodeOptions::default(),
        }
    }

    /// Sets the number of replicas of every shard.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.shards.iter_mut().for_each(|shard| shard.replicas = replicas);
        self
    }

    /// Sets the number of brokers.
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers;
        self
    }

    /// Adds a second listener to every broker. There these users log in by SASL PLAIN, with rights
    /// by the brokers' ACLs. Clients of the first listener have all rights.
    pub fn guarded(mut self, users: &[User]) -> Self {
        for user in users {
            secrets::register(user.password);
        }
        self.users = users.to_vec();
        self
    }

    /// Adds encrypted listeners to every broker, for the users of [`StackSpec::guarded`]. They log
    /// in by PLAIN and SCRAM with the same password, and by tokens without a signature.
    pub fn encrypted(mut self, certificates: &BrokerCertificates) -> Self {
        self.certificates = Some(certificates.clone());
        self
    }

    /// Adds a PostgreSQL.
    pub fn postgres(mut self) -> Self {
        self.postgres = true;
        self
    }

    /// Sets the options for every node.
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
            kafka_xml: Vec::new(),
            remote_servers_xml: Vec::new(),
            fetch_bytes: FETCH_BYTES,
        };
        none
            // An insert returns when all shards have it, as in a production profile.
            .setting("distributed_foreground_insert", "1")
            // Kafka tables with offsets in Keeper still need this setting.
            .setting("allow_experimental_kafka_offsets_storage_in_keeper", "1")
            // One block may have events of every month that `sharded_events` has a partition for.
            .setting("max_partitions_per_insert_block", "192")
            // Queries of events pick their shards, and subqueries of events run once.
            .setting("optimize_skip_unused_shards", "1")
            .setting("optimize_distributed_group_by_sharding_key", "0")
            .setting("optimize_skip_unused_shards_rewrite_in", "0")
            .setting("distributed_product_mode", "global")
            // Materialized columns are computed in parts from before them.
            .setting("enable_multiple_prewhere_read_steps", "0")
            // `clickhouse local` takes a bare `1` for `SELECT 1`, and a server does not.
            .setting("implicit_select", "0")
    }
}

impl NodeOptions {
    /// Adds a setting of the default profile, for queries and for background work (Kafka,
    /// Distributed) alike.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Adds a default of every MergeTree table, for example
    /// `max_bytes_to_merge_at_max_space_in_pool` = `1` against merges.
    pub fn merge_tree(mut self, name: &str, value: &str) -> Self {
        self.merge_tree.insert(name.into(), value.into());
        self
    }

    /// Adds XML inside `<clickhouse>` of the node's config.xml.
    pub fn xml(mut self, snippet: &str) -> Self {
        self.xml.push(snippet.into());
        self
    }

    /// Adds XML inside `<kafka>` of the node's config.xml, for example the login of its consumers.
    pub fn kafka_xml(mut self, snippet: &str) -> Self {
        self.kafka_xml.push(snippet.into());
        self
    }

    /// Adds XML inside `<remote_servers>` of the node's config.xml, for another cluster.
    pub fn remote_servers_xml(mut self, snippet: &str) -> Self {
        self.remote_servers_xml.push(snippet.into());
        self
    }

    /// Sets the maximum bytes of a partition in one response of the broker, instead of 25 MiB.
    pub fn fetch_bytes(mut self, bytes: u32) -> Self {
        self.fetch_bytes = bytes;
        self
    }

    /// Adds XML inside `<users>` of the node's users.xml.
    pub fn users_xml(mut self, snippet: &str) -> Self {
        self.users_xml.push(snippet.into());
        self
    }

    /// Adds XML inside `<profiles>` of the node's users.xml.
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
