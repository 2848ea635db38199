//! Offsets: where partitions begin and end, where they were at a time, and what a group has committed.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError as LibraryError;
use serde::Serialize;

use super::{ANSWER_LIMIT, Client, KafkaError, LibraryLog, patiently};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// The offset of its first message.
    pub first: i64,
    /// The offset that its next message will have.
    pub end: i64,
}

/// Kafka's special times: before the first message, and after the last.
const EARLIEST: i64 = -2;
/// See [`EARLIEST`].
const LATEST: i64 = -1;

impl rdkafka::consumer::ConsumerContext for LibraryLog {}

impl Client {
    /// Where these partitions begin and end. One that no broker leads is left out.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`], or [`KafkaError::Failed`].
    pub async fn bounds(&self, places: BTreeSet<Place>) -> Result<BTreeMap<Place, Bounds>, KafkaError> {
        let (first, end) = (self.at(places.clone(), EARLIEST).await?, self.at(places, LATEST).await?);
        let bounds = first.into_iter().filter_map(|(place, first)| {
            let end = *end.get(&place)?;
            Some((place, Bounds { first: first?, end: end? }))
        });
        Ok(bounds.collect())
    }

    /// The first offset of each partition whose message is not older than `time`, in milliseconds since 1970; `None` if all
    /// are older. A partition that no broker leads is left out.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`], or [`KafkaError::Failed`].
    pub async fn at(
        &self,
        places: BTreeSet<Place>,
        time: i64,
    ) -> Result<BTreeMap<Place, Option<i64>>, KafkaError> {
        let asked = list(places.iter().map(|place| (place, Offset::from_raw(time))));
        self.consumer("look for offsets", None, move |consumer| {
            // A list without partitions is refused by the library.
            if places.is_empty() {
                return Ok(BTreeMap::new());
            }
            Ok(offsets(&consumer.offsets_for_times(asked.clone()?, ANSWER_LIMIT)?))
        })
        .await
    }

    /// What a group has committed of these partitions; `None` if nothing.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`], or [`KafkaError::Failed`].
    pub async fn committed(
        &self,
        group: &str,
        places: BTreeSet<Place>,
    ) -> Result<BTreeMap<Place, Option<i64>>, KafkaError> {
        let asked = list(places.iter().map(|place| (place, Offset::Invalid)));
        self.consumer("read a group's offsets", Some(group), move |consumer| {
            if places.is_empty() {
                return Ok(BTreeMap::new());
            }
            Ok(offsets(&consumer.committed_offsets(asked.clone()?, ANSWER_LIMIT)?))
        })
        .await
    }

    /// Commits offsets for a group in which nobody is; the broker refuses it if somebody is.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`], or [`KafkaError::Failed`].
    pub async fn commit(&self, group: &str, offsets: &BTreeMap<Place, i64>) -> Result<(), KafkaError> {
        let wanted = list(offsets.iter().map(|(place, offset)| (place, Offset::Offset(*offset))));
        self.consumer("commit a group's offsets", Some(group), move |consumer| {
            consumer.commit(&wanted.clone()?, CommitMode::Sync)
        })
        .await
    }

    /// Has a consumer of `group`, which joins nothing, do some work in a thread of its own.
    pub(super) async fn consumer<T: Send + 'static>(
        &self,
        task: &'static str,
        group: Option<&str>,
        work: impl Fn(&BaseConsumer<LibraryLog>) -> Result<T, LibraryError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let mut config = self.config.clone();
        config
            .set("group.id", group.unwrap_or("posthouse"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // One message of a partition is looked at, if any: the first is sent however large it is.
            .set("fetch.message.max.bytes", "1")
            .set("auto.offset.reset", "earliest");
        let patience = self.patience;
        let done = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer<LibraryLog> = config.create_with_context(LibraryLog)?;
            patiently(patience, || work(&consumer))
        });
        done.await.map_err(|_| KafkaError::Task(task))?.map_err(|source| self.failed(task, source))
    }
}

fn list<'p>(places: impl Iterator<Item = (&'p Place, Offset)>) -> Result<TopicPartitionList, LibraryError> {
    let mut list = TopicPartitionList::new();
    for (place, offset) in places {
        list.add_partition_offset(&place.topic, place.partition, offset)?;
    }
    Ok(list)
}

/// The offsets of a list's partitions, those with an error left out.
fn offsets(list: &TopicPartitionList) -> BTreeMap<Place, Option<i64>> {
    let sound = list.elements();
    let sound = sound.iter().filter(|element| element.error().is_ok());
    let offset = |offset| match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    sound
        .map(|element| {
            let place = Place { topic: element.topic().to_owned(), partition: element.partition() };
            (place, offset(element.offset()))
        })
        .collect()
}
