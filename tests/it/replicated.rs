//! Replicated tables: two shards with two replicas each, registered in ZooKeeper.

use anyhow::{bail, ensure};
use posthouse_tests::events::Profile;
use posthouse_tests::load::Load;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};

use crate::events::PROFILE;
use crate::produce::{LIMIT, consumed};
use crate::schema::{FINGERPRINT, json};
use crate::seed;

tests! {
    Own replicas_of_a_shard_share_their_tables,
    Server replicas_of_a_shard_hold_the_same_events,
}

fn stack() -> anyhow::Result<Stack> {
    Stack::start(StackSpec::default().replicas(2), &Progress::Silent)
}

fn replicas_of_a_shard_share_their_tables() -> anyhow::Result<()> {
    // GIVEN two shards with two replicas each
    let stack = stack()?;
    let mut site = Site::new(&stack, "replicated")?;
    site.materialize(&["$current_url"]);
    // WHEN the schema is applied
    site.apply()?;
    // THEN every node has replicated tables, with its shard's path and a unique replica name
    for (index, node) in stack.nodes().iter().enumerate() {
        for (table, engine) in [
            ("sharded_events", "ReplicatedReplacingMergeTree"),
            ("sharded_events_dead_letter", "ReplicatedMergeTree"),
        ] {
            let found = site.query_on(
                index,
                &format!(
                    "SELECT t.engine, r.zookeeper_path, r.replica_name, r.total_replicas \
                     FROM system.tables AS t \
                     JOIN system.replicas AS r ON t.database = r.database AND t.name = r.table \
                     WHERE t.database = '{{db}}' AND t.name = '{table}'"
                ),
            )?;
            let path = format!("/clickhouse/tables/{}/{}.{table}", node.shard(), site.name());
            let wanted = format!("{engine}\t{path}\t{}\t2", node.name());
            ensure!(found == wanted, "{}: {found:?} is not {wanted:?}", node.name());
        }
    }
    // THEN the plan is clean, and a second apply changes no table
    let fingerprints = || {
        (0..stack.nodes().len()).map(|node| site.query_on(node, FINGERPRINT)).collect::<Result<Vec<_>, _>>()
    };
    let before = fingerprints()?;
    let plan = json(&site.must(&["schema", "plan", "--json"])?)?;
    ensure!(plan["nodes"].as_array().map(Vec::len) == Some(4), "{plan:#}");
    let again = site.must(&["schema", "apply"])?;
    ensure!(again.stdout.starts_with("0 steps done, all 4 nodes"), "{again}");
    ensure!(fingerprints()? == before, "{before:#?} became {:#?}", fingerprints()?);
    // WHEN a shard is given a replica with another definition
    let stranger = site.query(
        "CREATE TABLE {db}.stranger (uuid UUID, distinct_id String) \
         ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{db}.sharded_events', 'stranger') \
         ORDER BY uuid",
    );
    // THEN the engine refuses it
    let Err(error) = stranger else { bail!("a replica with another definition was made") };
    ensure!(
        ["METADATA_MISMATCH", "INCOMPATIBLE_COLUMNS"].iter().any(|code| format!("{error:#}").contains(code)),
        "{error:#}"
    );
    let found =
        site.query("SELECT count() FROM system.tables WHERE database = '{db}' AND name = 'stranger'")?;
    ensure!(found == "0", "the refused table stands there");
    Ok(())
}

fn replicas_of_a_shard_hold_the_same_events() -> anyhow::Result<()> {
    // GIVEN the schema on two shards with two replicas each
    let stack = stack()?;
    let site = Site::new(&stack, "replicated")?;
    site.apply()?;
    // WHEN events and invalid messages are produced
    let profile = Profile { broken: 200, ..PROFILE };
    let load = Load::start(&site.brokers(), site.name(), profile, seed("replicated")?, 10_000, 50_000)?;
    let produced = load.wait()?;
    consumed(&site)?;
    // THEN each is stored once
    let stored = site.stored()?;
    ensure!((stored.rows, stored.events) == (produced.events, produced.events), "{stored:?} of {produced:?}");
    ensure!(
        (stored.dead_rows, stored.dead) == (produced.broken, produced.broken),
        "{stored:?} of {produced:?}"
    );
    // THEN both replicas of a shard have the same rows
    let sum =
        "SELECT count(), sum(cityHash64(uuid, distinct_id, properties, _offset)) FROM {db}.sharded_events";
    for shard in stack.nodes().chunks(2).enumerate().map(|(shard, _)| shard * 2) {
        for node in [shard, shard + 1] {
            site.query_on(node, "SYSTEM SYNC REPLICA {db}.sharded_events")?;
        }
        let wanted = site.query_on(shard, sum)?;
        ensure!(site.query_on(shard + 1, sum)? == wanted, "replicas of shard {} differ", shard / 2 + 1);
    }
    // WHEN one replica is gone THEN queries read the other
    stack.nodes()[1].kill();
    site.answers("SELECT count() FROM {db}.events", &produced.events.to_string(), LIMIT)
}
