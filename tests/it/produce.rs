//! Producers of exact messages, tombstones included, and waits for consumers.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// Above the default of 1 MB for a message with its envelope.
const MAX_MESSAGE: &str = "2000000";
/// For one response of a broker.
const ANSWER: Duration = Duration::from_secs(10);
/// For consumers to read all messages: many times the usual duration, for a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The position and time of a produced message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) partition: i32,
    /// The offset within the partition.
    pub(crate) offset: i64,
    /// The message's timestamp, in seconds of Unix time as in `_timestamp`.
    pub(crate) second: u64,
}

/// Produces `values` into the site's topic, spread over its partitions. `None` is a tombstone.
pub(crate) fn produce(site: &Site<'_>, values: &[Option<&[u8]>]) -> anyhow::Result<Vec<Place>> {
    produce_into(site, site.name(), values)
}

/// Produces `values` into any topic.
pub(crate) fn produce_into(
    site: &Site<'_>,
    topic: &str,
    values: &[Option<&[u8]>],
) -> anyhow::Result<Vec<Place>> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("enable.idempotence", "true")
        .set("message.max.bytes", MAX_MESSAGE)
        .create()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut deliveries = Vec::with_capacity(values.len());
    for (number, value) in values.iter().enumerate() {
        let (key, time) = (number.to_string(), i64::try_from(now)? * 1000 + 999);
        let record = FutureRecord::<str, [u8]> { payload: *value, ..FutureRecord::to(topic) };
        let sent = producer.send_result(record.key(&key).timestamp(time)).map_err(|(error, _)| error);
        deliveries.push(sent.context("can't produce")?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut places = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let delivery = delivery.await?.map_err(|(error, _)| anyhow!("not delivered: {error}"))?;
            places.push(Place { partition: delivery.partition, offset: delivery.offset, second: now });
        }
        Ok(places)
    })
}

/// Produces an empty message with each key, partitioned as by the Java client's default. Returns
/// each key with the partition of its delivery.
pub(crate) fn partitions_of(site: &Site<'_>, keys: &[Vec<u8>]) -> anyhow::Result<Vec<(Vec<u8>, i32)>> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("partitioner", "murmur2")
        .create()?;
    let record = |key| FutureRecord::<[u8], [u8]>::to(site.name()).payload(b"").key(key);
    let sent: Vec<_> = keys
        .iter()
        .map(|key| producer.send_result(record(key.as_slice())).map_err(|(error, _)| error))
        .collect::<Result<_, _>>()
        .context("can't produce")?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut partitions = Vec::with_capacity(keys.len());
        for (key, delivery) in keys.iter().zip(sent) {
            let delivery = delivery.await?.map_err(|(error, _)| anyhow!("not delivered: {error}"))?;
            partitions.push((key.clone(), delivery.partition));
        }
        Ok(partitions)
    })
}

/// Waits until the site's group has committed the end of its topic. After that no present message
/// can become another row, so the stored rows can be compared exactly.
pub(crate) fn consumed(site: &Site<'_>) -> anyhow::Result<()> {
    consumed_by(site, site.name(), site.name())
}

/// Waits until any group has committed the end of any topic.
pub(crate) fn consumed_by(site: &Site<'_>, group: &str, name: &str) -> anyhow::Result<()> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", site.brokers()).set("group.id", group).create()?;
    let metadata = consumer.fetch_metadata(Some(name), ANSWER)?;
    let topic = metadata.topics().first().context("no such topic")?;
    let mut wanted = TopicPartitionList::new();
    for partition in topic.partitions() {
        wanted.add_partition(name, partition.id());
    }
    wait_until("the group to have consumed everything", LIMIT, || {
        let lag = || -> anyhow::Result<Vec<String>> {
            let mut behind = Vec::new();
            for partition in consumer.committed_offsets(wanted.clone(), ANSWER)?.elements() {
                let (_, end) = consumer.fetch_watermarks(name, partition.partition(), ANSWER)?;
                if end > 0 && partition.offset() != Offset::Offset(end) {
                    behind.push(format!("{}: {:?} of {end}", partition.partition(), partition.offset()));
                }
            }
            Ok(behind)
        };
        match lag() {
            Ok(behind) if behind.is_empty() => ControlFlow::Break(Ok(())),
            Ok(behind) => ControlFlow::Continue(anyhow!("{}", behind.join(", "))),
            Err(error) => ControlFlow::Continue(error),
        }
    })
}

/// The number of messages in a topic.
pub(crate) fn messages(site: &Site<'_>, name: &str) -> anyhow::Result<u64> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", site.brokers()).create()?;
    let metadata = consumer.fetch_metadata(Some(name), ANSWER)?;
    let topic = metadata.topics().first().context("no such topic")?;
    let mut all = 0;
    for partition in topic.partitions() {
        let (first, end) = consumer.fetch_watermarks(name, partition.id(), ANSWER)?;
        all += u64::try_from(end - first)?;
    }
    Ok(all)
}
