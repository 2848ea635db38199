//! What the brokers hold: every topic with its partitions and copies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;

use super::{KafkaError, broker_list, client_config};
use crate::config::Kafka;

/// A broker in reach answers in milliseconds; this outlasts an election of a new controller and is still short for
/// somebody who waits.
pub(crate) const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// A topic that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// How many partitions it has.
    pub partitions: usize,
    /// On how many brokers its first partition is kept.
    pub replication_factor: usize,
}

/// Sends what librdkafka has to say, retries and refused connections among it, to the debug log.
pub(crate) struct LibraryLog;

impl ClientContext for LibraryLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "{message}");
    }
}

pub(crate) type Admin = Arc<AdminClient<LibraryLog>>;

/// A client for the brokers of the config; connects in the background.
pub(crate) fn connect(kafka: &Kafka) -> Result<Admin, KafkaError> {
    let admin = client_config(kafka).create_with_context(LibraryLog);
    admin.map(Arc::new).map_err(|source| KafkaError::Failed {
        brokers: broker_list(kafka),
        task: "set up a client",
        source,
    })
}

/// Every topic of the cluster by name, with those internal to Kafka.
///
/// # Errors
/// [`KafkaError::Unreachable`] if no broker answers within seconds.
pub async fn observe(kafka: &Kafka) -> Result<BTreeMap<String, Observed>, KafkaError> {
    topics(&connect(kafka)?, kafka).await
}

/// As [`observe`], with a client that is there already.
pub(crate) async fn topics(admin: &Admin, kafka: &Kafka) -> Result<BTreeMap<String, Observed>, KafkaError> {
    let admin = Arc::clone(admin);
    // The library's call blocks until the answer or the timeout.
    let asked =
        tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, METADATA_TIMEOUT)).await;
    let unreachable =
        || KafkaError::Unreachable { brokers: broker_list(kafka), seconds: METADATA_TIMEOUT.as_secs() };
    let metadata = asked.map_err(|_| unreachable())?.map_err(|error| {
        tracing::debug!("metadata: {error}");
        unreachable()
    })?;
    let observed = metadata.topics().iter().filter(|topic| topic.error().is_none()).map(|topic| {
        let partitions = topic.partitions();
        let replication_factor = partitions.first().map_or(0, |partition| partition.replicas().len());
        (topic.name().to_owned(), Observed { partitions: partitions.len(), replication_factor })
    });
    Ok(observed.collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::HostPort;

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let kafka = Kafka {
            brokers: vec![HostPort { host: "127.0.0.1".to_owned(), port }],
            topics: "topics.toml".into(),
        };
        let error = observe(&kafka).await.expect_err("nothing listens").to_string();
        assert!(error.contains(&format!("no kafka broker answers at 127.0.0.1:{port}")), "{error}");
    }
}
