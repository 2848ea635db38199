//! All messages of a topic from given offsets on, read as they arrive and without a group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::{ANSWER_LIMIT, Client, KafkaError, LibraryContext, Requested};
use crate::span;

/// Most messages that are returned together.
const MAX_MESSAGES: usize = 4096;
/// Bytes of messages after which no further one is added.
const MAX_BYTES: usize = 4 << 20;
/// Most bytes that a broker sends for a partition at once. A larger message is sent alone.
const MAX_FETCH_BYTES: &str = "1048576";
/// Kilobytes of messages that the library holds.
const MAX_QUEUED_KIB: &str = "16384";

/// A reader of a topic.
pub(crate) struct MessageReader {
    client: Client,
    consumer: Arc<BaseConsumer<LibraryContext>>,
    topic: String,
    /// The offset of each partition's next message.
    next: Vec<i64>,
}

/// Messages that have arrived.
#[derive(Debug, Default)]
pub(crate) struct ArrivedMessages {
    pub(crate) payloads: Vec<Vec<u8>>,
    /// Bytes of the payloads.
    bytes: usize,
}

/// The brokers no longer have the messages that follow the read ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic {topic} no longer has the messages after those that were read")]
pub(crate) struct MessagesGone {
    pub(crate) topic: String,
}

impl MessageReader {
    /// Begins to read at an offset of each partition.
    ///
    /// # Errors
    /// [`KafkaError::Failed`] if the library refuses the configuration.
    pub(crate) async fn new(client: &Client, topic: &str, from: Vec<i64>) -> Result<Self, KafkaError> {
        const TASK: &str = "read a topic";
        let (owned, name, places) = (client.clone(), topic.to_owned(), from.clone());
        let begun = tokio::task::spawn_blocking(span::in_current(move || {
            let consumer = owned.new_consumer((), |config| {
                config
                    .set("group.id", "posthouse")
                    .set("enable.auto.commit", "false")
                    .set("auto.offset.reset", "error")
                    .set("fetch.wait.max.ms", "100")
                    .set("fetch.message.max.bytes", MAX_FETCH_BYTES)
                    .set("queued.max.messages.kbytes", MAX_QUEUED_KIB);
            })?;
            let mut list = TopicPartitionList::new();
            for (partition, offset) in (0..).zip(places) {
                list.add_partition_offset(&name, partition, Offset::Offset(offset))?;
            }
            consumer.assign(&list)?;
            Ok::<_, LibraryError>(consumer)
        }));
        match begun.await.map_err(|_| KafkaError::Task(TASK))? {
            Ok(consumer) => Ok(Self {
                client: client.clone(),
                consumer: Arc::new(consumer),
                topic: topic.to_owned(),
                next: from,
            }),
            Err(source) => Err(client.failed(TASK, Requested::topic(topic), source).await),
        }
    }

    /// The offset of each partition's next message.
    pub(crate) fn next_offsets(&self) -> &[i64] {
        &self.next
    }

    /// Returns the offset of the next message that will be written to each partition.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`], [`KafkaError::Denied`] or [`KafkaError::Failed`].
    pub(crate) async fn ends(&self) -> Result<Vec<i64>, KafkaError> {
        const TASK: &str = "read the ends of partitions";
        let (consumer, topic, count) = (self.consumer.clone(), self.topic.clone(), self.next.len());
        let asked = tokio::task::spawn_blocking(span::in_current(move || {
            let end = |partition| Ok(consumer.fetch_watermarks(&topic, partition, ANSWER_LIMIT)?.1);
            (0..).take(count).map(end).collect::<Result<Vec<i64>, LibraryError>>()
        }));
        match asked.await.map_err(|_| KafkaError::Task(TASK))? {
            Ok(ends) => Ok(ends),
            Err(source) => Err(self.client.failed(TASK, Requested::topic(&self.topic), source).await),
        }
    }

    /// Waits up to `idle` for a message, and then up to `gather` for further ones.
    ///
    /// # Errors
    /// [`MessagesGone`] after a retention or a new topic of the same name, and
    /// [`KafkaError::Denied`] if this user may not read the topic.
    pub(crate) async fn arrived(
        &mut self,
        idle: Duration,
        gather: Duration,
    ) -> anyhow::Result<ArrivedMessages> {
        const TASK: &str = "read a topic";
        let (consumer, mut next) = (self.consumer.clone(), self.next.clone());
        let read = tokio::task::spawn_blocking(span::in_current(move || {
            let read = read(&consumer, &mut next, idle, gather);
            consumer.context().renew(consumer.client().native_ptr());
            read.map(|arrived| (arrived, next))
        }));
        match read.await.map_err(|_| KafkaError::Task(TASK))? {
            Ok((arrived, next)) => {
                self.next = next;
                Ok(arrived)
            }
            Err(source)
                if source.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) =>
            {
                Err(self.client.failed(TASK, Requested::topic(&self.topic), source).await.into())
            }
            Err(_) => Err(MessagesGone { topic: self.topic.clone() }.into()),
        }
    }
}

/// Reads what arrives, and moves the offsets.
///
/// # Errors
/// Fails if an offset is out of the topic's range, or if this user may not read it.
fn read(
    consumer: &BaseConsumer<LibraryContext>,
    next: &mut [i64],
    idle: Duration,
    gather: Duration,
) -> Result<ArrivedMessages, LibraryError> {
    let mut arrived = ArrivedMessages::default();
    let mut deadline = Instant::now() + idle;
    while arrived.payloads.len() < MAX_MESSAGES && arrived.bytes < MAX_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match consumer.poll(left) {
            None => break,
            Some(Ok(message)) => {
                let place = usize::try_from(message.partition()).ok();
                let Some(next) = place.and_then(|place| next.get_mut(place)) else { continue };
                if arrived.payloads.is_empty() {
                    deadline = Instant::now() + gather;
                }
                *next = message.offset() + 1;
                let payload = message.payload().unwrap_or_default().to_vec();
                arrived.bytes += payload.len();
                arrived.payloads.push(payload);
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::AutoOffsetReset
                    | RDKafkaErrorCode::OffsetOutOfRange
                    | RDKafkaErrorCode::TopicAuthorizationFailed,
                ) => return Err(error),
                // The library retries by itself, and a look at the ends names the fault.
                _ => tracing::debug!(error = %error, "message can't be read"),
            },
        }
    }
    Ok(arrived)
}
