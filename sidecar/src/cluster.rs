//! Access to one cluster, made once from its config.

use std::sync::OnceLock;

use crate::config::Config;
use crate::kafka::{Client, KafkaError};
use crate::node::Node;

/// The nodes and brokers of a config. They are connected on first use.
pub(crate) struct Cluster {
    pub(crate) config: Config,
    /// In the order of the config.
    pub(crate) nodes: Vec<Node>,
    kafka: OnceLock<Client>,
}

impl Cluster {
    pub(crate) fn new(config: Config) -> Self {
        Self { nodes: Node::all(&config), config, kafka: OnceLock::new() }
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
