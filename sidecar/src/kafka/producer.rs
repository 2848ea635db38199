//! Producer with ordered, idempotent delivery and a receipt per batch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext};
use sha2::Digest;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::ends_aside::EndsAside;
use super::polled_producer::PolledProducer;
use super::{Client, KafkaError, LibraryContext};

/// Bytes of messages in flight, unless a single message has more. Enough for one batch of a large
/// table, and small beside the rest of the process. librdkafka's own limit would block a larger
/// message forever.
const MAX_IN_FLIGHT: usize = 64 << 20;
/// A batch is sent after this time, or when it is full. Long enough for a batch to compress well,
/// and short for a reader.
const LINGER_MS: u32 = 5;
/// Largest message that is sent to a broker; the topic's own `max.message.bytes` decides.
/// PostgreSQL's jsonb ends at 255 MiB.
const MAX_MESSAGE: u32 = 256 << 20;
/// librdkafka's own limit. It is never reached.
const LIBRARY_QUEUE_KIB: u32 = (MAX_MESSAGE >> 10) * 2;
/// Pause between two attempts while the queue is full.
const FULL: Duration = Duration::from_millis(5);
/// How long brokers may accept no message of a batch or of a full queue: an election takes seconds.
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);

/// Header of every message of posthouse, with its release as the value. It marks posthouse's own
/// messages against other producers'.
pub(super) const HEADER: &str = "posthouse";

/// A producer with its own connections.
pub(crate) struct Producer {
    inner: EndsAside<PolledProducer<Deliveries>>,
    headers: OwnedHeaders,
    /// Bytes in flight.
    bytes: Arc<AtomicUsize>,
}

/// Reason of a failed delivery. Later messages also failed, or may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeliveryError {
    /// A retry does not help.
    #[error(
        "kafka does not take message {key} of {bytes} bytes into topic {topic}: it is too large: raise max.message.bytes of the \
         topic above that (topics.toml)"
    )]
    TooLarge {
        topic: String,
        key: String,
        /// Size before compression.
        bytes: usize,
    },
    /// No broker accepted a message for [`DELIVERY_TIMEOUT`].
    #[error(
        "kafka has taken no message for {} s: check that the brokers run and that the partitions of the topics have leaders \
         (posthouse topics check)",
        DELIVERY_TIMEOUT.as_secs()
    )]
    Silent,
    /// The library gave up.
    #[error("kafka did not take message {key} into topic {topic}: {said}")]
    Failed { topic: String, key: String, said: String },
}

/// Delivery status of messages that belong together.
#[derive(Default)]
pub(crate) struct DeliveryHandle {
    open: AtomicUsize,
    failure: OnceLock<DeliveryError>,
    /// When the last message that was in flight was acknowledged.
    delivered_at: Mutex<Option<SystemTime>>,
    changed: Notify,
}

impl DeliveryHandle {
    /// Waits until every message of this receipt is delivered. No message may be sent with it
    /// afterwards.
    ///
    /// # Errors
    /// The first failed delivery, or [`DeliveryError::Silent`].
    pub(crate) async fn delivered(&self) -> Result<(), DeliveryError> {
        loop {
            // Subscribed first, so that a delivery between the check and the wait is not missed.
            let changed = self.changed.notified();
            if let Some(done) = self.state() {
                return done;
            }
            timeout(DELIVERY_TIMEOUT, changed).await.map_err(|_| DeliveryError::Silent)?;
        }
    }

    /// Returns the status without waiting; `None` while messages are in flight.
    pub(crate) fn state(&self) -> Option<Result<(), DeliveryError>> {
        if let Some(failure) = self.failure.get() {
            return Some(Err(failure.clone()));
        }
        (self.open.load(Ordering::Acquire) == 0).then_some(Ok(()))
    }

    /// Returns when its last message was acknowledged; `None` without messages.
    pub(crate) fn delivered_at(&self) -> Option<SystemTime> {
        *self.delivered_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message as no longer in flight.
    fn close(&self) {
        if self.open.load(Ordering::Acquire) == 1 {
            let mut delivered_at = self.delivered_at.lock().unwrap_or_else(PoisonError::into_inner);
            *delivered_at = Some(SystemTime::now());
        }
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    fn fail(&self, error: DeliveryError) {
        // The first failure is the cause; the later ones follow from it.
        let _ = self.failure.set(error);
    }
}

/// Counts the bytes in flight.
#[derive(Clone, Default)]
struct Deliveries {
    bytes: Arc<AtomicUsize>,
}

impl ProducerContext for LibraryContext<Deliveries> {
    type DeliveryOpaque = Arc<DeliveryHandle>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Arc<DeliveryHandle>) {
        use rdkafka::Message;

        let (Ok(message) | Err((_, message))) = result;
        self.part.bytes.fetch_sub(size(message.key(), message.payload()), Ordering::AcqRel);
        if let Err((error, message)) = result {
            let size = message.payload().map_or(0, <[u8]>::len);
            receipt.fail(failure(error, message.topic(), message.key().unwrap_or_default(), size));
        }
        receipt.close();
    }
}

/// Returns a message's key for errors and logs. A distinct id may be an e-mail address, so only the
/// beginning of its SHA-256 is shown: `encode(sha256(distinct_id::bytea), 'hex')` finds it in
/// PostgreSQL.
pub(crate) fn shown_key(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    match key.split_once(':') {
        Some((team, id)) if uuid::Uuid::try_parse(id).is_err() => {
            let digest = sha2::Sha256::digest(id.as_bytes());
            let start: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            format!("{team}:sha256({start}…)")
        }
        _ => key.into_owned(),
    }
}

fn failure(error: &rdkafka::error::KafkaError, topic: &str, key: &[u8], bytes: usize) -> DeliveryError {
    let (topic, key) = (topic.to_owned(), shown_key(key));
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => DeliveryError::TooLarge { topic, key, bytes },
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            let said = format!(
                "this user needs Write on the topic: kafka-acls --add --allow-principal User:NAME --operation Write \
                 --topic {topic}"
            );
            DeliveryError::Failed { topic, key, said }
        }
        _ => DeliveryError::Failed { topic, key, said: error.to_string() },
    }
}

impl Client {
    /// Creates a producer that waits while brokers are away. Senders are blocked meanwhile.
    ///
    /// # Errors
    /// [`KafkaError::Failed`] if the library can't be set up, or [`KafkaError::Tls`].
    pub(crate) fn producer(&self) -> Result<Producer, KafkaError> {
        let mut config = self.brokers.library_config()?;
        config
            .set("enable.idempotence", "true")
            .set("compression.codec", "lz4")
            .set("linger.ms", LINGER_MS.to_string())
            // Never expire: an expired message would be a silent gap.
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", MAX_MESSAGE.to_string())
            .set("queue.buffering.max.kbytes", LIBRARY_QUEUE_KIB.to_string());
        let deliveries = Deliveries::default();
        let bytes = Arc::clone(&deliveries.bytes);
        match PolledProducer::new(&config, self.brokers.context(deliveries)) {
            Ok(inner) => {
                let header = Header { key: HEADER, value: Some(env!("CARGO_PKG_VERSION")) };
                Ok(Producer {
                    inner: EndsAside::new(inner),
                    headers: OwnedHeaders::new().insert(header),
                    bytes,
                })
            }
            Err(source) => {
                let brokers = self.brokers().to_owned();
                Err(KafkaError::Failed { brokers, task: "set up a producer", source })
            }
        }
    }
}

/// Bytes of a message that count as in flight.
fn size(key: Option<&[u8]>, payload: Option<&[u8]>) -> usize {
    key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len)
}

impl Producer {
    /// Waits until a message fits beside those in flight. A message that is alone always fits.
    async fn reserve(&self, size: usize, deadline: Instant) -> Result<(), DeliveryError> {
        let fits = |bytes: usize| (bytes == 0 || bytes + size <= MAX_IN_FLIGHT).then_some(bytes + size);
        while self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_err() {
            if Instant::now() >= deadline {
                return Err(DeliveryError::Silent);
            }
            sleep(FULL).await;
        }
        Ok(())
    }

    /// Gives back the bytes of a message that is not sent.
    fn release(&self, size: usize, receipt: &DeliveryHandle) {
        self.bytes.fetch_sub(size, Ordering::AcqRel);
        receipt.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Queues a message. Waits while too many bytes are in flight.
    ///
    /// # Errors
    /// [`DeliveryError`] if the library rejects the message, or has no room for it during
    /// [`DELIVERY_TIMEOUT`].
    pub(crate) async fn send(
        &self,
        topic: &str,
        key: &[u8],
        payload: &[u8],
        receipt: &Arc<DeliveryHandle>,
    ) -> Result<(), DeliveryError> {
        let deadline = Instant::now() + DELIVERY_TIMEOUT;
        let size = size(Some(key), Some(payload));
        self.reserve(size, deadline).await?;
        receipt.open.fetch_add(1, Ordering::AcqRel);
        let record = BaseRecord::with_opaque_to(topic, Arc::clone(receipt)).key(key).payload(payload);
        let mut record = record.headers(self.headers.clone());
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    record = back;
                    if Instant::now() >= deadline {
                        self.release(size, receipt);
                        return Err(DeliveryError::Silent);
                    }
                    sleep(FULL).await;
                }
                Err((error, _)) => {
                    self.release(size, receipt);
                    return Err(failure(&error, topic, key, payload.len()));
                }
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Unacknowledged messages will be resent. The old copies must not arrive after that.
        self.inner.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    }
}
