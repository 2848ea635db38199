//! What nobody has read yet: how old it is, and whether it is a message at all.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::events::event;
use crate::groups::{commit, now};
use crate::groups_check::idle_table;
use crate::produce::LIMIT;

tests! {
    Shared dates_the_oldest_unread_message_of_every_codec,
    Shared counts_no_transaction_marker_as_a_message,
}

/// For one answer of a broker.
const ANSWER: Duration = Duration::from_secs(10);
/// How long ago messages were made.
const AGO_MS: i64 = 120_000;

/// Produces messages that were made at this time, in milliseconds since 1970.
fn send(site: &Site<'_>, topic: &str, values: &[Vec<u8>], time: i64) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", site.brokers()).create()?;
    for (number, value) in values.iter().enumerate() {
        let key = number.to_string();
        let record = BaseRecord::to(topic).key(&key).payload(value).timestamp(time);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(ANSWER)?)
}

fn events(count: usize) -> Vec<Vec<u8>> {
    let message = |number: usize| {
        let mut event = event(number);
        event.insert("distinct_id".to_owned(), format!("user-{number}").into());
        Value::Object(event).to_string().into_bytes()
    };
    (0..count).map(message).collect()
}

/// What the lag of a group says, once it shows this many unread messages.
fn lag_of(site: &Site<'_>, group: &str, wanted: u64) -> anyhow::Result<Value> {
    wait_until(&format!("{group} to lag by {wanted}"), LIMIT, || {
        let shown = || -> anyhow::Result<Value> {
            let outcome = site.must(&["topics", "groups", group, "--json"])?;
            let shown: Value = serde_json::from_str(&outcome.stdout)?;
            Ok(shown["groups"][0].clone())
        };
        match shown() {
            Ok(lag) if lag["lag"] == wanted => ControlFlow::Break(Ok(lag)),
            Ok(lag) => ControlFlow::Continue(anyhow!("{lag}")),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    })
}

fn dates_the_oldest_unread_message_of_every_codec(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic for each codec, which the broker compresses itself
    let (name, time) = (site.name().to_owned(), now()? - AGO_MS);
    let codecs = ["uncompressed", "gzip", "snappy", "lz4", "zstd"];
    let folder = tempfile::tempdir()?;
    let topic = |codec: &str| {
        format!(
            "[topics.{name}_{codec}]\npartitions = 1\nreplication_factor = 1\n\
             config = {{ \"compression.type\" = \"{codec}\" }}\n"
        )
    };
    let path = folder.path().join("topics.toml");
    std::fs::write(&path, codecs.map(topic).concat())?;
    site.set("kafka", "topics", path.display().to_string());
    site.must(&["topics", "apply"])?;
    site.query("CREATE DATABASE {db}")?;
    // WHEN nobody has read its messages THEN the time of the oldest is known
    for codec in codecs {
        let topic = format!("{name}_{codec}");
        idle_table(site, 0, &format!("k_{codec}"), &topic, &topic)?;
        send(site, &topic, &events(50), time)?;
        let lag = lag_of(site, &topic, 50)?;
        ensure!(lag["oldest_unread"] == time, "{codec}: {lag}");
    }
    // WHEN views read them THEN they arrive
    for codec in codecs {
        site.query(&format!(
            "CREATE MATERIALIZED VIEW {{db}}.v_{codec} ENGINE = MergeTree ORDER BY tuple() \
             AS SELECT message FROM {{db}}.k_{codec}"
        ))?;
    }
    for codec in codecs {
        site.answers(&format!("SELECT count() FROM {{db}}.v_{codec}"), "50", LIMIT)?;
    }
    Ok(())
}

fn counts_no_transaction_marker_as_a_message(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a group that has read all messages of a transaction, whose marker has an offset of its own
    site.must(&["topics", "apply"])?;
    let group = format!("{}_read", site.name());
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("transactional.id", site.name())
        .create()?;
    producer.init_transactions(ANSWER)?;
    producer.begin_transaction()?;
    for partition in 0..4 {
        for number in ["1", "2", "3"] {
            let record = BaseRecord::<str, str>::to(site.name()).payload(number).partition(partition);
            producer.send(record).map_err(|(error, _)| error)?;
        }
    }
    producer.commit_transaction(ANSWER)?;
    // THEN what is behind it counts, and the marker does not
    commit(site, &group, 2)?;
    lag_of(site, &group, 8)?;
    commit(site, &group, 3)?;
    lag_of(site, &group, 0)?;
    Ok(())
}
