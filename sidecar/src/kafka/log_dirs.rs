//! Bytes of partitions on the brokers' disks.
//!
//! librdkafka lacks this request, so it goes over [`super::wire`].

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::offsets::TopicPartition;
use super::wire::{Connection, refused};
use super::{ANSWER_LIMIT, Client, KafkaError};

/// The first version whose answer has an error of its own.
const WITH_ERROR: i16 = 3;

impl Client {
    /// Bytes of every partition, summed over all replicas; `None` if a broker does not report them.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] if no broker answers at all.
    pub(crate) async fn sizes(&self) -> Result<Option<BTreeMap<TopicPartition, u64>>, KafkaError> {
        self.blocking("read the sizes of partitions", |library, access| {
            let metadata = library.fetch_metadata(None, ANSWER_LIMIT)?;
            let mut sizes = BTreeMap::new();
            for broker in metadata.brokers() {
                let port = u16::try_from(broker.port()).unwrap_or_default();
                let asked = Connection::open(broker.host(), port, access);
                match asked.and_then(|mut connection| broker_sizes(&mut connection)) {
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

fn broker_sizes(connection: &mut Connection) -> io::Result<Vec<(TopicPartition, u64)>> {
    let version = connection.newest_version::<DescribeLogDirsRequest>()?;
    // A null list means all topics.
    let answer = connection.ask(version, &DescribeLogDirsRequest::default().with_topics(None))?;
    sizes(answer, version)
}

/// The partitions of one broker. A failed log folder counts as empty.
///
/// # Errors
/// Fails if this user lacks the right. Before version 3 Kafka answers that with an empty list, and
/// otherwise with every folder, even an empty one.
fn sizes(answer: DescribeLogDirsResponse, version: i16) -> io::Result<Vec<(TopicPartition, u64)>> {
    let is_silent_refusal = version < WITH_ERROR && answer.results.is_empty();
    if is_silent_refusal || answer.error_code == ResponseError::ClusterAuthorizationFailed.code() {
        let hint = "this user needs the right Describe on the cluster";
        return Err(io::Error::new(ErrorKind::PermissionDenied, hint));
    }
    refused(answer.error_code)?;
    let folders = answer.results.into_iter().filter(|folder| folder.error_code == 0);
    let topics = folders.flat_map(|folder| folder.topics);
    let places = topics.flat_map(|topic| {
        topic.partitions.into_iter().map(move |partition| {
            // A replica that is moving between disks does not count yet.
            let size = if partition.is_future_key { 0 } else { partition.partition_size };
            let place =
                TopicPartition { topic: topic.name.to_string(), partition: partition.partition_index };
            (place, size.max(0).unsigned_abs())
        })
    });
    Ok(places.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_log_dirs_response::{
        DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
    };
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn folder() -> DescribeLogDirsResult {
        let held = DescribeLogDirsPartition::default().with_partition_index(3).with_partition_size(500);
        let moving = held.clone().with_is_future_key(true);
        let topic = DescribeLogDirsTopic::default()
            .with_name(StrBytes::from_static_str("a").into())
            .with_partitions(vec![held, moving]);
        DescribeLogDirsResult::default().with_topics(vec![topic])
    }

    #[test]
    fn counts_replicas_of_sound_folders() {
        let failed = folder().with_error_code(ResponseError::KafkaStorageError.code());
        let answer = DescribeLogDirsResponse::default().with_results(vec![folder(), failed]);
        let place = TopicPartition { topic: "a".to_owned(), partition: 3 };
        assert_eq!(sizes(answer, 1).expect("sizes"), [(place.clone(), 500), (place, 0)]);
    }

    #[test]
    fn reports_a_missing_right_in_old_and_new_versions() {
        let hint = "this user needs the right Describe on the cluster";
        let empty = DescribeLogDirsResponse::default;
        assert_eq!(sizes(empty(), 1).expect_err("no folders").to_string(), hint);
        let code = ResponseError::ClusterAuthorizationFailed.code();
        assert_eq!(sizes(empty().with_error_code(code), 4).expect_err("a code").to_string(), hint);
        let code = ResponseError::UnknownServerError.code();
        let error = sizes(empty().with_error_code(code), 4).expect_err("a code").to_string();
        assert_eq!(error, "UnknownServerError");
        // No folder, and no error: the broker has no partition.
        assert_eq!(sizes(empty(), 4).expect("no folders"), []);
    }
}
