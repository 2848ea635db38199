//! The brokers over librdkafka: what they hold, changes to it, offsets and groups.

mod admin;
mod cluster;
mod ends_aside;
mod groups;
mod log_dirs;
mod messages;
mod native;
mod newest;
mod offsets;
mod producer;
pub mod wire;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::types::RDKafkaErrorCode;

use crate::config::{HostPort, Kafka, Login};

pub use self::admin::request::{ConfigChange, NewTopic, Refusal};
pub use self::cluster::{Cluster, Config, Layout, Partition, Source};
use self::ends_aside::EndsAside;
pub use self::groups::{Group, Member};
pub use self::messages::FirstMessage;
pub(crate) use self::newest::{Newest, Record};
pub use self::offsets::{Bounds, Place};
pub(crate) use self::producer::DELIVERY_TIMEOUT;
pub use self::producer::{DeliveryError, Producer, Receipt};

/// A broker in reach answers in milliseconds; this outlasts an election of a new controller and is still short for
/// somebody who waits.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long brokers may take to take over what another one did: leaders of partitions, and groups with what they have
/// committed.
const CHANGE_OVER_LIMIT: Duration = Duration::from_secs(15);
/// Between two questions.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What can go wrong between posthouse and the brokers.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No broker answered in time.
    #[error(
        "no kafka broker answers at {brokers} within {seconds} s: check that one runs, that kafka.brokers is right, and that \
         kafka.user and its password are"
    )]
    Unreachable {
        /// Those of the config.
        brokers: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The client library refused to be set up, or a request failed as a whole.
    #[error("kafka at {brokers} could not {task}")]
    Failed {
        /// Those of the config.
        brokers: String,
        /// What was asked for.
        task: &'static str,
        /// What the client library said.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// A request for changes failed as a whole.
    #[error("kafka at {brokers} did not {task}: {refusal}")]
    Refused {
        /// Those of the config.
        brokers: String,
        /// What was asked for.
        task: &'static str,
        /// Why.
        refusal: Refusal,
    },
    /// A thread ended by a fault of posthouse.
    #[error("a thread ended that was to {0}: please report this")]
    Task(&'static str),
}

/// Sends what librdkafka has to say, retries and refused connections among it, to the debug log.
pub(crate) struct LibraryLog;

impl ClientContext for LibraryLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "{message}");
    }
}

/// The brokers of one config. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Client {
    admin: Arc<EndsAside<AdminClient<LibraryLog>>>,
    config: ClientConfig,
    brokers: String,
    login: Option<Login>,
    /// How long questions are asked again while brokers change who does what.
    patience: Duration,
}

impl Client {
    /// A client for the brokers of the config; connects in the background.
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
                patience: CHANGE_OVER_LIMIT,
            }),
            Err(source) => Err(KafkaError::Failed { brokers, task: "set up a client", source }),
        }
    }

    /// The same, with every question asked once.
    pub(crate) fn impatient(&self) -> Self {
        Self { patience: Duration::ZERO, ..self.clone() }
    }

    /// The brokers as the config has them.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// What a consumer of the same brokers is set up with.
    pub(crate) fn library_config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Has a thread of its own wait for the library, whose calls block.
    async fn blocking<T: Send + 'static>(
        &self,
        task: &'static str,
        work: impl Fn(&AdminClient<LibraryLog>) -> Result<T, rdkafka::error::KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let (admin, patience) = (Arc::clone(&self.admin), self.patience);
        let done = tokio::task::spawn_blocking(move || patiently(patience, || work(&admin))).await;
        done.map_err(|_| KafkaError::Task(task))?.map_err(|source| self.failed(task, source))
    }

    fn failed(&self, task: &'static str, source: rdkafka::error::KafkaError) -> KafkaError {
        let brokers = self.brokers.clone();
        if let Some(code) = source.rdkafka_error_code() {
            tracing::debug!("{task}: {source}");
            let refusal = Refusal { code, message: String::new() };
            if refusal.is_in_doubt() {
                return KafkaError::Unreachable { brokers, seconds: ANSWER_LIMIT.as_secs() };
            }
        }
        KafkaError::Failed { brokers, task, source }
    }
}

/// Does `work` again while brokers are just changing who does what.
fn patiently<T>(
    patience: Duration,
    work: impl Fn() -> Result<T, rdkafka::error::KafkaError>,
) -> Result<T, rdkafka::error::KafkaError> {
    let deadline = Instant::now() + patience;
    loop {
        match work() {
            Err(error) if is_change_over(&error) && Instant::now() < deadline => thread::sleep(ASK_AGAIN),
            done => return done,
        }
    }
}

fn is_change_over(error: &rdkafka::error::KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    error.rdkafka_error_code().is_some_and(|code| {
        matches!(
            code,
            Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
        )
    })
}

/// The brokers as messages and librdkafka write them.
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
            .set("sasl.password", login.password.reveal());
    }
    config
}
