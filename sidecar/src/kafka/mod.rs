//! Client of the Kafka brokers over librdkafka: topics, offsets, groups, messages.

mod admin;
mod cluster;
mod ends_aside;
mod group;
mod groups;
mod log_dirs;
mod messages;
mod native;
mod newer_groups;
mod newest;
mod offsets;
mod polled_producer;
mod producer;
pub(crate) mod wire;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::types::RDKafkaErrorCode;

use crate::config::{HostPort, Kafka, Login};
use crate::span;

pub(crate) use self::admin::request::{ConfigChange, NewTopic, Refusal};
pub(crate) use self::cluster::{ConfigOrigin, KafkaCluster, Layout, Partition, TopicConfig};
use self::ends_aside::EndsAside;
pub(crate) use self::group::{Group, Member};
pub(crate) use self::messages::FirstMessage;
pub(crate) use self::newest::{Newest, TopicRecord};
pub(crate) use self::offsets::{OffsetBounds, TopicPartition};
pub(crate) use self::producer::DELIVERY_TIMEOUT;
pub(crate) use self::producer::{DeliveryError, DeliveryHandle, Producer, shown_key};

/// A reachable broker answers in milliseconds. This limit outlasts the election of a controller and
/// is short enough for an operator who waits.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Limit for other brokers to take over a broker's work: leadership of partitions, and groups with
/// their committed offsets.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Errors between posthouse and the brokers.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No broker answered in time.
    #[error(
        "no kafka broker answers at {brokers} within {seconds} s: check that one runs, that kafka.brokers is right, and that \
         kafka.user and its password are"
    )]
    Unreachable {
        /// Brokers of the config.
        brokers: String,
        seconds: u64,
    },
    /// The client library could not be set up, or a request failed as a whole.
    #[error("kafka at {brokers} could not {task}")]
    Failed {
        /// Brokers of the config.
        brokers: String,
        task: &'static str,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// A request for changes failed as a whole.
    #[error("kafka at {brokers} did not {task}: {refusal}")]
    Refused {
        /// Brokers of the config.
        brokers: String,
        task: &'static str,
        refusal: Refusal,
    },
    /// A thread panicked: a bug in posthouse.
    #[error("a thread panicked, so posthouse could not {0}: please report this")]
    Task(&'static str),
}

/// Sends librdkafka's messages to the debug log, including retries and refused connections.
pub(crate) struct LibraryLog;

impl ClientContext for LibraryLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(severity = ?level, facility, text = %message, "librdkafka event");
    }
}

/// Client of the brokers of one config. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Client {
    admin: Arc<EndsAside<AdminClient<LibraryLog>>>,
    config: ClientConfig,
    brokers: String,
    login: Option<Login>,
    /// How long requests are retried during an election.
    patience: Duration,
}

impl Client {
    /// Creates a client for the brokers of the config. It connects in the background.
    ///
    /// # Errors
    /// [`KafkaError::Failed`] if the library can't be set up.
    pub fn new(kafka: &Kafka) -> Result<Self, KafkaError> {
        let (config, brokers) = (client_config(kafka), broker_list(kafka));
        match config.create_with_context(LibraryLog) {
            Ok(admin) => Ok(Self {
                admin: Arc::new(EndsAside::new(admin)),
                config,
                brokers,
                login: kafka.login.clone(),
                patience: ELECTION_TIMEOUT,
            }),
            Err(source) => Err(KafkaError::Failed { brokers, task: "set up a client", source }),
        }
    }

    /// Returns a client that sends every request once, without retries.
    pub(crate) fn without_retries(&self) -> Self {
        Self { patience: Duration::ZERO, ..self.clone() }
    }

    /// Brokers as written in the config.
    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Configuration for a consumer of the same brokers.
    pub(crate) fn library_config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Runs `work` on a separate thread, because the library's calls block.
    async fn blocking<T: Send + 'static>(
        &self,
        task: &'static str,
        work: impl Fn(&AdminClient<LibraryLog>) -> Result<T, rdkafka::error::KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let (admin, patience) = (Arc::clone(&self.admin), self.patience);
        let request = span::in_current(move || retry_while_electing(patience, || work(&admin)));
        let done = tokio::task::spawn_blocking(request).await;
        done.map_err(|_| KafkaError::Task(task))?.map_err(|source| self.failed(task, source))
    }

    fn failed(&self, task: &'static str, source: rdkafka::error::KafkaError) -> KafkaError {
        let brokers = self.brokers.clone();
        if let Some(code) = source.rdkafka_error_code() {
            tracing::debug!(task, error = %source, "request failed");
            let refusal = Refusal { code, message: String::new() };
            if refusal.is_in_doubt() {
                return KafkaError::Unreachable { brokers, seconds: ANSWER_LIMIT.as_secs() };
            }
        }
        KafkaError::Failed { brokers, task, source }
    }
}

/// Retries `work` while brokers elect leaders or coordinators.
fn retry_while_electing<T>(
    patience: Duration,
    work: impl Fn() -> Result<T, rdkafka::error::KafkaError>,
) -> Result<T, rdkafka::error::KafkaError> {
    let deadline = Instant::now() + patience;
    loop {
        match work() {
            Err(error) if is_leader_election(&error) && Instant::now() < deadline => {
                thread::sleep(RETRY_INTERVAL);
            }
            done => return done,
        }
    }
}

fn is_leader_election(error: &rdkafka::error::KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    error.rdkafka_error_code().is_some_and(|code| {
        matches!(
            code,
            Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                // The library's own code: it knows no leader of the partition.
                | Code::UnknownPartition
        )
    })
}

/// Comma-separated broker list for messages and librdkafka.
pub(crate) fn broker_list(kafka: &Kafka) -> String {
    kafka.brokers.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
}

fn client_config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker_list(kafka)).set("client.id", "posthouse");
    if let Some(login) = &kafka.login {
        config
            .set("security.protocol", "SASL_PLAINTEXT")
            .set("sasl.mechanism", "PLAIN")
            .set("sasl.username", &login.user)
            .set("sasl.password", login.password.secret().reveal());
    }
    config
}
