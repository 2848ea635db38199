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
mod session;
mod message_reader;
pub(crate) mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::Client as LibraryClient;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;

use crate::config::Kafka;
use crate::span;
use crate::tls::TlsError;

pub(crate) use self::admin::request::{ConfigChange, NewTopic, Refusal};
pub(crate) use self::cluster::{ConfigOrigin, KafkaCluster, Layout, Partition, TopicConfig};
pub(crate) use self::group::{Group, Member};
pub(crate) use self::message_reader::{MessageReader, MessagesGone};
pub(crate) use self::messages::{FirstMessage, FirstMessages};
pub(crate) use self::newest::{Newest, TopicRecord};
pub(crate) use self::offsets::{OffsetBounds, TopicPartition};
pub(crate) use self::producer::DELIVERY_TIMEOUT;
pub(crate) use self::producer::{DeliveryError, DeliveryHandle, Producer, shown_key};
pub(crate) use self::session::LibraryContext;
use self::session::{BrokerSession, Brokers, Requested};
use self::wire::WireAccess;

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
    #[error("no kafka broker answers at {brokers} within {seconds} s: {reason}")]
    Unreachable {
        /// Brokers of the config.
        brokers: String,
        seconds: u64,
        /// With the next step.
        reason: String,
    },
    /// The brokers deny this user a request.
    #[error("kafka at {brokers} did not {task}: {denial}")]
    Denied {
        /// Brokers of the config.
        brokers: String,
        task: &'static str,
        /// With the command that gives the right.
        denial: String,
    },
    /// A file of `[kafka.tls]` can't be used.
    #[error("no TLS connection to the brokers can be set up (kafka.tls)")]
    Tls(#[from] TlsError),
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

/// Client of the brokers of one config. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Client {
    brokers: Arc<Brokers>,
    list: String,
    session: Arc<Mutex<Arc<BrokerSession>>>,
    /// How long requests are retried during an election.
    patience: Duration,
}

impl Client {
    /// Creates a client for the brokers of the config. It connects in the background.
    ///
    /// # Errors
    /// [`KafkaError::Failed`] if the library can't be set up, or [`KafkaError::Tls`].
    pub fn new(kafka: &Kafka) -> Result<Self, KafkaError> {
        let brokers = Brokers::new(kafka);
        let session = Arc::new(Mutex::new(Arc::new(brokers.session()?)));
        Ok(Self { list: brokers.list(), brokers: Arc::new(brokers), session, patience: ELECTION_TIMEOUT })
    }

    /// Returns a client that sends every request once, without retries.
    pub(crate) fn without_retries(&self) -> Self {
        Self { patience: Duration::ZERO, ..self.clone() }
    }

    /// Brokers as written in the config.
    pub(crate) fn brokers(&self) -> &str {
        &self.list
    }

    /// The connections. New ones are made after a change of TLS's files, for example a renewed
    /// certificate, because the library reads them once.
    fn session(&self) -> Arc<BrokerSession> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.is_outdated(&self.brokers) {
            match self.brokers.session() {
                Ok(new) => *session = Arc::new(new),
                // Between the renewal of a certificate and of its key, the old ones are used.
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::warn!(error = format!("{error:#}"), "changed files of kafka.tls can't be used");
                }
            }
        }
        Arc::clone(&session)
    }

    /// Login and encryption for connections of [`wire`].
    fn wire_access<'a>(&'a self, session: &BrokerSession) -> WireAccess<'a> {
        let access = &self.brokers.access;
        WireAccess { login: access.login.as_ref(), tls: access.tls.as_ref().zip(session.tls.clone()) }
    }

    /// Creates a consumer of the same brokers, with `set` for its configuration.
    ///
    /// # Errors
    /// The library's error.
    pub(crate) fn new_consumer<P: Send + Sync>(
        &self,
        part: P,
        set: impl FnOnce(&mut ClientConfig),
    ) -> Result<BaseConsumer<LibraryContext<P>>, rdkafka::error::KafkaError>
    where
        LibraryContext<P>: ConsumerContext,
    {
        let config = self.brokers.library_config();
        let mut config = config.map_err(|error| {
            rdkafka::error::KafkaError::ClientCreation(format!("{:#}", anyhow::Error::from(error)))
        })?;
        set(&mut config);
        let consumer: BaseConsumer<LibraryContext<P>> =
            config.create_with_context(self.brokers.context(part))?;
        consumer.context().prepare(consumer.client().native_ptr());
        Ok(consumer)
    }

    /// Runs `work` on a separate thread, because the library's calls block.
    async fn blocking<T: Send + 'static>(
        &self,
        task: &'static str,
        work: impl Fn(&LibraryClient<LibraryContext>, &WireAccess<'_>) -> Result<T, rdkafka::error::KafkaError>
        + Send
        + 'static,
    ) -> Result<T, KafkaError> {
        let client = self.clone();
        let request = span::in_current(move || {
            let session = client.session();
            let access = client.wire_access(&session);
            retry_while_electing(client.patience, || work(session.admin.client(), &access))
        });
        let done = tokio::task::spawn_blocking(request).await;
        match done.map_err(|_| KafkaError::Task(task))? {
            Ok(done) => Ok(done),
            Err(source) => Err(self.failed(task, Requested::default(), source).await),
        }
    }

    /// Explains an error of the library.
    async fn failed(
        &self,
        task: &'static str,
        requested: Requested<'_>,
        source: rdkafka::error::KafkaError,
    ) -> KafkaError {
        let brokers = self.list.clone();
        if let Some(denial) = session::denial(&self.brokers, task, requested, &source) {
            return KafkaError::Denied { brokers, task, denial };
        }
        let Some(code) = session::error_code(&source) else {
            return KafkaError::Failed { brokers, task, source };
        };
        tracing::debug!(task, error = %source, "request failed");
        if !is_unreachable(code) {
            return KafkaError::Failed { brokers, task, source };
        }
        let client = self.clone();
        let look = span::in_current(move || {
            let session = client.session();
            session::diagnose(&client.brokers, session.tls.clone(), session.admin.context().reason())
        });
        match tokio::task::spawn_blocking(look).await {
            Ok(reason) => KafkaError::Unreachable { brokers, seconds: ANSWER_LIMIT.as_secs(), reason },
            Err(_) => KafkaError::Task(task),
        }
    }
}

/// Whether an error says that no broker answers, or none that is trusted.
fn is_unreachable(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    let is_local = matches!(
        code,
        Code::Authentication
            | Code::SSL
            | Code::Resolve
            | Code::AllBrokersDown
            | Code::SaslAuthenticationFailed
    );
    is_local || Refusal { code, message: String::new() }.is_in_doubt()
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
