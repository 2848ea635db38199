//! Messages to the brokers: each is delivered once and in the order of its partition, and a batch knows when all are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::ends_aside::EndsAside;
use super::{Client, KafkaError, LibraryLog};

/// Bytes of messages in flight, unless a single one has more: what one batch of a large table takes, and little beside the rest.
/// The library's own bound would keep a larger message out for good.
const MAX_IN_FLIGHT: usize = 64 << 20;
/// A message is sent when so much time has passed, or a batch is full: long enough for a batch to compress, and little in what
/// a reader waits.
const LINGER_MS: u32 = 5;
/// The largest message that is tried; the topic's own `max.message.bytes` decides. PostgreSQL's jsonb ends at 255 MiB.
const LARGEST_MESSAGE: u32 = 256 << 20;
/// The library's bound, which is never reached.
const LIBRARY_QUEUE_KIB: u32 = (LARGEST_MESSAGE >> 10) * 2;
/// Between two tries while the queue is full.
const FULL: Duration = Duration::from_millis(5);
/// How long brokers may take nothing of a batch, or of a full queue: an election needs seconds.
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);

/// The header of every message of posthouse, with its release as the value: by it posthouse tells its own messages from those of
/// another producer.
pub(super) const HEADER: &str = "posthouse";

/// A producer of its own connections.
pub struct Producer {
    inner: EndsAside<ThreadedProducer<Deliveries>>,
    headers: OwnedHeaders,
    /// In flight.
    bytes: Arc<AtomicUsize>,
}

/// Why a message was not delivered. What came after it was not either, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// No retry helps.
    #[error(
        "kafka does not take message {key} of {bytes} bytes into topic {topic}: it is too large: raise max.message.bytes of the \
         topic above that (topics.toml)"
    )]
    TooLarge {
        /// The topic.
        topic: String,
        /// The message's key.
        key: String,
        /// Its size before compression.
        bytes: usize,
    },
    /// Nothing was taken for [`DELIVERY_TIMEOUT`].
    #[error(
        "kafka has taken no message for {} s: check that the brokers run and that the partitions of the topics have leaders \
         (posthouse topics check)",
        DELIVERY_TIMEOUT.as_secs()
    )]
    Silent,
    /// The library gave up.
    #[error("kafka did not take message {key} into topic {topic}: {said}")]
    Failed {
        /// The topic.
        topic: String,
        /// The message's key.
        key: String,
        /// What the library said.
        said: String,
    },
}

/// Messages that belong together, and whether all of them have been delivered.
#[derive(Default)]
pub struct Receipt {
    open: AtomicUsize,
    failure: OnceLock<DeliveryError>,
    changed: Notify,
}

impl Receipt {
    /// Waits until every message that was sent for this receipt is delivered. Nothing may be sent for it any more.
    ///
    /// # Errors
    /// The first message that was not, or [`DeliveryError::Silent`].
    pub async fn delivered(&self) -> Result<(), DeliveryError> {
        loop {
            // Asked for first, so that what happens between the look and the wait is not missed.
            let changed = self.changed.notified();
            if let Some(done) = self.state() {
                return done;
            }
            timeout(DELIVERY_TIMEOUT, changed).await.map_err(|_| DeliveryError::Silent)?;
        }
    }

    /// The same without waiting: nothing while messages are under way.
    pub fn state(&self) -> Option<Result<(), DeliveryError>> {
        if let Some(failure) = self.failure.get() {
            return Some(Err(failure.clone()));
        }
        (self.open.load(Ordering::Acquire) == 0).then_some(Ok(()))
    }

    fn fail(&self, error: DeliveryError) {
        // The first says why; those after it follow from it.
        let _ = self.failure.set(error);
    }
}

/// Counts what is in flight.
#[derive(Clone, Default)]
struct Deliveries {
    bytes: Arc<AtomicUsize>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        LibraryLog.log(level, facility, message);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Arc<Receipt>) {
        use rdkafka::Message;

        let (Ok(message) | Err((_, message))) = result;
        self.bytes.fetch_sub(size(message.key(), message.payload()), Ordering::AcqRel);
        if let Err((error, message)) = result {
            let size = message.payload().map_or(0, <[u8]>::len);
            receipt.fail(failure(error, message.topic(), message.key().unwrap_or_default(), size));
        }
        receipt.open.fetch_sub(1, Ordering::AcqRel);
        receipt.changed.notify_waiters();
    }
}

fn failure(error: &rdkafka::error::KafkaError, topic: &str, key: &[u8], bytes: usize) -> DeliveryError {
    let (topic, key) = (topic.to_owned(), String::from_utf8_lossy(key).into_owned());
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => DeliveryError::TooLarge { topic, key, bytes },
        _ => DeliveryError::Failed { topic, key, said: error.to_string() },
    }
}

impl Client {
    /// A producer that waits for as long as brokers are away: whoever fills it is held back instead.
    ///
    /// # Errors
    /// [`KafkaError::Failed`] if the library can't be set up.
    pub fn producer(&self) -> Result<Producer, KafkaError> {
        let mut config = self.library_config();
        config
            .set("enable.idempotence", "true")
            .set("compression.codec", "lz4")
            .set("linger.ms", LINGER_MS.to_string())
            // Never: a message that is given up leaves a hole that nobody sees.
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", LARGEST_MESSAGE.to_string())
            .set("queue.buffering.max.kbytes", LIBRARY_QUEUE_KIB.to_string());
        let deliveries = Deliveries::default();
        let bytes = Arc::clone(&deliveries.bytes);
        match config.create_with_context(deliveries) {
            Ok(inner) => {
                let header = Header { key: HEADER, value: Some(env!("CARGO_PKG_VERSION")) };
                Ok(Producer {
                    inner: EndsAside::new(inner),
                    headers: OwnedHeaders::new().insert(header),
                    bytes,
                })
            }
            Err(source) => Err(self.failed("set up a producer", source)),
        }
    }
}

/// Bytes that a message counts.
fn size(key: Option<&[u8]>, payload: Option<&[u8]>) -> usize {
    key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len)
}

impl Producer {
    /// Waits until a message fits beside those in flight; one that is alone always does.
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

    /// Takes back what was counted of a message that is not sent.
    fn release(&self, size: usize, receipt: &Receipt) {
        self.bytes.fetch_sub(size, Ordering::AcqRel);
        receipt.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Hands a message over; waits while too much is under way.
    ///
    /// # Errors
    /// [`DeliveryError`] if the library does not take it at all, or has no room for it for long.
    pub async fn send(
        &self,
        topic: &str,
        key: &[u8],
        payload: &[u8],
        receipt: &Arc<Receipt>,
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
        // What nobody waits for any more will be sent again: it must not arrive after that.
        self.inner.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    }
}
