//! Person sync beside another producer.
//!
//! Posthouse never hides the producer's messages without confirmation, and can hand its topics
//! back.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{Identity, PersonDatabase, Rules};
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::wait_until;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::persons::put;
use crate::persons_source::{LIMIT, person_database, same};

tests! {
    Shared refuses_wal_versions_beside_another_producer_until_it_was_stopped,
    Shared refuses_to_publish_into_the_tables_of_another_program,
    Shared publishes_column_versions_beside_another_producer,
    Shared goes_on_after_an_upgrade_from_a_release_without_headers,
    Shared gives_topics_and_tables_back_to_another_producer,
}

/// A person in PostgreSQL and from the other producer.
const ANNA: &str = "018f5a7e-0000-4000-8000-00000000000a";
/// A metric of posthouse.
const FOREIGN: &str = "posthouse_persons_foreign_messages_total";
/// For one response of a broker.
const ANSWER: Duration = Duration::from_secs(10);

/// Inserts Anna and her distinct id into PostgreSQL, as the application with `version`.
fn insert_anna(person_db: &PersonDatabase<'_>, version: u64) -> anyhow::Result<()> {
    Ok(person_db.admin()?.batch_execute(&format!(
        "INSERT INTO posthog_person (id, uuid, team_id, created_at, properties, version)
            VALUES (1, '{ANNA}', 2, '2026-11-01 10:42:06.502+00', '{{\"v\": {version}}}', {version});
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id, version) VALUES (2, 'anna', 1, {version});"
    ))?)
}

/// Makes the application's next change of both.
fn update_anna(person_db: &PersonDatabase<'_>, version: u64) -> anyhow::Result<()> {
    Ok(person_db.admin()?.batch_execute(&format!(
        "UPDATE posthog_person SET properties = '{{\"v\": {version}}}', version = {version};
         UPDATE posthog_persondistinctid SET version = {version};"
    ))?)
}

/// Sends the other producer's messages about both with `version`. Every node reads them.
fn produce_anna(site: &Site<'_>, version: u64, is_deleted: u8) -> anyhow::Result<()> {
    let person = json!({"id": ANNA, "team_id": 2, "created_at": "2026-11-01 10:42:06.502", "is_identified": 0,
        "properties": format!("{{\"v\": {version}}}"), "is_deleted": is_deleted, "version": version});
    put(site, false, &[person.to_string().into_bytes()])?;
    let distinct_id = json!({"distinct_id": "anna", "person_id": ANNA, "team_id": 2, "is_deleted": is_deleted, "version": version});
    put(site, true, &[distinct_id.to_string().into_bytes()])
}

/// Waits until a query has the same result on every node.
fn answers_everywhere(site: &Site<'_>, sql: &str, wanted: &str) -> anyhow::Result<()> {
    (0..site.stack.nodes().len()).try_for_each(|node| {
        wait_until(&format!("{sql} to answer {wanted} on node {node}"), LIMIT, || {
            match site.query_on(node, sql) {
                Ok(answer) if answer == wanted => ControlFlow::Break(Ok(())),
                Ok(answer) => ControlFlow::Continue(anyhow!("{answer}")),
                Err(error) => ControlFlow::Continue(error),
            }
        })
    })
}

/// Waits until every node shows Anna as in the message with `version`.
fn shows_anna(site: &Site<'_>, version: u64) -> anyhow::Result<()> {
    let properties = "SELECT properties FROM {db}.persons(team_id = 2)";
    answers_everywhere(site, properties, &format!("{{\"v\": {version}}}"))?;
    let latest = "SELECT max(version) FROM {db}.person_distinct_id WHERE distinct_id = 'anna'";
    answers_everywhere(site, latest, &version.to_string())
}

/// Runs `posthouse persons check` and returns its JSON. Fails on another exit code than `code`.
fn check(site: &Site<'_>, code: i32) -> anyhow::Result<Value> {
    let checked: Outcome = site.posthouse(&["persons", "check", "--json"])?;
    ensure!(checked.code == code, "{checked}");
    serde_json::from_str(&checked.stdout).with_context(|| checked.to_string())
}

fn refuses_wal_versions_beside_another_producer_until_it_was_stopped(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a producer that counts versions 0, 1, 2 in the topics that posthouse is configured for
    let person_db = person_database(site, Rules::default())?;
    let (topic, _) = site.person_topics();
    insert_anna(&person_db, 2)?;
    for version in 0..=2 {
        produce_anna(site, version, 0)?;
    }
    // WHEN posthouse starts THEN it names the messages and rows, and the possible fixes
    let daemon = Daemon::start(site, "off")?;
    let log = daemon.says("another producer fills")?;
    for named in [
        format!("topic {topic}: 3 of the newest 3 messages, the last one in partition "),
        "table person on ch1: 3 of 3 rows with versions from 0 to 2".to_owned(),
        "version = \"column\"".to_owned(),
        "persons.distinct_id_topic".to_owned(),
        "other_producer_stopped_at".to_owned(),
    ] {
        ensure!(log.contains(&named), "{named} is not in {log}");
    }
    daemon.wait("posthouse_persons_conflicts", |conflicts| conflicts == 6 + 12)?;
    // THEN it publishes and creates neither messages nor slot, and the producer's next message
    // counts
    produce_anna(site, 3, 0)?;
    shows_anna(site, 3)?;
    ensure!(daemon.metric("posthouse_persons_messages_total")? == Some(0), "it published");
    let made = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1) \
        + (SELECT count(*) FROM pg_publication WHERE pubname = $1)";
    let made: i64 = person_db.admin()?.query_one(made, &[&person_db.name()])?.get(0);
    ensure!(made == 0, "it made a slot or a publication");
    // THEN `persons check` and `topics check` report it too
    let checked = check(site, 3)?;
    ensure!(checked["refused"].is_string() && checked["has_published"] == false, "{checked}");
    let newest = &checked["conflicts"]["topics"][0]["newest"];
    ensure!(newest["version"] == 3 && newest["offset"].is_i64(), "{checked}");
    let text = site.posthouse(&["persons", "check"])?;
    let lines =
        ["posthog_person with 1 rows → topic", "missing\n", "conflict     topic", "does not publish: "];
    ensure!(text.code == 3 && lines.iter().all(|line| text.stdout.contains(line)), "{text}");
    let findings = site.posthouse(&["topics", "check", "--json"])?;
    let findings: Value = serde_json::from_str(&findings.stdout).with_context(|| findings.to_string())?;
    let about = format!("topic {topic}");
    let ours = |finding: &&Value| finding["about"] == *about && finding["severity"] == "fault";
    ensure!(
        findings["findings"].as_array().is_some_and(|all| all.iter().any(|one| ours(&one))),
        "{findings}"
    );
    // WHEN the producer is stopped, and the config has its end, THEN posthouse takes over
    let times = [0, 1].map(|topic| checked["conflicts"]["topics"][topic]["newest"]["timestamp"].as_str());
    person_db.set(
        site,
        "other_producer_stopped_at",
        times.into_iter().flatten().max().context("no time")?,
    )?;
    drop(daemon);
    ensure!(check(site, 0)?["refused"].is_null(), "it is refused");
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    // WHEN the producer resumes nonetheless THEN that is reported, also after a restart
    produce_anna(site, 4, 0)?;
    daemon.wait(FOREIGN, |messages| messages == 2)?;
    daemon.says("another producer sends into the topics")?;
    drop(daemon);
    let checked = check(site, 3)?;
    ensure!(checked["refused"].is_null() && checked["has_published"] == true, "{checked}");
    let daemon = Daemon::start(site, "off")?;
    daemon.wait(FOREIGN, |messages| messages == 2)?;
    same(site, &person_db, &daemon)?;
    // WHEN a row differs and the checkpoint shows no publication THEN a repair is refused too
    person_db.set(site, "state_topic", format!("{}_state_2", person_db.name()))?;
    site.query_on(
        1,
        "INSERT INTO {db}.person SELECT generateUUIDv4(), now64(3), 9, '{}', 0, 0, 1, now(), 0",
    )?;
    let refused = site.posthouse(&["persons", "audit", "--repair"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("another producer fills"), "{refused}");
    Ok(())
}

fn refuses_to_publish_into_the_tables_of_another_program(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN empty topics, and PostHog's tables, the messages of which are gone
    let person_db = PersonDatabase::with(site.stack.postgres()?, site.name(), Rules::default())?;
    person_db.configure(site)?;
    site.must(&["topics", "apply"])?;
    let make = [
        "CREATE DATABASE {db}",
        "CREATE TABLE {db}.person_distinct_id (team_id Int64, distinct_id String, person_id UUID, _sign Int8,
            _timestamp DateTime, _offset UInt64) ENGINE = CollapsingMergeTree(_sign) ORDER BY (team_id, distinct_id)",
        "CREATE TABLE {db}.person_distinct_id2 (team_id Int64, distinct_id String, person_id UUID, is_deleted Int8,
            version Int64, _timestamp DateTime, _offset UInt64) ENGINE = ReplacingMergeTree(version)
            ORDER BY (team_id, distinct_id)",
    ];
    make.iter().try_for_each(|sql| site.query(sql).map(drop))?;
    // WHEN one table has another program's columns THEN that is the reason for the refusal
    let checked = check(site, 3)?;
    let refused = checked["refused"].as_str().unwrap_or_default();
    ensure!(refused.starts_with("table person_distinct_id on ch1 has no version"), "{checked}");
    // WHEN the other one has versions that can't come from a WAL THEN these are the reason
    site.query("INSERT INTO {db}.person_distinct_id2 SELECT 2, toString(number), generateUUIDv4(), 0, number, now(), 0 FROM numbers(3)")?;
    let checked = check(site, 3)?;
    let refused = checked["refused"].as_str().unwrap_or_default();
    let named = "table person_distinct_id2 on ch1: 3 of 3 rows with versions from 0 to 2";
    ensure!(refused.contains(named), "{checked}");
    Ok(())
}

fn publishes_column_versions_beside_another_producer(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a producer of the application's versions, and a posthouse that publishes them too
    let person_db = person_database(site, Rules { identity: Identity::Full, ..Rules::default() })?;
    person_db.set(site, "version", "column")?;
    insert_anna(&person_db, 2)?;
    for version in 0..=2 {
        produce_anna(site, version, 0)?;
    }
    ensure!(check(site, 0)?["conflicts"]["topics"][0]["conflicting"] == 0, "the producer conflicts");
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    same(site, &person_db, &daemon)?;
    // WHEN both publish a change THEN it counts, and so does one that the producer publishes first
    update_anna(&person_db, 3)?;
    produce_anna(site, 3, 0)?;
    shows_anna(site, 3)?;
    produce_anna(site, 4, 0)?;
    shows_anna(site, 4)?;
    update_anna(&person_db, 4)?;
    same(site, &person_db, &daemon)?;
    // WHEN both publish a deletion, the producer as version + 100, THEN Anna is gone
    produce_anna(site, 104, 1)?;
    person_db.admin()?.batch_execute("DELETE FROM posthog_persondistinctid; DELETE FROM posthog_person")?;
    for table in ["person", "person_distinct_id"] {
        let deletions =
            format!("SELECT arraySort(groupUniqArray(version)) FROM {{db}}.{table} WHERE is_deleted = 1");
        answers_everywhere(site, &deletions, "[5,104]")?;
    }
    same(site, &person_db, &daemon)?;
    // WHEN she is inserted at version 0 THEN no node shows her, which is the limit of these
    // versions
    insert_anna(&person_db, 0)?;
    produce_anna(site, 0, 0)?;
    let found = site.posthouse(&["persons", "audit", "--json"])?;
    let found: Value = serde_json::from_str(&found.stdout).with_context(|| found.to_string())?;
    ensure!([0, 1].iter().all(|node| found["tables"][0]["nodes"][node]["missing"] == 1), "{found}");
    ensure!(daemon.metric(FOREIGN)? == Some(0), "messages beside its own were counted");
    Ok(())
}

/// Every message of a topic, as key and value.
fn read_all(site: &Site<'_>, topic: &str) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", site.brokers()).set("group.id", "reader").create()?;
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let (mut list, mut left) = (TopicPartitionList::new(), 0);
    for partition in metadata.topics().first().context("no such topic")?.partitions() {
        let (first, end) = consumer.fetch_watermarks(topic, partition.id(), ANSWER)?;
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        left += end - first;
    }
    consumer.assign(&list)?;
    let mut all = Vec::new();
    while left > 0 {
        let message =
            consumer.poll(ANSWER).with_context(|| format!("{left} messages of {topic} are left"))??;
        all.push((
            message.key().unwrap_or_default().to_vec(),
            message.payload().unwrap_or_default().to_vec(),
        ));
        left -= 1;
    }
    Ok(all)
}

/// Produces messages without headers, as an old release does.
fn produce_without_headers(
    site: &Site<'_>,
    topic: &str,
    messages: &[(Vec<u8>, Vec<u8>)],
) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", site.brokers()).create()?;
    for (key, payload) in messages {
        let record = BaseRecord::to(topic).key(key).payload(payload);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(ANSWER)?)
}

fn goes_on_after_an_upgrade_from_a_release_without_headers(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN topics, tables and a checkpoint of a release that knew neither headers nor the
    // `published` field
    let person_db = person_database(site, Rules::default())?;
    insert_anna(&person_db, 2)?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    ensure!(daemon.end()? == 0, "another exit code");
    let state = format!("{}_state", person_db.name());
    let (key, last) = read_all(site, &state)?.pop().context("no state")?;
    let mut last: Value = serde_json::from_slice(&last)?;
    ensure!(last.as_object_mut().and_then(|fields| fields.remove("published")).is_some(), "{last}");
    produce_without_headers(site, &state, &[(key, last.to_string().into_bytes())])?;
    let (person, distinct_id) = site.person_topics();
    for topic in [person, distinct_id] {
        // More messages than one check reads.
        let old: Vec<_> = read_all(site, &topic)?.into_iter().cycle().take(1200).collect();
        produce_without_headers(site, &topic, &old)?;
    }
    // WHEN the current release checks them THEN it finds no conflict, with the checkpoint and
    // without it
    let checked = check(site, 0)?;
    ensure!(
        checked["has_published"] == true && checked["conflicts"]["topics"][0]["read"] == 500,
        "{checked}"
    );
    person_db.set(site, "state_topic", format!("{state}_2"))?;
    ensure!(check(site, 0)?["has_published"] == false, "a state that is not there");
    // WHEN it starts THEN it resumes
    person_db.set(site, "state_topic", state)?;
    let daemon = Daemon::start(site, "off")?;
    let log = daemon.says("streaming changes")?;
    ensure!(!log.contains("taking the initial snapshot"), "{log}");
    update_anna(&person_db, 3)?;
    same(site, &person_db, &daemon)
}

fn gives_topics_and_tables_back_to_another_producer(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a posthouse that has published WAL versions, and is stopped
    let person_db = person_database(site, Rules { identity: Identity::Full, ..Rules::default() })?;
    insert_anna(&person_db, 2)?;
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    ensure!(daemon.end()? == 0, "another exit code");
    // WHEN the application's versions are configured THEN the WAL versions are named as a conflict
    person_db.set(site, "version", "column")?;
    let checked = check(site, 3)?;
    let refused = checked["refused"].as_str().unwrap_or_default();
    ensure!(refused.contains("versions of the WAL are in the topics and tables"), "{checked}");
    let daemon = Daemon::start(site, "off")?;
    daemon.says("versions of the WAL are in the topics and tables")?;
    drop(daemon);
    // WHEN consumers are dropped, topics deleted and recreated, and tables truncated
    let (person, distinct_id) = site.person_topics();
    for node in 0..site.stack.nodes().len() {
        for table in ["kafka_person", "kafka_person_distinct_id"] {
            site.query_on(node, &format!("DROP TABLE {{db}}.{table} SYNC"))?;
        }
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("topics.toml");
    let deletes = [&person, &distinct_id].map(|topic| format!("[topics.{topic}]\ndelete = true\n")).concat();
    std::fs::write(&file, deletes)?;
    let topics = site.config_mut().get("kafka").and_then(|kafka| kafka.get("topics_file")).cloned();
    site.set("kafka", "topics_file", file.display().to_string());
    let confirmed = ["topics", "apply", "--yes-delete", &person, "--yes-delete", &distinct_id];
    // The brokers may still count the dropped consumers.
    wait_until("the topics to be deleted", LIMIT, || match site.posthouse(&confirmed) {
        Ok(done) if done.code == 0 => ControlFlow::Break(Ok(())),
        Ok(refused) => ControlFlow::Continue(anyhow!("{refused}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    site.set("kafka", "topics_file", topics.unwrap_or_else(|| "topics.toml".into()));
    site.must(&["topics", "apply"])?;
    for node in 0..site.stack.nodes().len() {
        for table in ["person", "person_distinct_id"] {
            site.query_on(node, &format!("TRUNCATE TABLE {{db}}.{table} SYNC"))?;
        }
    }
    site.must(&["schema", "apply"])?;
    // THEN posthouse fills them with the application's versions
    ensure!(check(site, 0)?["refused"].is_null(), "it is refused");
    let daemon = Daemon::start(site, "off")?;
    same(site, &person_db, &daemon)?;
    shows_anna(site, 2)?;
    ensure!(daemon.end()? == 0, "another exit code");
    // WHEN posthouse is gone THEN the other producer's messages count
    produce_anna(site, 3, 0)?;
    shows_anna(site, 3)
}
