//! `schema apply`: interrupted, concurrent, and refused before its first step.

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use posthouse_tests::site::Site;
use rustix::process::{Pid, Signal, kill_process};

use crate::events::event;
use crate::produce::{consumed, produce};

tests! {
    Shared resumes_a_node_when_a_step_of_its_pause_fails,
    Shared leaves_no_node_paused_when_a_signal_ends_it,
    Shared takes_turns_when_two_run_at_once,
    Shared refuses_a_consumer_that_would_read_everything_again,
    Shared refuses_swapped_urls_and_detached_tables,
    Shared makes_the_schema_though_no_broker_answers,
}

/// A user with all rights that apply needs, except ALTER TABLE.
pub(crate) const NO_ALTER: &str = "<no_alter><password></password><networks><ip>127.0.0.1</ip></networks>\
    <profile>default</profile><quota>default</quota><grants>\
    <query>GRANT SELECT, INSERT, CREATE, DROP, TRUNCATE, OPTIMIZE, SHOW, SYSTEM, SOURCES, CLUSTER, dictGet ON *.*</query>\
    </grants></no_alter>";

/// The number of nodes with the consumer.
fn consumers(site: &Site<'_>) -> anyhow::Result<usize> {
    let mut consumers = 0;
    for node in 0..site.stack.nodes().len() {
        let there = "SELECT count() FROM system.tables WHERE database = '{db}' AND name = 'kafka_events'";
        consumers += site.query_on(node, there)?.parse::<usize>()?;
    }
    Ok(consumers)
}

fn resumes_a_node_when_a_step_of_its_pause_fails(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema, and a user without the right to alter tables
    site.apply()?;
    site.materialize(&["$browser"]).set("clickhouse", "user", "no_alter");
    // WHEN a column is to be added
    let applied = site.posthouse(&["schema", "apply"])?;
    // THEN the step fails by name, and the node's consumer is recreated
    ensure!(applied.code == 1 && applied.stderr.contains("alter sharded_events: add"), "{applied}");
    ensure!(!applied.stderr.contains("PAUSED") && consumers(site)? == 2, "{applied}");
    // WHEN the cause is gone THEN the same command completes the rest
    site.set("clickhouse", "user", "default");
    site.must(&["schema", "apply"])?;
    site.must(&["schema", "check"])?;
    Ok(())
}

fn leaves_no_node_paused_when_a_signal_ends_it(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema, and columns that pause a node when they are added
    site.apply()?;
    let columns = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    for count in 1..=4_usize {
        site.materialize(&columns[..count * 2]);
        // WHEN apply gets SIGTERM at some point
        let mut child = site.spawn(&["schema", "apply"])?;
        thread::sleep(Duration::from_millis(100 * u64::try_from(count)?));
        if let Some(pid) = Pid::from_raw(i32::try_from(child.id())?) {
            kill_process(pid, Signal::TERM)?;
        }
        let ended = child.wait()?;
        // THEN every node has its consumer, at every point
        ensure!(consumers(site)? == 2, "after {ended}, {} consumers", consumers(site)?);
    }
    // THEN apply completes the rest
    site.must(&["schema", "apply"])?;
    site.must(&["schema", "check"])?;
    Ok(())
}

fn takes_turns_when_two_run_at_once(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN no schema
    site.must(&["topics", "apply"])?;
    // WHEN two applies run at once
    let mut children = [site.spawn(&["schema", "apply"])?, site.spawn(&["schema", "apply"])?];
    // THEN both succeed, one after the other
    for child in &mut children {
        let ended = child.wait()?;
        ensure!(ended.success(), "{ended}");
    }
    site.must(&["schema", "check"])?;
    ensure!(consumers(site)? == 2, "{} consumers", consumers(site)?);
    Ok(())
}

fn refuses_a_consumer_that_would_read_everything_again(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN stored events
    site.apply()?;
    let messages: Vec<String> = (0..20).map(|n| serde_json::Value::Object(event(n)).to_string()).collect();
    let messages: Vec<Option<&[u8]>> = messages.iter().map(|message| Some(message.as_bytes())).collect();
    produce(site, &messages)?;
    consumed(site)?;
    // WHEN the config moves the consumer to a group without offsets
    let group = format!("{}_other", site.name());
    site.set("events", "keeper_path", format!("/posthouse/{group}")).set("events", "group", group);
    let plan = site.posthouse(&["schema", "plan"])?;
    // THEN the plan counts the messages to be replayed, and apply is refused until both options are
    // given
    ensure!(plan.stdout.contains("has no offsets, so 20 messages would be read"), "{plan}");
    for line in [&["schema", "apply"][..], &["schema", "apply", "--yes-drop", "kafka_events"]] {
        let refused = site.posthouse(line)?;
        ensure!(refused.code == 1 && refused.stderr.contains("--yes-replay kafka_events"), "{refused}");
    }
    ensure!(consumers(site)? == 2 && site.stored()?.rows == 20, "a refused apply changed something");
    Ok(())
}

fn refuses_swapped_urls_and_detached_tables(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema
    site.apply()?;
    let right = site.config_mut().clone();
    // WHEN the URLs of two nodes are swapped THEN the plan is refused
    let urls = [1, 0].map(|shard| right["shards"][shard]["replicas"][0]["url"].clone());
    for (shard, url) in urls.into_iter().enumerate() {
        site.config_mut()["shards"][shard]["replicas"][0]["url"] = url;
    }
    let refused = site.posthouse(&["schema", "plan"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("are the urls of two nodes swapped?"), "{refused}");
    *site.config_mut() = right;
    // WHEN a table with data is detached permanently THEN apply is refused with the statement that
    // attaches it, before its first step
    site.query_on(1, "DETACH TABLE {db}.sharded_events_dead_letter PERMANENTLY SYNC")?;
    site.query_on(0, "ALTER TABLE {db}.events DROP COLUMN elements_chain")?;
    let refused = site.posthouse(&["schema", "apply"])?;
    let attach = format!("ATTACH TABLE {}.sharded_events_dead_letter", site.name());
    ensure!(refused.code == 1 && refused.stderr.contains(&attach), "{refused}");
    let column = "SELECT count() FROM system.columns WHERE database = '{db}' AND table = 'events' AND name = 'elements_chain'";
    ensure!(site.query_on(0, column)? == "0", "a refused apply took a step");
    site.query_on(1, "ATTACH TABLE {db}.sharded_events_dead_letter")?;
    site.must(&["schema", "apply"])?;
    site.must(&["schema", "check"])?;
    Ok(())
}

fn makes_the_schema_though_no_broker_answers(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN unreachable brokers
    site.set("kafka", "brokers", vec![toml::Value::from("127.0.0.1:1")]);
    // WHEN the schema is applied THEN it is created, and the missing lock is reported
    let applied = site.must(&["schema", "apply"])?;
    ensure!(applied.stderr.contains("apply runs without a lock"), "{applied}");
    ensure!(consumers(site)? == 2, "{} consumers", consumers(site)?);
    site.must(&["schema", "check"])?;
    Ok(())
}
