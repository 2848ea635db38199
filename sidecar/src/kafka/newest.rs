//! Newest messages of a topic, read by a consumer without a group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::message::Headers;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::producer::HEADER;
use super::{Client, ELECTION_TIMEOUT, KafkaError, Requested, TopicPartition};
use crate::span;

const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Bounds the memory of messages that are fetched and not processed.
const MAX_PARTITIONS_AT_ONCE: usize = 50;
/// Limit of one answer for one partition. A larger message comes alone.
const MAX_FETCH_BYTES: &str = "262144";
/// Limit of all messages that are fetched and not processed.
const MAX_QUEUED_KIB: &str = "4096";

/// A message with its position in the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicRecord {
    pub(crate) place: TopicPartition,
    pub(crate) offset: i64,
    /// In milliseconds since 1970; `None` if the message has none.
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    /// Empty for a tombstone.
    pub(crate) payload: Vec<u8>,
    /// Whether the message has posthouse's header.
    pub(crate) is_marked: bool,
}

/// Result of reading the newest messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newest<T> {
    /// Number of messages read.
    pub(crate) read: u64,
    /// Results of `pick`.
    pub(crate) picked: Vec<T>,
    /// End offset of each partition, for the `from` of the next call.
    pub(crate) ends: BTreeMap<TopicPartition, i64>,
}

impl Client {
    /// Reads the last `limit` offsets of each partition of a topic, but none before its offset in
    /// `from`, and keeps the results of `pick`. A missing topic and a partition without a leader
    /// have no messages.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`], also if a partition can't be read to its end within seconds, or
    /// [`KafkaError::Failed`].
    pub(crate) async fn newest<T: Send + 'static>(
        &self,
        topic: &str,
        from: &BTreeMap<TopicPartition, i64>,
        limit: i64,
        pick: impl Fn(&TopicRecord) -> Option<T> + Clone + Send + 'static,
    ) -> Result<Newest<T>, KafkaError> {
        let partitions = self.cluster().await?.topics.get(topic).map_or(0, |layout| layout.partitions.len());
        let places: BTreeSet<TopicPartition> = (0..)
            .take(partitions)
            .map(|partition| TopicPartition { topic: topic.to_owned(), partition })
            .collect();
        let bounds = self.bounds(places).await?;
        let mut newest = Newest { read: 0, picked: Vec::new(), ends: BTreeMap::new() };
        let mut ranges = Vec::new();
        for (place, bounds) in bounds {
            // A recreated topic begins at 0.
            let from = from.get(&place).copied().filter(|from| *from <= bounds.end).unwrap_or(0);
            let start = from.max(bounds.first).max(bounds.end.saturating_sub(limit));
            newest.ends.insert(place.clone(), bounds.end);
            if start < bounds.end {
                ranges.push((place.partition, start, bounds.end));
            }
        }
        for ranges in ranges.chunks(MAX_PARTITIONS_AT_ONCE) {
            let (read, picked) = self.read_ranges(topic, ranges.to_vec(), pick.clone()).await?;
            newest.read += read;
            newest.picked.extend(picked);
        }
        Ok(newest)
    }

    /// Reads each partition from its start up to its end.
    async fn read_ranges<T: Send + 'static>(
        &self,
        topic: &str,
        ranges: Vec<(i32, i64, i64)>,
        pick: impl Fn(&TopicRecord) -> Option<T> + Send + 'static,
    ) -> Result<(u64, Vec<T>), KafkaError> {
        const TASK: &str = "read a topic's newest messages";
        let (named, topic, client) = (topic, topic.to_owned(), self.clone());
        let done = tokio::task::spawn_blocking(span::in_current(move || {
            let consumer = client.new_consumer((), |config| {
                config
                    .set("group.id", "posthouse")
                    .set("enable.auto.commit", "false")
                    .set("enable.partition.eof", "true")
                    .set("auto.offset.reset", "earliest")
                    .set("fetch.message.max.bytes", MAX_FETCH_BYTES)
                    .set("queued.max.messages.kbytes", MAX_QUEUED_KIB);
            })?;
            let mut list = TopicPartitionList::new();
            for (partition, start, _) in &ranges {
                list.add_partition_offset(&topic, *partition, Offset::Offset(*start))?;
            }
            consumer.assign(&list)?;
            let mut open: BTreeMap<i32, i64> =
                ranges.into_iter().map(|(partition, _, end)| (partition, end)).collect();
            let (mut read, mut picked, mut heard) = (0, Vec::new(), Instant::now());
            while !open.is_empty() {
                if heard.elapsed() >= ELECTION_TIMEOUT {
                    return Err(LibraryError::MessageConsumption(RDKafkaErrorCode::RequestTimedOut));
                }
                let Some(polled) = consumer.poll(POLL_TIMEOUT) else { continue };
                let message = match polled {
                    Ok(message) => message,
                    // Deleted and compacted messages leave fewer messages than offsets.
                    Err(LibraryError::PartitionEOF(partition)) => {
                        open.remove(&partition);
                        continue;
                    }
                    Err(error)
                        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) =>
                    {
                        return Err(error);
                    }
                    // The library retries by itself.
                    Err(error) => {
                        tracing::debug!(topic = %topic, error = %error, "message can't be read");
                        continue;
                    }
                };
                heard = Instant::now();
                let (partition, offset) = (message.partition(), message.offset());
                let Some(end) = open.get(&partition).copied() else { continue };
                if offset < end {
                    read += 1;
                    picked.extend(pick(&record(&message)));
                }
                if offset + 1 >= end {
                    open.remove(&partition);
                    let mut done = TopicPartitionList::new();
                    done.add_partition(&topic, partition);
                    consumer.pause(&done)?;
                }
            }
            Ok((read, picked))
        }));
        match done.await.map_err(|_| KafkaError::Task(TASK))? {
            Ok(read) => Ok(read),
            Err(source) => Err(self.failed(TASK, Requested::topic(named), source).await),
        }
    }
}

fn record(message: &impl Message) -> TopicRecord {
    TopicRecord {
        place: TopicPartition { topic: message.topic().to_owned(), partition: message.partition() },
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().unwrap_or_default().to_vec(),
        is_marked: message.headers().is_some_and(|headers| headers.iter().any(|header| header.key == HEADER)),
    }
}
