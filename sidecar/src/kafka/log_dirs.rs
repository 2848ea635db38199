//! Bytes of partitions on the brokers' disks.
//!
//! librdkafka lacks this request, so it goes over [`super::wire`].

use std::collections::BTreeMap;
use std::io;

use super::offsets::TopicPartition;
use super::wire::{Connection, WireReader, WireWriter};
use super::{ANSWER_LIMIT, Client, KafkaError};

/// API key of the request.
const DESCRIBE_LOG_DIRS: i16 = 35;
/// The newest non-flexible version; brokers from 1.0 to 4.x support it.
const VERSION: i16 = 1;

impl Client {
    /// Bytes of every partition, summed over all replicas; `None` if a broker does not report them.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] if no broker answers at all.
    pub(crate) async fn sizes(&self) -> Result<Option<BTreeMap<TopicPartition, u64>>, KafkaError> {
        let login = self.login.clone();
        self.blocking("read the sizes of partitions", move |admin| {
            let metadata = admin.inner().fetch_metadata(None, ANSWER_LIMIT)?;
            let mut sizes = BTreeMap::new();
            for broker in metadata.brokers() {
                let port = u16::try_from(broker.port()).unwrap_or_default();
                let asked =
                    Connection::open(broker.host(), port, login.as_ref()).and_then(|mut connection| {
                        let mut all = WireWriter::default();
                        // A null list means all topics.
                        all.i32(-1);
                        connection.ask(DESCRIBE_LOG_DIRS, VERSION, &all.0)
                    });
                match asked
                    .and_then(|answer| read(&answer).ok_or_else(|| io::Error::other("malformed answer")))
                {
                    Ok(held) => {
                        for (place, size) in held {
                            *sizes.entry(place).or_default() += size;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(broker = broker.id(), error = %error, "broker reports no sizes");
                        return Ok(None);
                    }
                }
            }
            Ok(Some(sizes))
        })
        .await
    }
}

/// The partitions of one broker. A failed log folder counts as empty. `None` if the answer is
/// malformed or this user lacks the right.
fn read(answer: &[u8]) -> Option<Vec<(TopicPartition, u64)>> {
    let mut answer = WireReader(answer);
    let _throttled_ms = answer.i32()?;
    let folders = answer.list(|folder| {
        let error = folder.i16()?;
        let _path = folder.text()?;
        let topics = folder.list(|topic| {
            let name = topic.text()?;
            let partitions = topic.list(|partition| {
                let (number, size) = (partition.i32()?, partition.i64()?);
                let (_lag, is_future) = (partition.i64()?, partition.i8()?);
                // A replica that is moving between disks does not count yet.
                Some((number, if is_future == 0 { size.max(0).unsigned_abs() } else { 0 }))
            })?;
            Some((name, partitions))
        })?;
        Some((error, topics))
    })?;
    if folders.is_empty() {
        return None;
    }
    let sound = folders.into_iter().filter(|(error, _)| *error == 0).flat_map(|(_, topics)| topics);
    let places = sound.flat_map(|(topic, partitions)| {
        partitions
            .into_iter()
            .map(move |(partition, size)| (TopicPartition { topic: topic.clone(), partition }, size))
    });
    Some(places.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_broken_answers_refused() {
        let mut answer = WireWriter::default();
        answer.i32(0).i32(2);
        answer.i16(0).text("/data").i32(1).text("a").i32(1).i32(3).i32(0).i32(500).i32(0).i32(0).i8(0);
        answer.i16(56).text("/broken").i32(0);
        let sizes = read(&answer.0).expect("right");
        assert_eq!(sizes, [(TopicPartition { topic: "a".to_owned(), partition: 3 }, 500)]);
        for length in 0..answer.0.len() {
            assert_eq!(read(&answer.0[..length]), None, "{length}");
        }
        // A user without rights gets no folders.
        assert_eq!(read(&[0; 8]), None);
    }
}
