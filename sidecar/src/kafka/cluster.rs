//! State of the Kafka cluster: brokers, topics, partition layouts and configs.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::bindings::rd_kafka_ConfigSource_t as ConfigSource;
use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};

use super::native::{self, DescribedConfig};
use super::{ANSWER_LIMIT, Client, KafkaError, Requested};
use crate::span;

/// Topics per request for configs: an answer has about 35 configs a topic.
const DESCRIBED_AT_ONCE: usize = 500;

/// The whole cluster, as one broker reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KafkaCluster {
    /// Id of the cluster; old brokers report none.
    pub(crate) id: Option<String>,
    /// Brokers that are up.
    pub(crate) brokers: BTreeSet<i32>,
    /// All topics by name, including Kafka's internal ones.
    pub(crate) topics: BTreeMap<String, Layout>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// In order of their numbers.
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Partition {
    /// `None` while no broker leads it.
    pub(crate) leader: Option<i32>,
    /// Assigned brokers.
    pub(crate) replicas: Vec<i32>,
    /// Brokers that have all of its messages.
    pub(crate) in_sync: Vec<i32>,
}

/// The brokers do not show a topic. They hide those that a user may not describe.
#[derive(Debug, thiserror::Error)]
#[error(
    "kafka has no topic {topic}: add it to topics.toml, and run posthouse topics apply; if it exists, this user needs \
     Describe on it: kafka-acls --add --allow-principal User:NAME --operation Describe --topic {topic}"
)]
pub(crate) struct UnknownTopic {
    topic: String,
}

impl KafkaCluster {
    /// Returns the partitions of a topic that must exist.
    pub(crate) fn topic(&self, topic: &str) -> Result<&Layout, UnknownTopic> {
        self.topics.get(topic).ok_or_else(|| UnknownTopic { topic: topic.to_owned() })
    }
}

impl Layout {
    /// The smallest replica count of the partitions.
    pub(crate) fn replication_factor(&self) -> usize {
        self.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or_default()
    }
}

/// A config of a topic with its effective value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicConfig {
    /// `None` if the broker hides the value.
    pub(crate) value: Option<String>,
    pub(crate) source: ConfigOrigin,
}

/// Origin of a config's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConfigOrigin {
    /// Set on the topic.
    Topic,
    /// The brokers' own configuration.
    Broker,
    /// Kafka's default.
    Default,
}

impl Client {
    /// Reads brokers, topics and partition layouts.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] if no broker answers within seconds.
    pub(crate) async fn cluster(&self) -> Result<KafkaCluster, KafkaError> {
        self.blocking("list topics", |library, _| {
            let metadata = library.fetch_metadata(None, ANSWER_LIMIT)?;
            let known = metadata.topics().iter().filter(|topic| topic.error().is_none());
            let topics = known.map(|topic| {
                let mut partitions: Vec<_> = topic.partitions().iter().collect();
                partitions.sort_by_key(|partition| partition.id());
                let partitions = partitions.into_iter().map(|partition| Partition {
                    // The library writes -1 for none.
                    leader: Some(partition.leader()).filter(|leader| *leader >= 0),
                    replicas: partition.replicas().to_vec(),
                    in_sync: partition.isr().to_vec(),
                });
                (topic.name().to_owned(), Layout { partitions: partitions.collect() })
            });
            Ok(KafkaCluster {
                id: library.fetch_cluster_id(ANSWER_LIMIT),
                brokers: metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect(),
                topics: topics.collect(),
            })
        })
        .await
    }

    /// All configs of these topics, by topic and name. Topics deleted in the meantime are left out.
    ///
    /// # Errors
    /// [`KafkaError::Failed`], also if this user may not read configs.
    pub(crate) async fn configs(
        &self,
        topics: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, BTreeMap<String, TopicConfig>>, KafkaError> {
        const TASK: &str = "describe the configs of topics";
        let names: Vec<String> = topics.iter().cloned().collect();
        let mut configs = BTreeMap::new();
        for names in names.chunks(DESCRIBED_AT_ONCE) {
            let (client, names) = (self.clone(), names.to_vec());
            let asked = tokio::task::spawn_blocking(span::in_current(move || {
                native::describe_configs(client.session().library(), &names, ANSWER_LIMIT)
            }));
            let described = match asked.await.map_err(|_| KafkaError::Task(TASK))? {
                Ok(described) => described,
                Err(refusal) => {
                    return Err(self.failed(TASK, Requested::default(), admin_error(refusal.code)).await);
                }
            };
            for (name, described) in described {
                match described {
                    Ok(entries) => drop(configs.insert(name, entries.into_iter().map(config).collect())),
                    Err(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
                    Err(code) => {
                        return Err(self.failed(TASK, Requested::topic(&name), admin_error(code)).await);
                    }
                }
            }
        }
        Ok(configs)
    }
}

fn admin_error(code: RDKafkaErrorCode) -> rdkafka::error::KafkaError {
    rdkafka::error::KafkaError::AdminOp(code)
}

fn config(entry: DescribedConfig) -> (String, TopicConfig) {
    let source = match entry.source {
        ConfigSource::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG => ConfigOrigin::Topic,
        ConfigSource::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG
        | ConfigSource::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER_CONFIG
        | ConfigSource::RD_KAFKA_CONFIG_SOURCE_STATIC_BROKER_CONFIG => ConfigOrigin::Broker,
        _ => ConfigOrigin::Default,
    };
    (entry.name, TopicConfig { value: entry.value, source })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::{HostPort, Kafka, KafkaAccess};

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let brokers = vec![HostPort { host: "127.0.0.1".to_owned(), port }];
        let kafka = Kafka {
            brokers,
            topics_file: "topics.toml".into(),
            named_collection: None,
            access: KafkaAccess::default(),
        };
        let client = Client::new(&kafka).expect("a client");
        let error = client.cluster().await.expect_err("nothing listens").to_string();
        assert!(error.contains(&format!("no kafka broker answers at 127.0.0.1:{port}")), "{error}");
    }
}
