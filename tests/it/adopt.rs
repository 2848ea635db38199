//! Takeover of a cluster that another schema already feeds, and the return.
//!
//! In every case each event is stored once, with all of its columns.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::site::Site;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use toml::{Table, Value};

use crate::drift::definitions;
use crate::groups::show_keeper;
use crate::schema::json;

tests! {
    Shared leaves_ingestion_to_the_consumer_that_is_there,
    Shared imports_the_config_of_its_own_cluster,
    Alone refuses_a_takeover_that_stale_offsets_in_keeper_would_misplace,
    Shared takes_over_under_load_and_goes_back_without_losing_doubling_or_emptying_an_event,
}

/// Events before posthouse starts.
const EVENTS: u64 = 3_000;
/// Events per second during the takeover.
const RATE: u64 = 1_000;
/// Number of persons. An event's number decides its person.
const PEOPLE: u64 = 97;
/// For all events to be stored, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The other schema's tables in their form of 2026, shortened to one column of each kind.
const TABLES: [&str; 5] = [
    "CREATE TABLE {db}.sharded_events (uuid UUID, event String, properties String CODEC(ZSTD(3)), \
     timestamp DateTime64(6, 'UTC'), team_id Int64, distinct_id String, elements_chain String, \
     created_at DateTime64(6, 'UTC'), person_id UUID, person_created_at DateTime64(3), \
     person_properties String CODEC(ZSTD(3)), group0_properties String CODEC(ZSTD(3)), \
     group0_created_at DateTime64(3), \
     person_mode Enum8('full' = 0, 'propertyless' = 1, 'force_upgrade' = 2), \
     `$group_0` String MATERIALIZED replaceRegexpAll(JSONExtractRaw(properties, '$group_0'), '^\"|\"$', '') \
     COMMENT 'column_materializer::$group_0', \
     `mat_plan` String MATERIALIZED JSONExtractString(properties, 'plan') COMMENT 'column_materializer::properties::plan', \
     elements_chain_texts Array(String) MATERIALIZED arrayDistinct(extractAll(elements_chain, 'text=\"(.*?)\"')), \
     is_deleted UInt8, _timestamp DateTime, _offset UInt64, \
     INDEX `minmax_$group_0` `$group_0` TYPE minmax GRANULARITY 1) \
     ENGINE = ReplacingMergeTree(_timestamp) PARTITION BY toYYYYMM(timestamp) \
     ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid)) \
     SAMPLE BY cityHash64(distinct_id)",
    "CREATE TABLE {db}.writable_events (uuid UUID, event String, properties String, timestamp DateTime64(6, 'UTC'), \
     team_id Int64, distinct_id String, elements_chain String, created_at DateTime64(6, 'UTC'), person_id UUID, \
     person_created_at DateTime64(3), person_properties String, group0_properties String, \
     group0_created_at DateTime64(3), \
     person_mode Enum8('full' = 0, 'propertyless' = 1, 'force_upgrade' = 2), _timestamp DateTime, _offset UInt64) \
     ENGINE = Distributed('{cluster}', '{db}', 'sharded_events', sipHash64(distinct_id))",
    "CREATE TABLE {db}.events (uuid UUID, event String, properties String, timestamp DateTime64(6, 'UTC'), \
     team_id Int64, distinct_id String, elements_chain String, created_at DateTime64(6, 'UTC'), person_id UUID, \
     person_created_at DateTime64(3), person_properties String, group0_properties String, \
     group0_created_at DateTime64(3), \
     person_mode Enum8('full' = 0, 'propertyless' = 1, 'force_upgrade' = 2), \
     `$group_0` String COMMENT 'column_materializer::$group_0', \
     `mat_plan` String COMMENT 'column_materializer::properties::plan', elements_chain_texts Array(String), \
     is_deleted UInt8, _timestamp DateTime, _offset UInt64) \
     ENGINE = Distributed('{cluster}', '{db}', 'sharded_events', sipHash64(distinct_id))",
    "CREATE TABLE {db}.kafka_events_json (uuid UUID, event String, properties String, \
     timestamp DateTime64(6, 'UTC'), team_id Int64, distinct_id String, elements_chain String, \
     created_at DateTime64(6, 'UTC'), person_id UUID, person_created_at DateTime64(3), person_properties String, \
     group0_properties String, group0_created_at DateTime64(3), \
     person_mode Enum8('full' = 0, 'propertyless' = 1, 'force_upgrade' = 2)) \
     ENGINE = Kafka SETTINGS kafka_broker_list = '{brokers}', kafka_topic_list = '{db}', \
     kafka_group_name = '{db}_group1', kafka_format = 'JSONEachRow', kafka_flush_interval_ms = 500",
    "CREATE MATERIALIZED VIEW {db}.events_json_mv TO {db}.writable_events AS SELECT uuid, event, properties, \
     timestamp, team_id, distinct_id, elements_chain, created_at, person_id, person_created_at, person_properties, \
     group0_properties, group0_created_at, person_mode, _timestamp, _offset FROM {db}.kafka_events_json",
];

/// Creates the other schema on every node, and its first events.
fn settled(site: &Site<'_>) -> anyhow::Result<()> {
    site.must(&["topics", "apply"])?;
    for node in 0..site.stack.nodes().len() {
        site.query_on(node, "CREATE DATABASE {db}")?;
        for table in TABLES {
            let table = table.replace("{brokers}", &site.brokers()).replace("{cluster}", "posthog");
            site.query_on(node, &table)?;
        }
    }
    produce(site, 0..EVENTS)?;
    stored(site, EVENTS)
}

/// The message of event `number` in the other product's format.
fn message(number: u64) -> String {
    let person = number % PEOPLE;
    serde_json::json!({
        "uuid": format!("00000000-0000-4000-8000-{number:012}"),
        "event": "$pageview",
        "properties": format!("{{\"$group_0\":\"company-{}\",\"plan\":\"p{}\"}}", person % 5, person % 3),
        "timestamp": format!("2026-11-{:02} 10:00:00.{:06}", 1 + number % 28, number % 1_000_000),
        "team_id": 2,
        "project_id": 2,
        "distinct_id": format!("user-{person}"),
        "elements_chain": "button:text=\"Save\"",
        "created_at": "2026-11-28 10:00:00.000001",
        "person_id": format!("00000000-0000-4000-9000-{person:012}"),
        "person_created_at": "2026-01-02 03:04:05",
        "person_properties": format!("{{\"email\":\"{person}@example.com\"}}"),
        "person_mode": "propertyless",
        "group0_properties": format!("{{\"name\":\"company-{}\"}}", person % 5),
        "group0_created_at": "2025-01-02 03:04:05",
        "captured_at": "2026-11-28T10:00:00Z",
    })
    .to_string()
}

fn produce(site: &Site<'_>, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("enable.idempotence", "true")
        .create()?;
    let mut sent = Vec::new();
    for number in numbers {
        let (key, message) = (number.to_string(), message(number));
        let record = FutureRecord::to(site.name()).key(&key).payload(&message);
        sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        for delivery in sent {
            delivery.await?.map_err(|(error, _)| anyhow!("not delivered: {error}"))?;
        }
        Ok(())
    })
}

/// Waits until this number of distinct events is stored. Fails if one is stored twice or has empty
/// columns.
fn stored(site: &Site<'_>, events: u64) -> anyhow::Result<()> {
    let wrong = "countIf(toString(person_id) != concat('00000000-0000-4000-9000-', leftPad(substring(distinct_id, 6), 12, '0')) \
        OR person_properties != concat('{\"email\":\"', substring(distinct_id, 6), '@example.com\"}') \
        OR person_mode != 'propertyless' OR toString(person_created_at) != '2026-01-02 03:04:05.000' \
        OR NOT startsWith(group0_properties, '{\"name\":\"company-') OR timestamp < '2026-11-01' OR elements_chain = '')";
    let query = format!("SELECT uniqExact(uuid), count(), {wrong} FROM {{db}}.events");
    let expected = format!("{events}\t{events}\t0");
    let waited = site.answers("SELECT uniqExact(uuid) FROM {db}.events", &events.to_string(), LIMIT);
    let found = site.query(&query)?;
    waited.with_context(|| found.clone())?;
    ensure!(found == expected, "events, rows and wrong rows are {found}, not {expected}");
    Ok(())
}

/// Replaces the site's config with the one that `schema import` writes.
fn import(site: &mut Site<'_>) -> anyhow::Result<()> {
    let url = site.config_mut()["shards"][0]["replicas"][0]["url"].as_str().context("a URL")?.to_owned();
    let imported = site.must(&["schema", "import", "--url", &url, "--database", site.name()])?.stdout;
    let config: Table = toml::from_str(&imported).with_context(|| imported.clone())?;
    ensure!(config["events"]["consumer"].as_str() == Some("none"), "{imported}");
    ensure!(config["events"]["group"].as_str() == Some(&format!("{}_group1", site.name())), "{imported}");
    let columns = config["events"]["columns"].as_array().map_or(0, Vec::len);
    ensure!(columns == 6 && imported.contains("[[events.materialized]]\nname = \"$group_0\""), "{imported}");
    *site.config_mut() = config;
    Ok(())
}

/// Fails if the plan drops, empties or recreates an object, or doesn't name the other consumer.
fn plan_is_harmless(site: &Site<'_>) -> anyhow::Result<()> {
    let planned = site.posthouse(&["schema", "plan"])?;
    ensure!(planned.stdout.contains("events_json_mv → writable_events, group"), "{planned}");
    ensure!(planned.code == 3 && !planned.stdout.contains("to confirm"), "{planned}");
    let planned = json(&site.posthouse(&["schema", "plan", "--json"])?)?;
    let nodes = planned["nodes"].as_array().context("nodes")?;
    let changes = nodes.iter().flat_map(|node| node["changes"].as_array().into_iter().flatten());
    for change in changes {
        let (object, action) = (change["object"].as_str().unwrap_or_default(), &change["action"]);
        let made = matches!(action["do"].as_str(), Some("create" | "upgrade" | "leave"));
        ensure!(made || matches!(object, "sharded_events" | "writable_events" | "events"), "{change:#}");
        ensure!(made || action["do"] == "alter", "{change:#}");
    }
    Ok(())
}

fn leaves_ingestion_to_the_consumer_that_is_there(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a cluster that another schema feeds, and a config without its columns
    settled(site)?;
    let before = definitions(site)?;
    // WHEN the config asks for posthouse's own consumer THEN apply is refused and changes no table
    let refused = site.posthouse(&["schema", "apply"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("kafka_events_json"), "{refused}");
    ensure!(
        refused.stderr.contains("consumer = \"none\"") && refused.stderr.contains("--adopt"),
        "{refused}"
    );
    ensure!(definitions(site)? == before, "a refused apply changed something");
    // WHEN a takeover would leave columns empty THEN that is refused too
    let group = format!("{}_group1", site.name());
    site.set("events", "group", group);
    let source = format!("{}.kafka_events_json", site.name());
    let refused = site.posthouse(&["schema", "apply", "--adopt", &source])?;
    ensure!(refused.code == 1 && refused.stderr.contains("`person_properties`"), "{refused}");
    ensure!(definitions(site)? == before, "a refused takeover changed something");
    // WHEN the config leaves ingestion to the other consumer
    site.set("events", "consumer", "none");
    plan_is_harmless(site)?;
    let applied = site.posthouse(&["schema", "apply"])?;
    // THEN differences that can't be altered are reported, every event is unchanged, and new events
    // are complete too
    ensure!(applied.code == 3 && applied.stdout.contains("PARTITION BY"), "{applied}");
    stored(site, EVENTS)?;
    produce(site, EVENTS..EVENTS + 500)?;
    stored(site, EVENTS + 500)?;
    let queried = site.query("SELECT countIf(`$group_0` = ''), countIf(mat_plan = ''), uniqExact(elements_chain_texts) FROM {db}.events")?;
    ensure!(queried == "0\t0\t1", "{queried}");
    // THEN with that difference accepted the plan is empty
    let accepted = vec![Value::from("sharded_events PARTITION BY")];
    site.set("schema", "unmanaged", accepted);
    let check = site.must(&["schema", "check"])?;
    ensure!(
        check.stdout.contains("sharded_events: ") && check.stdout.contains("INDEX `minmax_$group_0`"),
        "{check}"
    );
    ensure!(site.must(&["schema", "apply"])?.stdout.starts_with("0 steps done"), "something was done again");
    Ok(())
}

/// Confirmations of a move to the profile of a PostHog.
const OF_PROFILE: [&str; 16] = [
    "--yes-drop",
    "events_mv",
    "--yes-drop",
    "events_dead_letter_mv",
    "--yes-drop",
    "person_distinct_id_mv",
    "--yes-drop",
    "person_distinct_id_dead_letter_mv",
    "--yes-drop",
    "events_with_person",
    "--yes-drop",
    "unique_persons",
    "--yes-drop",
    "person_events",
    "--yes-drop",
    "person_distinct_ids",
];

fn imports_the_config_of_its_own_cluster(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN clusters that posthouse made, with defaults and without
    for (round, offsets) in ["keeper", "group", "keeper", "keeper"].into_iter().enumerate() {
        if round == 1 {
            site.with_persons()?.materialize(&["$current_url"]);
            site.set("events", "keeper_path", "/elsewhere/{database}").set(
                "persons",
                "flush_interval",
                "250ms",
            );
            site.set("events", "poll_timeout", "200ms");
            for (key, value) in [("consumers", 2), ("batch_rows", 1_000)] {
                site.set("events", key, value);
            }
            site.set("events", "deduplication_window", 5_000).set("events", "person_key", true);
        }
        if round == 3 {
            site.set("events", "profile", "posthog");
        }
        site.set("events", "offsets", offsets);
        site.must(&["topics", "apply"])?;
        let confirmed: &[&str] = match round {
            0 => &[],
            3 => &OF_PROFILE,
            _ => &["--yes-drop", "kafka_events"],
        };
        site.must(&[&["schema", "apply"], confirmed].concat())?;
        // WHEN the config of one is imported THEN its plan is empty
        let own = site.config_mut().clone();
        let url = own["shards"][0]["replicas"][0]["url"].as_str().context("a URL")?;
        let imported = site.must(&["schema", "import", "--url", url, "--database", site.name()])?.stdout;
        *site.config_mut() = toml::from_str(&imported).with_context(|| imported.clone())?;
        let plan = site.must(&["schema", "plan"]).with_context(|| imported.clone())?;
        ensure!(plan.stdout.contains("nodes match the config"), "{plan}");
        // THEN it has the settings of the original, and no default
        let keys = [
            "topic",
            "group",
            "profile",
            "person_key",
            "consumers",
            "batch_rows",
            "poll_timeout",
            "deduplication_window",
        ];
        for (section, keys) in [("events", keys.as_slice()), ("persons", &["group", "flush_interval"])] {
            for key in keys {
                let value =
                    |config: &Table| config.get(section).and_then(|section| section.get(key)).cloned();
                ensure!(value(site.config_mut()) == value(&own), "{section}.{key}: {imported}");
            }
        }
        *site.config_mut() = own;
    }
    Ok(())
}

fn refuses_a_takeover_that_stale_offsets_in_keeper_would_misplace(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a cluster that another schema feeds, and the imported config with posthouse's own
    // consumer
    settled(site)?;
    import(site)?;
    site.set("events", "consumer", "own");
    let before = definitions(site)?;
    if site.query("EXISTS TABLE system.zookeeper")? == "1" {
        eprintln!("NOT RUN: the stand-in for system.zookeeper, since the server has the real one");
        return Ok(());
    }
    // WHEN Keeper has a replica at posthouse's path that no node has
    show_keeper(site, 0)?;
    let source = format!("{}.kafka_events_json", site.name());
    let refused = site.posthouse(&["schema", "apply", "--adopt", &source]);
    site.query_on(0, "DROP TABLE IF EXISTS system.zookeeper SYNC")?;
    // THEN a takeover is refused, with the path and the replica, and changes no table
    let refused = refused?;
    let path = format!("/posthouse/{}/kafka_events", site.name());
    for part in [path.as_str(), "replicas gone", "events.keeper_path"] {
        ensure!(refused.code == 1 && refused.stderr.contains(part), "no {part:?}: {refused}");
    }
    ensure!(definitions(site)? == before, "a refused takeover changed something");
    Ok(())
}

/// Starts a takeover or a return, and kills it once it has paused a consumer on the first node.
fn killed(site: &Site<'_>, option: &str, source: &str, paused: &str) -> anyhow::Result<()> {
    let mut child = site.spawn(&["schema", "apply", option, source])?;
    let attached =
        format!("SELECT count() FROM system.tables WHERE database = '{{db}}' AND name = '{paused}'");
    let paused = site.answers(&attached, "0", LIMIT);
    child.kill()?;
    child.wait()?;
    paused
}

fn takes_over_under_load_and_goes_back_without_losing_doubling_or_emptying_an_event(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a cluster that another schema feeds, and the imported config
    settled(site)?;
    import(site)?;
    plan_is_harmless(site)?;
    let source = format!("{}.kafka_events_json", site.name());
    // WHEN the config asks for posthouse's own consumer THEN apply is refused until --adopt is
    // given
    site.set("events", "consumer", "own");
    let refused = site.posthouse(&["schema", "apply"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("--adopt"), "{refused}");
    // WHEN the takeover runs under load, and is killed in the middle and repeated
    let (stop, produced) = (AtomicBool::new(false), AtomicU64::new(EVENTS));
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let begin = produced.load(Ordering::Relaxed);
                produce(site, begin..begin + RATE / 10)?;
                produced.store(begin + RATE / 10, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(100));
            }
            anyhow::Ok(())
        });
        let adopted = killed(site, "--adopt", &source, "kafka_events_json")
            .and_then(|()| site.must(&["schema", "apply", "--adopt", &source]));
        stop.store(true, Ordering::Relaxed);
        load.join().map_err(|_| anyhow!("a panic"))??;
        let adopted = adopted?;
        ensure!(
            adopted.stderr.contains("verified: ") && adopted.stderr.contains("0 rows are stored twice"),
            "{adopted}"
        );
        anyhow::Ok(())
    })?;
    // THEN every event is stored once and complete, posthouse's consumer reads, and the plan is
    // empty
    let events = produced.load(Ordering::Relaxed);
    stored(site, events)?;
    let plan = site.must(&["schema", "plan"])?;
    ensure!(plan.stdout.contains("paused (detached permanently)"), "{plan}");
    let dead = site.query("SELECT count() FROM {db}.events_dead_letter")?;
    ensure!(dead == "0", "{dead} dead letters");
    // WHEN ingestion is handed back
    site.set("events", "consumer", "none");
    killed(site, "--hand-back", &source, "kafka_events")?;
    site.must(&["schema", "apply", "--hand-back", &source])?;
    produce(site, events..events + 500)?;
    // THEN the other consumer resumes at the end of posthouse's consumer
    stored(site, events + 500)?;
    let views = site.query(
        "SELECT count() FROM system.tables WHERE database = '{db}' AND name IN ('kafka_events', 'events_mv')",
    )?;
    ensure!(views == "0", "ours is still there");
    site.must(&["schema", "plan"])?;
    // WHEN posthouse takes over a second time and the other consumer is dropped by name
    site.set("events", "consumer", "own");
    site.must(&["schema", "apply", "--adopt", &source])?;
    let view = format!("{}.events_json_mv", site.name());
    site.must(&["schema", "apply", "--yes-drop", &source, "--yes-drop", &view])?;
    // THEN none of its tables is left, and events arrive once
    produce(site, events + 500..events + 1_000)?;
    stored(site, events + 1_000)?;
    let plan = site.must(&["schema", "plan"])?;
    ensure!(!plan.stdout.contains("kafka_events_json"), "{plan}");
    Ok(())
}
