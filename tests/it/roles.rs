//! Nodes that only store, and nodes that only ingest.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::load::{Load, Produced};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack};
use posthouse_tests::torture::ingest;
use toml::{Table, Value};

use crate::events::PROFILE;
use crate::produce::consumed;
use crate::schema::json;
use crate::seed;

tests! {
    Own a_node_stops_and_begins_to_ingest_under_load,
    Own a_node_outside_of_the_shards_ingests_for_all,
}

const PER_SECOND: u64 = 2_000;
/// Above what a test produces before it stops the load.
const UNLIMITED: u64 = 10_000_000;
/// Events that are stored between two changes.
const BETWEEN: u64 = 1_500;
const LIMIT: Duration = Duration::from_secs(60);
const DROPS: [&str; 8] = [
    "schema",
    "apply",
    "--yes-drop",
    "kafka_events",
    "--yes-drop",
    "events_mv",
    "--yes-drop",
    "events_dead_letter_mv",
];

fn replica<'s>(site: &'s mut Site<'_>, shard: usize) -> anyhow::Result<&'s mut Table> {
    site.config_mut()["shards"][shard]["replicas"][0].as_table_mut().context("a replica")
}

fn set_roles(site: &mut Site<'_>, shard: usize, roles: &[&str]) -> anyhow::Result<()> {
    let roles: Vec<Value> = roles.iter().map(|role| (*role).into()).collect();
    replica(site, shard)?.insert("roles".to_owned(), roles.into());
    Ok(())
}

/// The tables and views of a node that read Kafka.
fn readers(site: &Site<'_>, node: usize) -> anyhow::Result<String> {
    site.query_on(
        node,
        "SELECT arrayStringConcat(groupArray(name), ' ') FROM (SELECT name FROM system.tables \
         WHERE database = '{db}' AND engine IN ('Kafka', 'MaterializedView') ORDER BY name)",
    )
}

const ALL_READERS: &str = "events_dead_letter_mv events_mv kafka_events";

/// Waits until the nodes have stored more events.
fn more(site: &Site<'_>) -> anyhow::Result<()> {
    let before: u64 = site.query("SELECT count() FROM {db}.events")?.parse()?;
    let query = format!("SELECT count() > {} FROM {{db}}.events", before + BETWEEN);
    site.answers(&query, "1", LIMIT)
}

/// Fails unless each produced message is stored exactly once, on its own shard.
fn is_exact(site: &Site<'_>, produced: Produced) -> anyhow::Result<()> {
    consumed(site)?;
    let stored = site.stored()?;
    ensure!(
        (stored.rows, stored.events, stored.dead) == (produced.events, produced.events, 0),
        "{stored:?} of {produced:?}"
    );
    let astray = site.query("SELECT countIf(_shard_num != if(sipHash64(distinct_id) % 4 < 1, 1, 2)), uniqExact(_shard_num) FROM {db}.events")?;
    ensure!(astray == "0\t2", "{astray}");
    Ok(())
}

fn a_node_stops_and_begins_to_ingest_under_load() -> anyhow::Result<()> {
    // GIVEN two shards, of which the first node alone ingests, and no merges that hide duplicates
    let stack = ingest::stack(&Progress::Silent)?;
    let mut site = Site::new(&stack, "roles")?;
    set_roles(&mut site, 1, &["data"])?;
    site.with_persons()?.apply()?;
    ensure!(readers(&site, 0)?.ends_with("person_mv"), "{}", readers(&site, 0)?);
    let of_persons = "kafka_person kafka_person_distinct_id person_dead_letter_mv person_distinct_id_dead_letter_mv person_distinct_id_mv person_mv";
    ensure!(readers(&site, 1)? == of_persons, "{}", readers(&site, 1)?);
    // WHEN events are produced THEN the other node stores its own, and no check misses a consumer
    let load = Load::start(&site.brokers(), site.name(), PROFILE, seed("roles")?, PER_SECOND, UNLIMITED)?;
    more(&site)?;
    site.must(&["schema", "check"])?;
    let checked = site.posthouse(&["topics", "check"])?;
    ensure!(!checked.stdout.contains("missing"), "{checked}");
    // WHEN the config is imported THEN it has the role
    let url = stack.nodes()[0].http_url();
    let imported = site.must(&["schema", "import", "--url", &url, "--database", site.name()])?;
    ensure!(imported.stdout.matches("roles = [\"data\"]").count() == 1, "{imported}");
    // WHEN it begins to ingest THEN apply creates its consumer
    set_roles(&mut site, 1, &["data", "ingest"])?;
    site.must(&["schema", "apply"])?;
    ensure!(
        readers(&site, 1)?.starts_with("events_dead_letter_mv events_mv kafka_events "),
        "{}",
        readers(&site, 1)?
    );
    more(&site)?;
    // WHEN the first node shall stop THEN the plan drops its consumer, and apply asks for each name
    set_roles(&mut site, 0, &["data"])?;
    let plan = json(&site.posthouse(&["schema", "plan", "--json"])?)?;
    let steps = plan["steps"].as_array().context("steps")?;
    let steps: Vec<&str> = steps.iter().filter_map(|step| step["summary"].as_str()).collect();
    let of_events: Vec<&&str> = steps.iter().filter(|step| step.contains("events")).collect();
    let drops = ["drop kafka_events", "drop events_mv", "drop events_dead_letter_mv"];
    ensure!(of_events == drops.iter().collect::<Vec<_>>(), "{plan:#}");
    let refused = site.posthouse(&["schema", "apply"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("--yes-drop kafka_events"), "{refused}");
    site.must(&DROPS)?;
    ensure!(readers(&site, 0)? == of_persons, "{}", readers(&site, 0)?);
    more(&site)?;
    // WHEN the reader changes in one apply THEN the new one is created before the old one is
    // dropped
    set_roles(&mut site, 0, &["data", "ingest"])?;
    set_roles(&mut site, 1, &["data"])?;
    site.must(&DROPS)?;
    more(&site)?;
    // THEN no event is lost or stored twice
    let produced = load.finish()?;
    is_exact(&site, produced)?;
    site.must(&["schema", "check"])?;
    site.remove()
}

/// Removes the third shard from `remote_servers` of every node.
fn without_third_shard(stack: &Stack) -> anyhow::Result<()> {
    let third = stack.nodes()[2].native_address();
    let port = third.rsplit(':').next().context("a port")?;
    for node in stack.nodes() {
        node.stop();
        let path = node.dir().join("config.xml");
        let config = fs::read_to_string(&path)?;
        let at = config.find(&format!("<port>{port}</port>")).context("the third shard")?;
        let begin = config[..at].rfind("<shard>").context("its begin")?;
        let end = at + config[at..].find("</shard>").context("its end")? + "</shard>".len();
        fs::write(&path, format!("{}{}", &config[..begin], &config[end..]))?;
        node.start()?;
    }
    Ok(())
}

fn a_node_outside_of_the_shards_ingests_for_all() -> anyhow::Result<()> {
    // GIVEN two shards that only store, and a third node outside of them
    let mut spec = ingest::spec();
    spec.shards.push(posthouse_tests::stack::ShardSpec { weight: 1, ..spec.shards[0] });
    let stack = Stack::start(spec, &Progress::Silent)?;
    let mut site = Site::new(&stack, "roles_apart")?;
    site.with_persons()?;
    let shards = site.config_mut()["shards"].as_array_mut().context("shards")?;
    let third = shards.pop().context("the third shard")?;
    let mut apart = third["replicas"][0].as_table().context("its replica")?.clone();
    apart.remove("address");
    site.config_mut().insert("ingest_nodes".to_owned(), vec![Value::Table(apart)].into());
    for shard in 0..2 {
        set_roles(&mut site, shard, &["data"])?;
    }
    // WHEN remote_servers still has it THEN apply refuses, because its rows would be nowhere
    let refused = site.posthouse(&["schema", "apply"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("leads to shard 3"), "{refused}");
    without_third_shard(&stack)?;
    // WHEN it is taken out there, and events are produced
    site.apply()?;
    let load = Load::start(
        &site.brokers(),
        site.name(),
        PROFILE,
        seed("roles_apart")?,
        PER_SECOND * 10,
        BETWEEN * 3,
    )?;
    let produced = load.wait()?;
    // THEN both shards have theirs, and the node has the consumer and no table with rows
    is_exact(&site, produced)?;
    ensure!(readers(&site, 2)? == ALL_READERS, "{}", readers(&site, 2)?);
    let tables = site.query_on(2, "SELECT groupArray(name) FROM (SELECT name FROM system.tables WHERE database = '{db}' AND engine LIKE '%MergeTree' ORDER BY name)")?;
    ensure!(tables == "['posthouse_upgrades']", "{tables}");
    ensure!(
        site.query_on(2, "SELECT count() FROM {db}.events")? == produced.events.to_string(),
        "it sees other events"
    );
    for line in [&["schema", "check"][..], &["udf", "install"], &["udf", "check"]] {
        site.must(line)?;
    }
    let checked = site.posthouse(&["topics", "check"])?;
    ensure!(!checked.stdout.contains("missing"), "{checked}");
    site.remove()
}
