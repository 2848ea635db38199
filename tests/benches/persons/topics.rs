//! Probe messages in both person topics: producer timestamp and time of reading.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use posthouse_tests::site::Site;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message};
use serde::Deserialize;

use super::probes::{self, TEAM};

const POLL: Duration = Duration::from_millis(100);

/// Times of one probe, in ms of Unix time. If a probe has two messages, the later one counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Passed {
    /// The message's timestamp, set by posthouse's producer.
    pub(super) handed_over: i64,
    /// Time when this consumer read it.
    pub(super) readable: i64,
}

/// Payload of a message in either topic.
#[derive(Deserialize)]
struct Payload {
    team_id: i64,
    properties: Option<String>,
    distinct_id: Option<String>,
}

/// Reads both topics from their beginning until `stop`.
///
/// # Errors
/// Fails if a message isn't in posthouse's format.
pub(super) fn watch(site: &Site<'_>, stop: &AtomicBool) -> anyhow::Result<BTreeMap<u64, Passed>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("group.id", format!("{}_watch", site.name()))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "5")
        .create()?;
    let (person, distinct_id) = site.person_topics();
    consumer.subscribe(&[&person, &distinct_id])?;
    let mut seen: BTreeMap<u64, Passed> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(POLL) else { continue };
        let message = message?;
        let payload: Payload = serde_json::from_slice(message.payload().context("no payload")?)?;
        let number = probe(&payload)?;
        if payload.team_id == TEAM && number > 0 {
            let passed = seen.entry(number).or_default();
            let handed_over = message.timestamp().to_millis().context("no timestamp")?;
            passed.handed_over = passed.handed_over.max(handed_over);
            passed.readable = Timestamp::now().as_millisecond();
        }
    }
    Ok(seen)
}

/// Returns the probe number; 0 if the message isn't a probe.
fn probe(payload: &Payload) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Properties {
        #[serde(default)]
        probe: u64,
    }
    if payload.team_id != TEAM {
        return Ok(0);
    }
    Ok(match (&payload.properties, &payload.distinct_id) {
        (Some(properties), _) => serde_json::from_str::<Properties>(properties)?.probe,
        (None, Some(distinct_id)) => probes::number(distinct_id),
        (None, None) => 0,
    })
}
