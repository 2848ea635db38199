//! Checks of topic configs against the limits of their readers.

use super::{CheckInput, Finding, fault, warn};
use crate::topics::plan::values::bytes;

/// Largest answer that ClickHouse's librdkafka accepts (`receive.message.max.bytes`), unless the
/// nodes set it.
const RECEIVED: i64 = 100_000_000;
/// Bytes that nodes fetch at once if they are set up as posthouse asks (`fetch_message_max_bytes`).
/// The setting can't be read from here.
const FETCHED: i64 = 26_214_400;

pub(super) fn check(found: &CheckInput) -> Vec<Finding> {
    let read = found.ours().into_iter().filter(|topic| readers(found, topic).next().is_some());
    read.flat_map(|topic| [size(found, topic), compaction(found, topic)]).flatten().collect()
}

fn readers<'f>(found: &'f CheckInput, topic: &'f str) -> impl Iterator<Item = &'f crate::schema::KafkaTable> {
    found.seen.tables.iter().filter(move |table| table.topics.iter().any(|read| read == topic))
}

fn size(found: &CheckInput, topic: &str) -> Option<Finding> {
    let limit = found.number(topic, "max.message.bytes")?;
    let size = format!("max.message.bytes is {limit} ({})", bytes(limit.unsigned_abs()));
    let about = format!("topic {topic}");
    if limit > RECEIVED {
        let text = format!(
            "{size}, and ClickHouse's client accepts answers of up to {RECEIVED} bytes, if the nodes don't set \
             <kafka><receive_message_max_bytes>: a larger message stops its partition"
        );
        return Some(fault(about, text, "lower it, or raise that setting on every node first"));
    }
    let exactly_once = readers(found, topic).any(|table| table.keeper_path.is_some());
    let text = format!(
        "{size}, and nodes are assumed to fetch {FETCHED} bytes at once, as posthouse requires: a block with larger \
         messages is replayed in pieces after a crash, and may be stored twice"
    );
    let next = "lower it, or raise <kafka><consumer><fetch_message_max_bytes> on every node";
    (exactly_once && limit > FETCHED).then(|| warn(about, text, next))
}

fn compaction(found: &CheckInput, topic: &str) -> Option<Finding> {
    let policy = found.text(topic, "cleanup.policy")?;
    let compacts = topic == found.events_topic && policy.split(',').any(|one| one.trim() == "compact");
    let text = format!(
        "cleanup.policy is {policy}: of events with the same key all but the last are deleted, even unread ones"
    );
    compacts.then(|| warn(format!("topic {topic}"), text, "set cleanup.policy to delete in the topics file"))
}
