//! Offsets of partitions and groups: bounds, offsets at a time, commits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::types::RDKafkaErrorCode;
use serde::Serialize;

use super::{ANSWER_LIMIT, Client, KafkaError, LibraryContext, Requested, retry_while_electing};
use crate::span;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct TopicPartition {
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct OffsetBounds {
    /// Offset of the first message.
    pub(crate) first: i64,
    /// Offset of the next message to be written.
    pub(crate) end: i64,
}

/// Kafka's special time before the first message.
const EARLIEST: i64 = -2;
/// Kafka's special time after the last message.
const LATEST: i64 = -1;
/// Events of a client that are read for a denied right.
const MAX_EVENTS: usize = 100;

impl Client {
    /// Returns the bounds of these partitions. A partition without a leader is left out.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] or [`KafkaError::Failed`].
    pub(crate) async fn bounds(
        &self,
        places: BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, OffsetBounds>, KafkaError> {
        let (first, end) = (self.at(places.clone(), EARLIEST).await?, self.at(places, LATEST).await?);
        let bounds = first.into_iter().filter_map(|(place, first)| {
            let end = *end.get(&place)?;
            Some((place, OffsetBounds { first: first?, end: end? }))
        });
        Ok(bounds.collect())
    }

    /// Returns each partition's first offset whose message is not older than `time`, in
    /// milliseconds since 1970; `None` if all messages are older. A partition without a leader is
    /// left out.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] or [`KafkaError::Failed`].
    pub(crate) async fn at(
        &self,
        places: BTreeSet<TopicPartition>,
        time: i64,
    ) -> Result<BTreeMap<TopicPartition, Option<i64>>, KafkaError> {
        let asked = list(places.iter().map(|place| (place, Offset::from_raw(time))));
        self.consumer("read offsets of partitions", Requested::default(), move |consumer| {
            // The library rejects a list without partitions.
            if places.is_empty() {
                return Ok(BTreeMap::new());
            }
            Ok(offsets(&consumer.offsets_for_times(asked.clone()?, ANSWER_LIMIT)?))
        })
        .await
    }

    /// Returns the offsets that a group has committed for these partitions; `None` without a
    /// commit.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] or [`KafkaError::Failed`].
    pub(crate) async fn committed(
        &self,
        group: &str,
        places: BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Option<i64>>, KafkaError> {
        let asked = list(places.iter().map(|place| (place, Offset::Invalid)));
        self.consumer("read a group's offsets", Requested::group(group), move |consumer| {
            if places.is_empty() {
                return Ok(BTreeMap::new());
            }
            let committed = consumer.committed_offsets(asked.clone()?, ANSWER_LIMIT);
            Ok(offsets(&committed.map_err(|error| denied(consumer).unwrap_or(error))?))
        })
        .await
    }

    /// Commits offsets for a group without members. The broker rejects the commit if the group has
    /// any.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] or [`KafkaError::Failed`].
    pub(crate) async fn commit(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), KafkaError> {
        let wanted = list(offsets.iter().map(|(place, offset)| (place, Offset::Offset(*offset))));
        let topics: BTreeSet<&str> = offsets.keys().map(|place| place.topic.as_str()).collect();
        // Among several topics, the brokers' error does not name the denied one.
        let topic = topics.first().copied().filter(|_| topics.len() == 1);
        let requested = Requested { topic, group: Some(group) };
        self.consumer("commit a group's offsets", requested, move |consumer| {
            let committed = consumer.commit(&wanted.clone()?, CommitMode::Sync);
            committed.map_err(|error| denied(consumer).unwrap_or(error))
        })
        .await
    }

    /// Runs `work` with a consumer of the requested group on a separate thread. The consumer does
    /// not join the group.
    pub(super) async fn consumer<T: Send + 'static>(
        &self,
        task: &'static str,
        requested: Requested<'_>,
        work: impl Fn(&BaseConsumer<LibraryContext>) -> Result<T, LibraryError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let client = self.clone();
        let group = requested.group.unwrap_or("posthouse").to_owned();
        let done = tokio::task::spawn_blocking(span::in_current(move || {
            let consumer = client.new_consumer((), |config| {
                config
                    .set("group.id", &group)
                    .set("enable.auto.commit", "false")
                    .set("enable.partition.eof", "true")
                    // At most one message of a partition is needed. The broker sends the first
                    // message however large it is.
                    .set("fetch.message.max.bytes", "1")
                    .set("auto.offset.reset", "earliest");
            })?;
            retry_while_electing(client.patience, || work(&consumer))
        }));
        match done.await.map_err(|_| KafkaError::Task(task))? {
            Ok(done) => Ok(done),
            Err(source) => Err(self.failed(task, requested, source).await),
        }
    }
}

/// The right that the brokers deny. The library waits for a coordinator meanwhile, and reports it
/// as an event.
fn denied(consumer: &BaseConsumer<LibraryContext>) -> Option<LibraryError> {
    let events = std::iter::from_fn(|| consumer.poll(Duration::ZERO));
    events.take(MAX_EVENTS).filter_map(Result::err).find(|error| {
        matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::TopicAuthorizationFailed)
        )
    })
}

fn list<'p>(
    places: impl Iterator<Item = (&'p TopicPartition, Offset)>,
) -> Result<TopicPartitionList, LibraryError> {
    let mut list = TopicPartitionList::new();
    for (place, offset) in places {
        list.add_partition_offset(&place.topic, place.partition, offset)?;
    }
    Ok(list)
}

/// The offsets of a list's partitions, without partitions that have an error.
fn offsets(list: &TopicPartitionList) -> BTreeMap<TopicPartition, Option<i64>> {
    let sound = list.elements();
    let sound = sound.iter().filter(|element| element.error().is_ok());
    let offset = |offset| match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    sound
        .map(|element| {
            let place = TopicPartition { topic: element.topic().to_owned(), partition: element.partition() };
            (place, offset(element.offset()))
        })
        .collect()
}
