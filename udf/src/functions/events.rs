//! Functions on events and Kafka messages: partition of a key, event fingerprint.

use std::iter;
use std::num::NonZeroU32;

use thiserror::Error;

use super::{Argument, DISTINCT_ID, Example, Function, Reads, RuleError, Type};
use crate::fingerprint::{Event, fingerprint};
use crate::kafka;
use crate::wire::{Answer, Block, Consumed};

const KEY: Argument = Argument { name: "key", data_type: Type::String };
const PARTITIONS: Argument = Argument { name: "partitions", data_type: Type::UInt32 };
const TEAM_ID: Argument = Argument { name: "team_id", data_type: Type::Int64 };
const UUID: Argument = Argument { name: "uuid", data_type: Type::Uuid };
const EVENT: Argument = Argument { name: "event", data_type: Type::String };
const TIMESTAMP: Argument = Argument { name: "timestamp", data_type: Type::Micros };

#[derive(Debug, Error)]
#[error("0 partitions: give the number of partitions of the topic")]
struct NoPartition;

pub(super) static KAFKA_PARTITION: Function = Function {
    name: "kafkaPartition",
    arguments: &[KEY, PARTITIONS],
    returns: Type::UInt32,
    doc: "The partition, from 0, that Kafka's default partitioner (murmur2, as in the Java client) picks for a message \
        with this key. Producers on librdkafka pick it only with partitioner = murmur2 or murmur2_random.",
    bad_input: "0 partitions fail the query, with the row's number in its block.",
    instead: "_partition of a Kafka table is the partition of a stored message. kafkaPartition gives the partition of any key, \
        for any number of partitions.",
    examples: &[
        Example { call: "kafkaPartition('foobar', toUInt32(4294967295))", answer: "1357151166" },
        Example { call: "kafkaPartition('abc', toUInt32(10))", answer: "7" },
        Example { call: "kafkaPartition('21', toUInt32(1))", answer: "0" },
    ],
    reads: Reads::Arguments,
    rule: answer_kafka_partition,
};

pub(super) static EVENT_FINGERPRINT: Function = Function {
    name: "eventFingerprint",
    arguments: &[TEAM_ID, UUID, EVENT, DISTINCT_ID, TIMESTAMP],
    returns: Type::Uuid,
    doc: "The same UUID for an event that was sent again, and another for every other event, to count duplicates. It \
        depends only on the five arguments and never changes, on any platform or version.",
    bad_input: "Every row has a fingerprint.",
    instead: "Within one query, uniq or GROUP BY over the five columns does the same. Use the fingerprint if it is stored or \
        compared elsewhere.",
    examples: &[
        Example {
            call: "eventFingerprint(toInt64(7), toUUID('00112233-4455-6677-8899-aabbccddeeff'), '$pageview', 'user-1', \
                toDateTime64('2026-11-01 10:42:06.502000', 6, 'UTC'))",
            answer: "3bf5377b-8dc6-813a-841f-124627fb9e93",
        },
        Example {
            call: "eventFingerprint(toInt64(-1), toUUID('00000000-0000-0000-0000-000000000000'), '', '', \
                toDateTime64('1969-12-31 23:59:59.999999', 6, 'UTC'))",
            answer: "c373c068-4c01-8b54-8c61-dccd49f4399a",
        },
    ],
    reads: Reads::Arguments,
    rule: answer_event_fingerprint,
};

fn answer_kafka_partition(block: &Block<'_>, answer: &mut Answer) -> Result<Consumed, RuleError> {
    let rows = block.strings(0)?.zip(block.packed(1)?.iter());
    for (row, (key, partitions)) in block.numbers().zip(rows) {
        let partitions = NonZeroU32::new(u32::from_le_bytes(partitions))
            .ok_or_else(|| RuleError::row(row, PARTITIONS.name, NoPartition))?;
        answer.push_u32(kafka::partition(key, partitions));
    }
    Ok(block.whole())
}

fn answer_event_fingerprint(block: &Block<'_>, answer: &mut Answer) -> Result<Consumed, RuleError> {
    let ids = iter::zip(block.packed(0)?.iter(), block.packed(1)?.iter());
    let texts = iter::zip(block.strings(2)?, block.strings(3)?);
    for (((team_id, uuid), (name, distinct_id)), timestamp) in ids.zip(texts).zip(block.packed(4)?.iter()) {
        let event = Event {
            team_id: i64::from_le_bytes(team_id),
            uuid: swap_halves(uuid),
            name,
            distinct_id,
            timestamp: i64::from_le_bytes(timestamp),
        };
        answer.push_uuid(swap_halves(fingerprint(&event)));
    }
    Ok(block.whole())
}

/// Converts a UUID between wire order (two little-endian halves) and text order.
fn swap_halves(uuid: [u8; 16]) -> [u8; 16] {
    let mut bytes = uuid;
    let (first, second) = bytes.split_at_mut(size_of::<u64>());
    first.reverse();
    second.reverse();
    bytes
}
