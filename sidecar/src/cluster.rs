//! Access to one cluster, made once from its config.

use std::sync::OnceLock;

use crate::config::{Config, NodeRole};
use crate::kafka::{Client, KafkaError};
use crate::node::{Node, NodeTlsError};

/// The nodes and brokers of a config. They are connected on first use.
pub(crate) struct Cluster {
    pub(crate) config: Config,
    /// The nodes with data, in the order of the config.
    pub(crate) nodes: Vec<Node>,
    /// These, and the nodes that only ingest.
    pub(crate) all_nodes: Vec<Node>,
    kafka: OnceLock<Client>,
}

impl Cluster {
    /// # Errors
    /// Fails if `[clickhouse.tls]` is needed and can't be used.
    pub(crate) fn new(config: Config) -> Result<Self, NodeTlsError> {
        let all_nodes = Node::all(&config)?;
        let nodes = all_nodes.iter().filter(|node| node.has(NodeRole::Data)).cloned().collect();
        Ok(Self { nodes, all_nodes, config, kafka: OnceLock::new() })
    }

    /// The nodes that read events. They can ask Keeper where it has the offsets.
    pub(crate) fn ingesting_nodes(&self) -> impl Iterator<Item = &Node> {
        self.all_nodes.iter().filter(|node| node.has(NodeRole::Ingest))
    }

    /// Returns the client of the brokers. All callers share its connections.
    ///
    /// # Errors
    /// [`KafkaError::Failed`] if the library can't be set up.
    pub(crate) fn kafka(&self) -> Result<&Client, KafkaError> {
        if let Some(client) = self.kafka.get() {
            return Ok(client);
        }
        let client = Client::new(&self.config.kafka)?;
        Ok(self.kafka.get_or_init(|| client))
    }
}
