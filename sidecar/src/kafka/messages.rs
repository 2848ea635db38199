//! Single messages of partitions, read by consumers without a group.
//!
//! [`Client::first_messages`] reads one message of each partition for its timestamp;
//! [`Client::latest`] reads the last message of a key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::{ANSWER_LIMIT, Client, ELECTION_TIMEOUT, KafkaError, Requested, TopicPartition};
use crate::span;

/// Interval between two checks of the deadline.
const POLL: Duration = Duration::from_millis(100);
/// First message at or after an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstMessage {
    /// Timestamp in milliseconds since 1970; `None` if the message has none.
    Made(Option<i64>),
    /// No message up to the end of the partition. Only transaction markers or messages of open
    /// transactions are left.
    Nothing,
}

/// First messages of partitions.
#[derive(Debug, Default)]
pub(crate) struct FirstMessages {
    /// Without partitions that do not answer within seconds, and without those of denied topics.
    pub(crate) found: BTreeMap<TopicPartition, FirstMessage>,
    /// The denial of the first topic that this user may not read.
    pub(crate) denied: Option<KafkaError>,
}

/// Partitions read at once. Bounds the messages that are fetched and not used.
const READ_AT_ONCE: usize = 200;

impl Client {
    /// Reads the first message at or after each offset.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] or [`KafkaError::Failed`]. A topic that this user may not read
    /// is no error, because the others may be readable.
    pub(crate) async fn first_messages(
        &self,
        starts: &BTreeMap<TopicPartition, i64>,
    ) -> Result<FirstMessages, KafkaError> {
        let starts: Vec<(TopicPartition, i64)> =
            starts.iter().map(|(place, at)| (place.clone(), *at)).collect();
        let mut messages = FirstMessages::default();
        // Topic by topic, because an end-of-partition event of the library has only the partition
        // number.
        for topic in starts.chunk_by(|(a, _), (b, _)| a.topic == b.topic) {
            for starts in topic.chunks(READ_AT_ONCE) {
                match self.read(starts.to_vec()).await {
                    Ok(found) => messages.found.extend(found),
                    Err(error @ KafkaError::Denied { .. }) => {
                        messages.denied = messages.denied.take().or(Some(error));
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(messages)
    }

    /// Reads partitions of one topic.
    async fn read(
        &self,
        starts: Vec<(TopicPartition, i64)>,
    ) -> Result<BTreeMap<TopicPartition, FirstMessage>, KafkaError> {
        let topic = starts.first().map(|(place, _)| place.topic.clone());
        let requested = Requested { topic: topic.as_deref(), group: None };
        self.consumer("read a message of each partition", requested, move |consumer| {
            let mut list = TopicPartitionList::new();
            for (place, offset) in &starts {
                list.add_partition_offset(&place.topic, place.partition, Offset::Offset(*offset))?;
            }
            let mut wanted: BTreeSet<&TopicPartition> = starts.iter().map(|(place, _)| place).collect();
            let mut messages = BTreeMap::new();
            consumer.assign(&list)?;
            let deadline = Instant::now() + ANSWER_LIMIT;
            while !wanted.is_empty() && Instant::now() < deadline {
                let Some(polled) = consumer.poll(POLL) else { continue };
                let message = match polled {
                    Ok(message) => message,
                    Err(LibraryError::PartitionEOF(partition)) => {
                        let ended = wanted.iter().find(|place| place.partition == partition).copied();
                        if let Some(place) = ended.filter(|place| wanted.remove(place)) {
                            messages.insert(place.clone(), FirstMessage::Nothing);
                        }
                        continue;
                    }
                    Err(error)
                        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) =>
                    {
                        return Err(error);
                    }
                    // The library retries by itself. Partitions without a reply are left out.
                    Err(error) => {
                        tracing::debug!(error = %error, "message can't be read");
                        continue;
                    }
                };
                let place =
                    TopicPartition { topic: message.topic().to_owned(), partition: message.partition() };
                if wanted.remove(&place) {
                    let mut read = TopicPartitionList::new();
                    read.add_partition(&place.topic, place.partition);
                    consumer.pause(&read)?;
                    messages.insert(place, FirstMessage::Made(message.timestamp().to_millis()));
                }
            }
            Ok(messages)
        })
        .await
    }
}

impl Client {
    /// Returns the last message with this key in a topic of one partition. Reads from the
    /// beginning, so the topic should be compacted.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`], also if the topic can't be read to its end within seconds, or
    /// [`KafkaError::Failed`].
    pub(crate) async fn latest(&self, topic: &str, key: &[u8]) -> Result<Option<Vec<u8>>, KafkaError> {
        const TASK: &str = "read a topic to its end";
        let (named, topic, key, client) = (topic, topic.to_owned(), key.to_owned(), self.clone());
        let read = tokio::task::spawn_blocking(span::in_current(move || {
            let consumer = client.new_consumer((), |config| {
                config
                    .set("group.id", "posthouse")
                    .set("enable.partition.eof", "true")
                    .set("enable.auto.commit", "false");
            })?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, 0, Offset::Beginning)?;
            consumer.assign(&list)?;
            let (mut latest, mut heard) = (None, Instant::now());
            while heard.elapsed() < ELECTION_TIMEOUT {
                match consumer.poll(POLL) {
                    Some(Ok(message)) => {
                        heard = Instant::now();
                        if message.key() == Some(&*key) {
                            latest = message.payload().map(<[u8]>::to_vec);
                        }
                    }
                    Some(Err(LibraryError::PartitionEOF(_))) => return Ok(latest),
                    Some(Err(error))
                        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) =>
                    {
                        return Err(error);
                    }
                    Some(Err(error)) => {
                        tracing::debug!(topic = %topic, error = %error, "message can't be read");
                    }
                    None => {}
                }
            }
            Err(LibraryError::MessageConsumption(RDKafkaErrorCode::RequestTimedOut))
        }));
        match read.await.map_err(|_| KafkaError::Task(TASK))? {
            Ok(latest) => Ok(latest),
            Err(source) => Err(self.failed(TASK, Requested::topic(named), source).await),
        }
    }
}
