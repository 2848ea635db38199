//! What a reader of both topics sees of the probes: when posthouse handed each message over, and when it could be read.

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

/// Of one probe, in ms of Unix time; of two messages the later one counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Passed {
    /// The message's timestamp, which posthouse's producer sets.
    pub(super) handed_over: i64,
    /// When it was read here.
    pub(super) readable: i64,
}

/// Of a message of either topic.
#[derive(Deserialize)]
struct Payload {
    team_id: i64,
    properties: Option<String>,
    distinct_id: Option<String>,
}

/// Reads both topics from their beginning until `stop`.
///
/// # Errors
/// When a message is not as posthouse writes them.
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

/// 0 where it is none.
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
