//! The schema of persons: optional, idempotent, replicated over all shards.

use anyhow::ensure;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use serde_json::json;

use crate::produce::{LIMIT, produce_into};
use crate::schema::FINGERPRINT;

tests! {
    Shared tables_of_persons_are_made_when_the_config_asks_for_them_and_no_earlier,
    Own persons_of_all_shards_are_replicas_of_one_table,
    Server every_replica_holds_every_person,
}

const OF_PERSONS: &str =
    "SELECT count() FROM system.tables WHERE database = '{db}' AND (name LIKE '%person%')";

fn tables_of_persons_are_made_when_the_config_asks_for_them_and_no_earlier(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a config without [persons]
    site.apply()?;
    for node in 0..site.stack.nodes().len() {
        let found = site.query_on(node, OF_PERSONS)?;
        ensure!(found == "0", "{found} tables of persons on node {node}");
    }
    // WHEN it gets [persons] and is applied
    site.with_persons()?.apply()?;
    // THEN every node has the tables, a second apply changes none, and the check of groups and
    // topics has no finding
    let fingerprints = || {
        (0..site.stack.nodes().len())
            .map(|node| site.query_on(node, FINGERPRINT))
            .collect::<Result<Vec<_>, _>>()
    };
    for node in 0..site.stack.nodes().len() {
        let found = site.query_on(node, OF_PERSONS)?;
        ensure!(found == "15", "{found} tables of persons on node {node}");
    }
    let before = fingerprints()?;
    site.must(&["schema", "check"])?;
    let again = site.must(&["schema", "apply"])?;
    ensure!(again.stdout.starts_with("0 steps done") && fingerprints()? == before, "{again}");
    let check = site.posthouse(&["topics", "check"])?;
    ensure!(!check.stdout.contains(&format!("{}_person", site.name())), "{check}");
    // WHEN the flush interval changes THEN only the consumers are recreated
    site.set("persons", "flush_interval", "100ms");
    let plan = site.posthouse(&["schema", "plan"])?;
    ensure!(plan.code == 3 && plan.stdout.contains("kafka_person_distinct_id"), "{plan}");
    site.must(&["schema", "apply"])?;
    site.must(&["schema", "check"])?;
    Ok(())
}

fn stack() -> anyhow::Result<Stack> {
    Stack::start(StackSpec::default().replicas(2), &Progress::Silent)
}

fn persons_of_all_shards_are_replicas_of_one_table() -> anyhow::Result<()> {
    // GIVEN two shards with two replicas each
    let stack = stack()?;
    let mut site = Site::new(&stack, "persons_replicated")?;
    // WHEN the schema is applied
    site.with_persons()?.apply()?;
    // THEN each node is one of four replicas of each table of persons
    for (index, node) in stack.nodes().iter().enumerate() {
        for table in ["person", "person_distinct_id", "person_dead_letter"] {
            let found = site.query_on(
                index,
                &format!(
                    "SELECT zookeeper_path, replica_name, total_replicas FROM system.replicas \
                     WHERE database = '{{db}}' AND table = '{table}'"
                ),
            )?;
            let path = format!("/clickhouse/tables/noshard/{}.{table}", site.name());
            let wanted = format!("{path}\t{}-{}\t4", node.shard(), node.name());
            ensure!(found == wanted, "{}: {found:?} is not {wanted:?}", node.name());
        }
    }
    site.must(&["schema", "check"])?;
    let again = site.must(&["schema", "apply"])?;
    ensure!(again.stdout.starts_with("0 steps done, all 4 nodes"), "{again}");
    Ok(())
}

fn every_replica_holds_every_person() -> anyhow::Result<()> {
    // GIVEN two shards with two replicas each
    let stack = stack()?;
    let mut site = Site::new(&stack, "persons_replicated")?;
    site.with_persons()?.apply()?;
    // WHEN persons are produced, each read by one node only
    let message = |number: u32| {
        let message = json!({"id": format!("018f5a7e-0000-4000-8000-{number:012}"), "team_id": 2, "properties": "{}",
            "created_at": "2026-11-01 10:42:06.502000", "is_identified": 0, "is_deleted": 0, "version": number});
        message.to_string().into_bytes()
    };
    let messages: Vec<_> = (0..1000).map(message).collect();
    let values: Vec<_> = messages.iter().map(|message| Some(message.as_slice())).collect();
    produce_into(&site, &site.person_topics().0, &values)?;
    // THEN every node has all of them
    site.answers("SELECT count() FROM {db}.persons(team_id = 2)", "1000", LIMIT)?;
    for node in 0..stack.nodes().len() {
        site.query_on(node, "SYSTEM SYNC REPLICA {db}.person")?;
        let found = site.query_on(node, "SELECT count() FROM {db}.persons(team_id = 2)")?;
        ensure!(found == "1000", "node {node} has {found} of 1000 persons");
    }
    Ok(())
}
