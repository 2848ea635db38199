//! Stalled and missing consumers, and the age of unread messages.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::events::event;
use crate::groups::{commit, now};
use crate::groups_check::{check, idle_table};
use crate::produce::{LIMIT, consumed, consumed_by};

tests! {
    Shared names_consumers_that_stand_still_with_the_servers_reason,
    Shared names_too_many_parts_and_stores_every_event_once_when_they_are_merged,
    Shared names_consumers_that_the_schema_wants_and_a_node_lacks,
    Shared dates_the_oldest_unread_message_of_every_codec,
    Shared counts_no_transaction_marker_as_a_message,
}

/// For one response of a broker.
const ANSWER: Duration = Duration::from_secs(10);
/// Longer than a consumer may stall without a finding.
const AGO_MS: i64 = 120_000;

/// Produces messages with this timestamp, in milliseconds since 1970.
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

fn persons(count: usize) -> Vec<Vec<u8>> {
    let message = |number: usize| {
        let person = json!({"id": format!("018f5a7e-0000-4000-8000-{number:012}"), "team_id": 2, "properties": "{}",
            "created_at": "2026-11-01 10:42:06.502000", "is_identified": 0, "is_deleted": 0, "version": 1});
        person.to_string().into_bytes()
    };
    (0..count).map(message).collect()
}

/// Texts and hints of the faults about one object, from one run of `topics check`.
fn faults(findings: &[Value], about: &str) -> Vec<(String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let own = findings.iter().filter(|finding| finding["severity"] == "fault" && finding["about"] == about);
    own.map(|finding| (text(finding, "found"), text(finding, "next"))).collect()
}

/// Fails unless one of the faults has all `parts` in its text, and `next` in its hint.
fn has(faults: &[(String, String)], parts: &[&str], next: &str) -> anyhow::Result<()> {
    let is = |(found, way): &&(String, String)| {
        parts.iter().all(|part| found.contains(part)) && way.contains(next)
    };
    ensure!(faults.iter().any(|fault| is(&fault)), "none with {parts:?} and {next:?}: {faults:#?}");
    Ok(())
}

fn names_consumers_that_stand_still_with_the_servers_reason(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN working consumers, one of them with its offsets in the group, and detached storage
    // tables
    site.with_persons()?.apply()?;
    let plain = format!("{}_plain", site.name());
    idle_table(site, 0, "plain", site.name(), &plain)?;
    site.query(
        "CREATE MATERIALIZED VIEW {db}.plain_mv TO {db}.writable_events (distinct_id String) \
         AS SELECT toString(_offset) AS distinct_id FROM {db}.plain",
    )?;
    send(site, site.name(), &events(100), now()?)?;
    consumed(site)?;
    consumed_by(site, &plain, site.name())?;
    for node in 0..2 {
        site.query_on(node, "DETACH TABLE {db}.sharded_events SYNC")?;
    }
    site.query("DETACH TABLE {db}.person SYNC")?;
    // WHEN messages wait for longer than a minute
    let (name, person) = (site.name().to_owned(), site.person_topics().0);
    let stuck = format!("{name}_persons_ch1");
    send(site, &name, &events(500), now()? - AGO_MS)?;
    send(site, &person, &persons(10), now()? - AGO_MS)?;
    consumed_by(site, &format!("{name}_persons_ch2"), &person)?;
    // THEN the stalled groups are named, with their unread messages and the reason. The moving
    // group is not
    let (outcome, findings) = check(site)?;
    let of = |group: &str| faults(&findings, &format!("group {group}"));
    let waits = format!("500 messages of {name} wait");
    has(
        &of(&name),
        &[&waits, "has not moved for", "sharded_events does not exist"],
        "fix the server's error",
    )
    .with_context(|| outcome.to_string())?;
    has(&of(&plain), &[&waits, "ch1 reported", "sharded_events does not exist"], "fix the server's error")
        .with_context(|| outcome.to_string())?;
    let waits = format!("10 messages of {person} wait");
    has(&of(&stuck), &[&waits, "table behind", "person_mv is missing on ch1"], "person_mv")
        .with_context(|| outcome.to_string())?;
    let well = of(&format!("{name}_persons_ch2"));
    ensure!(well.is_empty(), "{well:#?}");
    // THEN a running posthouse exports it as metrics, and logs the finding once
    let running = Daemon::start(site, "check")?;
    let of = |metric: &str, group: &str, topic: &str| {
        format!("posthouse_consumer_{metric}{{group=\"{group}\",topic=\"{topic}\"}}")
    };
    running.wait(&of("lag_messages", &name, &name), |lag| lag == 500)?;
    running.wait(&of("oldest_unread_seconds", &name, &name), |age| age >= 120)?;
    running.wait(&of("stalled_seconds", &name, &name), |seconds| seconds > 0)?;
    running.wait(&of("lag_messages", &stuck, &person), |lag| lag == 10)?;
    running.wait(&of("stalled_seconds", &stuck, &person), |seconds| seconds >= 60)?;
    let logged = format!("new finding subject=group {name} finding=");
    let log = running.says(&logged)?;
    ensure!(log.matches(&logged).count() == 1, "{log}");
    // WHEN the storage tables are attached THEN every group moves, and the findings are gone
    for node in 0..2 {
        site.query_on(node, "ATTACH TABLE {db}.sharded_events")?;
    }
    site.query("ATTACH TABLE {db}.person")?;
    for (group, topic) in [(&name, &name), (&stuck, &person)] {
        running.wait(&of("lag_messages", group, topic), |lag| lag == 0)?;
        running.wait(&of("stalled_seconds", group, topic), |seconds| seconds == 0)?;
    }
    ensure!(running.end()? == 0, "another exit code");
    let (outcome, findings) = check(site)?;
    for group in [&name, &stuck] {
        ensure!(faults(&findings, &format!("group {group}")).is_empty(), "{outcome}");
    }
    Ok(())
}

fn names_too_many_parts_and_stores_every_event_once_when_they_are_merged(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    const EVENTS: usize = 400;

    // GIVEN a shard that accepts one part of a month and then none until parts are merged
    site.apply()?;
    site.query_on(1, "SYSTEM STOP MERGES {db}.sharded_events")?;
    site.query_on(
        1,
        "ALTER TABLE {db}.sharded_events MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 0",
    )?;
    // WHEN events come in four partitions, and one poll makes that part
    send(site, site.name(), &events(EVENTS), now()? - AGO_MS)?;
    // THEN the consumers are named, with the server's reason
    let about = format!("group {}", site.name());
    wait_until("the reason to be named", LIMIT, || {
        let named = || {
            let (outcome, findings) = check(site)?;
            let faults = faults(&findings, &about);
            has(&faults, &["wait", "Too many parts"], "fix the server's error")
                .with_context(|| outcome.to_string())
        };
        match named() {
            Ok(()) => ControlFlow::Break(Ok(())),
            Err(error) => ControlFlow::Continue(error),
        }
    })?;
    // WHEN the table accepts parts THEN every event is stored, and none twice
    site.query_on(
        1,
        "ALTER TABLE {db}.sharded_events RESET SETTING parts_to_throw_insert, parts_to_delay_insert",
    )?;
    consumed(site)?;
    let stored = site.stored()?;
    ensure!((stored.rows, stored.events) == (EVENTS as u64, EVENTS as u64), "{stored:?}");
    site.query_on(1, "SYSTEM START MERGES {db}.sharded_events")?;
    Ok(())
}

fn names_consumers_that_the_schema_wants_and_a_node_lacks(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema without committed offsets
    site.with_persons()?.apply()?;
    // WHEN a pause is left behind on all nodes, and a consumer is detached permanently on one
    for node in 0..2 {
        site.query_on(node, "DROP TABLE {db}.kafka_events SYNC")?;
    }
    site.query_on(1, "DETACH TABLE {db}.kafka_person PERMANENTLY SYNC")?;
    // THEN each is named with its nodes and a hint
    let name = site.name().to_owned();
    let (_, findings) = check(site)?;
    let of = |table: &str| faults(&findings, &format!("table {name}.{table}"));
    has(&of("kafka_events"), &["missing on ch1 and ch2"], "posthouse schema apply")?;
    has(&of("kafka_person"), &["detached on ch2"], &format!("ATTACH TABLE {name}.kafka_person on ch2"))?;
    ensure!(of("kafka_person_distinct_id").is_empty(), "{findings:#?}");
    // THEN a running posthouse logs them, also with a broken topics file
    let folder = tempfile::tempdir()?;
    let broken = folder.path().join("topics.toml");
    std::fs::write(&broken, "[topics.")?;
    site.set("kafka", "topics_file", broken.display().to_string());
    let running = Daemon::start(site, "check")?;
    running.says(&format!("subject=table {name}.kafka_events finding="))?;
    running.says(&format!("subject=table {name}.kafka_person finding="))?;
    ensure!(running.end()? == 0, "another exit code");
    site.set("kafka", "topics_file", "topics.toml");
    // WHEN the hints are followed THEN the findings are gone
    site.query_on(1, "ATTACH TABLE {db}.kafka_person")?;
    site.must(&["schema", "apply"])?;
    let (outcome, findings) = check(site)?;
    for table in ["kafka_events", "kafka_person"] {
        ensure!(faults(&findings, &format!("table {name}.{table}")).is_empty(), "{outcome}");
    }
    Ok(())
}

/// The lag of a group, once it has this many unread messages.
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
    // GIVEN a topic for each codec, compressed by the broker itself
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
    site.set("kafka", "topics_file", path.display().to_string());
    site.must(&["topics", "apply"])?;
    site.query("CREATE DATABASE {db}")?;
    // WHEN messages are unread THEN the timestamp of the oldest is known
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
    // GIVEN a group that has read all messages of a transaction, where the marker has an offset too
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
    // THEN unread messages count, and the marker does not
    commit(site, &group, 2)?;
    lag_of(site, &group, 8)?;
    commit(site, &group, 3)?;
    lag_of(site, &group, 0)?;
    Ok(())
}
