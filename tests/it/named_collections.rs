//! Kafka tables that take their brokers from a named collection.

use anyhow::ensure;
use posthouse_tests::site::Site;

use crate::events::event;
use crate::produce::{consumed, produce};
use crate::schema::{FINGERPRINT, json};

tests! {
    Single brokers_of_a_named_collection_are_no_part_of_the_schema,
}

const NAME: &str = "it_brokers";

/// Runs a statement on every node.
fn everywhere(site: &Site<'_>, statement: &str) -> anyhow::Result<()> {
    (0..site.stack.nodes().len()).try_for_each(|node| site.query_on(node, statement).map(drop))
}

/// Produces events, and waits until they are stored.
fn flow(site: &Site<'_>, begin: usize) -> anyhow::Result<()> {
    let events: Vec<String> =
        (begin..begin + 20).map(|number| serde_json::Value::Object(event(number)).to_string()).collect();
    let events: Vec<Option<&[u8]>> = events.iter().map(|event| Some(event.as_bytes())).collect();
    produce(site, &events)?;
    consumed(site)?;
    let stored = site.stored()?;
    ensure!(
        (stored.rows, stored.events) == (begin as u64 + 20, begin as u64 + 20),
        "{stored:?} from {begin}"
    );
    Ok(())
}

fn brokers_of_a_named_collection_are_no_part_of_the_schema(site: &mut Site<'_>) -> anyhow::Result<()> {
    everywhere(site, &format!("DROP NAMED COLLECTION IF EXISTS {NAME}"))?;
    let tested = test(site);
    site.remove()?;
    everywhere(site, &format!("DROP NAMED COLLECTION IF EXISTS {NAME}"))?;
    tested
}

fn test(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema whose Kafka tables list their brokers
    site.with_persons()?.apply()?;
    flow(site, 0)?;
    // WHEN the config names a collection that no node has THEN apply refuses with the statement
    // that creates it, and takes no step
    site.set("kafka", "named_collection", NAME);
    let before = site.query(FINGERPRINT)?;
    let options = ["kafka_events", "kafka_person", "kafka_person_distinct_id"];
    let mut line = vec!["schema", "apply"];
    line.extend(options.iter().flat_map(|name| ["--yes-drop", name]));
    let refused = site.posthouse(&line)?;
    let statement = format!("CREATE NAMED COLLECTION {NAME} AS kafka_broker_list = '{}'", site.brokers());
    ensure!(refused.code == 1 && refused.stderr.contains(&statement), "{refused}");
    ensure!(site.query(FINGERPRINT)? == before, "a refused apply took a step");
    // WHEN it has a key that changes blocks THEN apply refuses, and names it
    everywhere(site, &format!("{statement}, kafka_skip_broken_messages = 10, kafka_num_consumers = 7"))?;
    let refused = site.posthouse(&line)?;
    ensure!(refused.code == 1 && refused.stderr.contains("kafka_skip_broken_messages"), "{refused}");
    ensure!(!refused.stderr.contains("without kafka_num_consumers"), "{refused}");
    everywhere(site, &format!("ALTER NAMED COLLECTION {NAME} DELETE kafka_skip_broken_messages"))?;
    // WHEN it has the brokers THEN apply recreates the consumers, which continue at their offsets
    site.must(&line)?;
    flow(site, 20)?;
    for table in options {
        let definition = site.query(&format!(
            "SELECT engine_full FROM system.tables WHERE database = '{{db}}' AND name = '{table}'"
        ))?;
        ensure!(
            definition.starts_with(&format!("Kafka({NAME})")) && !definition.contains("kafka_broker_list"),
            "{definition}"
        );
    }
    // THEN plan and check compare the tables as defined, and topics are checked too
    let plan = json(&site.must(&["schema", "plan", "--json"])?)?;
    ensure!(plan["steps"].as_array().is_some_and(Vec::is_empty), "{plan:#}");
    site.must(&["schema", "check"])?;
    let groups = site.must(&["topics", "groups"])?;
    ensure!(groups.stdout.contains("kafka_events"), "{groups}");
    // WHEN the brokers of the collection change THEN the schema has no difference, and the tables
    // follow when they are attached again
    everywhere(
        site,
        &format!(
            "ALTER NAMED COLLECTION {NAME} SET kafka_broker_list = 'localhost:{}'",
            site.brokers().rsplit(':').next().unwrap_or_default()
        ),
    )?;
    site.must(&["schema", "check"])?;
    for table in options {
        everywhere(site, &format!("DETACH TABLE {{db}}.{table} SYNC"))?;
        everywhere(site, &format!("ATTACH TABLE {{db}}.{table}"))?;
    }
    flow(site, 40)?;
    // WHEN a config is imported THEN it has the collection
    let url = site.stack.nodes()[0].http_url();
    let imported = site.must(&["schema", "import", "--url", &url, "--database", site.name()])?;
    ensure!(imported.stdout.contains(&format!("named_collection = \"{NAME}\"")), "{imported}");
    Ok(())
}
