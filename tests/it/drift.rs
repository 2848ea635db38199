//! Drift by manual changes: each is named with table and part.
//!
//! `schema apply` either fixes a difference or leaves it with a hint.

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use serde_json::Value;

use crate::schema::{FINGERPRINT, changes, json};

tests! {
    Shared every_drift_is_named_and_mended,
    Shared an_extra_column_with_data_is_reported_and_stays,
    Shared another_sorting_key_is_left_with_a_next_step,
}

/// The node with manual changes. The other one must stay unchanged.
const NODE: usize = 1;

/// A manual change.
enum ByHand {
    /// Runs this statement.
    Statement(&'static str),
    /// Drops and recreates a table, with one text in its definition replaced.
    Again(&'static str, &'static str, &'static str),
}

use ByHand::{Again, Statement};

/// The change, the object that differs then, the part of it, and the action of the plan.
const DRIFTS: &[(ByHand, &str, &str, &str)] = &[
    (Statement("DROP TABLE {db}.kafka_events SYNC"), "kafka_events", "", "create"),
    (Statement("DROP TABLE {db}.events_dead_letter_mv SYNC"), "events_dead_letter_mv", "", "create"),
    (Statement("DROP TABLE {db}.events SYNC"), "events", "", "create"),
    (
        Statement("ALTER TABLE {db}.sharded_events DROP COLUMN `mat_$browser`"),
        "sharded_events",
        "`mat_$browser`",
        "alter",
    ),
    (
        Statement("ALTER TABLE {db}.sharded_events DROP COLUMN elements_hash"),
        "sharded_events",
        "`elements_hash`",
        "alter",
    ),
    (Statement("ALTER TABLE {db}.events DROP COLUMN elements_chain"), "events", "`elements_chain`", "alter"),
    (Statement("ALTER TABLE {db}.events ADD COLUMN stray String"), "events", "`stray`", "alter"),
    (
        Statement(
            "ALTER TABLE {db}.sharded_events MODIFY COLUMN `mat_$browser` String \
             MATERIALIZED upper(properties)",
        ),
        "sharded_events",
        "`mat_$browser`",
        "alter",
    ),
    (
        Statement("ALTER TABLE {db}.sharded_events MODIFY COLUMN properties String CODEC(NONE)"),
        "sharded_events",
        "`properties`",
        "alter",
    ),
    (
        Statement("ALTER TABLE {db}.sharded_events DROP INDEX minmax_timestamp"),
        "sharded_events",
        "INDEX minmax_timestamp",
        "alter",
    ),
    (
        Statement("ALTER TABLE {db}.sharded_events MODIFY SETTING non_replicated_deduplication_window = 5"),
        "sharded_events",
        "setting non_replicated_deduplication_window",
        "alter",
    ),
    (
        Again("events_mv", "WHERE ((((", "WHERE (_partition != 3) AND (((("),
        "events_mv",
        "AS SELECT",
        "recreate",
    ),
    (
        Again("kafka_events", "kafka_poll_timeout_ms = 100", "kafka_poll_timeout_ms = 500"),
        "kafka_events",
        "setting kafka_poll_timeout_ms",
        "recreate",
    ),
    (
        Again(
            "kafka_events",
            "kafka_poll_timeout_ms = 100",
            "kafka_poll_timeout_ms = 100, kafka_max_rows_per_message = 7",
        ),
        "kafka_events",
        "setting kafka_max_rows_per_message",
        "recreate",
    ),
    (
        Again("writable_events", "sipHash64(distinct_id)", "cityHash64(distinct_id)"),
        "writable_events",
        "ENGINE",
        "recreate",
    ),
];

impl ByHand {
    fn do_on(&self, site: &Site<'_>) -> anyhow::Result<()> {
        match self {
            Statement(sql) => site.query_on(NODE, sql).map(drop),
            Again(table, from, to) => again(site, table, from, to),
        }
    }
}

/// Recreates a table with `from` replaced by `to` in its definition.
fn again(site: &Site<'_>, table: &str, from: &str, to: &str) -> anyhow::Result<()> {
    let definition = site.query_on(
        NODE,
        &format!(
            "SELECT create_table_query FROM system.tables \
             WHERE database = '{{db}}' AND name = '{table}' FORMAT TSVRaw"
        ),
    )?;
    ensure!(definition.contains(from), "no {from:?} in {definition}");
    site.query_on(NODE, &format!("DROP TABLE {{db}}.{table} SYNC"))?;
    site.query_on(NODE, &definition.replace(from, to))?;
    Ok(())
}

/// The plan, after its exit code 3 and the same code of `check`. The other node has no difference.
fn differences(site: &Site<'_>) -> anyhow::Result<Value> {
    let check = site.posthouse(&["schema", "check"])?;
    ensure!(check.code == 3 && check.stdout.contains("differences on 1 of 2 nodes"), "{check}");
    let plan = site.posthouse(&["schema", "plan", "--json"])?;
    ensure!(plan.code == 3, "{plan}");
    let plan = json(&plan)?;
    ensure!(changes(&plan, 0).is_empty() && plan["nodes"][NODE]["node"] == "ch2", "{plan:#}");
    Ok(plan)
}

/// The differing parts of the first change.
fn parts(plan: &Value) -> Vec<&str> {
    let differences = plan["nodes"][NODE]["changes"][0]["differences"].as_array();
    differences.into_iter().flatten().filter_map(|difference| difference["part"].as_str()).collect()
}

fn every_drift_is_named_and_mended(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema without differences
    site.materialize(&["$browser"]).set("events", "poll_timeout", "100ms");
    site.apply()?;
    let definitions = "SELECT name, create_table_query FROM system.tables WHERE database = '{db}' \
        AND name NOT IN ('sharded_events', 'events') ORDER BY name";
    let right = site.query_on(NODE, definitions)?;
    let untouched = site.query_on(0, FINGERPRINT)?;
    for (by_hand, object, part, action) in DRIFTS {
        let case = format!("{object} {part}");
        // WHEN it is changed by hand on one node
        by_hand.do_on(site).with_context(|| case.clone())?;
        // THEN check reports it, and plan names node, table and part
        let plan = differences(site).with_context(|| case.clone())?;
        ensure!(changes(&plan, NODE) == [((*object).to_owned(), (*action).to_owned())], "{case}: {plan:#}");
        ensure!(parts(&plan) == [*part][usize::from(part.is_empty())..], "{case}: {plan:#}");
        // THEN apply fixes it, once its drops are confirmed
        if matches!(*object, "events_mv" | "writable_events") || *part == "`stray`" {
            let name = if *part == "`stray`" { "events.stray" } else { *object };
            let refused = site.posthouse(&["schema", "apply"])?;
            ensure!(
                refused.code == 1 && refused.stderr.contains(&format!("--yes-drop {name}")),
                "{case}: {refused}"
            );
            site.must(&["schema", "apply", "--yes-drop", name]).with_context(|| case.clone())?;
        } else {
            site.must(&["schema", "apply"]).with_context(|| case.clone())?;
        }
        site.must(&["schema", "check"]).with_context(|| case.clone())?;
        ensure!(site.query_on(NODE, definitions)? == right, "{case}: {}", site.query_on(NODE, definitions)?);
    }
    // THEN the other node was never touched
    ensure!(site.query_on(0, FINGERPRINT)? == untouched, "the other node has changed");
    Ok(())
}

/// The definitions of every node's tables.
pub(crate) fn definitions(site: &Site<'_>) -> anyhow::Result<Vec<String>> {
    (0..site.stack.nodes().len()).map(|node| site.query_on(node, FINGERPRINT)).collect()
}

fn an_extra_column_with_data_is_reported_and_stays(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a table with data, with parts outside the config on one node
    site.apply()?;
    for part in [
        "ADD COLUMN extra String DEFAULT 'kept' CODEC(ZSTD(7))",
        "ADD INDEX own_index extra TYPE minmax",
        "ADD PROJECTION own_projection (SELECT team_id, count() GROUP BY team_id)",
        "ADD CONSTRAINT own_constraint CHECK team_id >= -1",
        "MODIFY COLUMN event String COMMENT 'the name' CODEC(ZSTD(1))",
        "MODIFY COMMENT 'ours'",
        "MODIFY SETTING merge_with_ttl_timeout = 7200, deduplicate_merge_projection_mode = 'drop'",
    ] {
        // The projection needs the last setting of this list.
        site.query_on(
            NODE,
            "ALTER TABLE {db}.sharded_events MODIFY SETTING deduplicate_merge_projection_mode = 'drop'",
        )?;
        site.query_on(NODE, &format!("ALTER TABLE {{db}}.sharded_events {part}"))?;
    }
    let before = definitions(site)?;
    // WHEN it is compared and applied
    let check = site.must(&["schema", "check"])?;
    let applied = site.must(&["schema", "apply"])?;
    // THEN each is listed once, and stays
    for part in [
        "`extra`",
        "INDEX own_index",
        "PROJECTION own_projection",
        "CONSTRAINT own_constraint",
        "`event`",
        "COMMENT",
        "setting merge_with_ttl_timeout",
    ] {
        let listed = check.stdout.matches(part).count();
        ensure!(listed == 1, "{part}: {check}");
    }
    ensure!(applied.stdout.starts_with("0 steps done"), "{applied}");
    ensure!(definitions(site)? == before, "apply changed something");
    // WHEN another one has a new value for each insert THEN it is a difference, with a next step
    let changing =
        "ALTER TABLE {db}.sharded_events ADD COLUMN inserted Nullable(DateTime64(6)) DEFAULT now64()";
    site.query_on(NODE, changing)?;
    let check = site.posthouse(&["schema", "check"])?;
    ensure!(check.code == 3 && check.stdout.contains("calls now64"), "{check}");
    site.query_on(NODE, "ALTER TABLE {db}.sharded_events DROP COLUMN inserted")?;
    // WHEN every node has the column THEN queries see it, also through a recreated Distributed
    // table
    site.query_on(0, "ALTER TABLE {db}.sharded_events ADD COLUMN extra String DEFAULT 'kept'")?;
    site.must(&["schema", "apply"])?;
    ensure!(site.query("SELECT count(extra) FROM {db}.events")? == "0", "a count");
    again(site, "events", "sipHash64(distinct_id)", "rand()")?;
    site.must(&["schema", "apply", "--yes-drop", "events"])?;
    ensure!(site.query_on(NODE, "SELECT count(extra) FROM {db}.events")? == "0", "a count");
    site.must(&["schema", "check"])?;
    Ok(())
}

fn another_sorting_key_is_left_with_a_next_step(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a table with data in another order, and a missing column beside it
    site.materialize(&["$browser"]);
    site.apply()?;
    again(site, "sharded_events", "toDate(timestamp), event,", "event, toDate(timestamp),")?;
    site.query_on(
        NODE,
        "INSERT INTO {db}.sharded_events (uuid, distinct_id, timestamp) \
         VALUES (generateUUIDv4(), 'd', now64(6))",
    )?;
    site.query_on(NODE, "ALTER TABLE {db}.sharded_events DROP COLUMN `mat_$browser`")?;
    // WHEN it is compared
    let plan = differences(site)?;
    // THEN the plan adds the column, and leaves the order to the operator
    let wanted = [("sharded_events", "alter"), ("sharded_events", "leave")];
    let wanted = wanted.map(|(object, action)| (object.to_owned(), action.to_owned()));
    ensure!(changes(&plan, NODE) == wanted, "{plan:#}");
    ensure!(plan["nodes"][NODE]["changes"][1]["differences"][0]["part"] == "ORDER BY", "{plan:#}");
    // WHEN it is applied THEN the column exists, the data stays, and the difference is still
    // reported
    let applied = site.posthouse(&["schema", "apply"])?;
    ensure!(applied.code == 3 && applied.stdout.contains("ORDER BY"), "{applied}");
    let found = site.query_on(
        NODE,
        "SELECT sorting_key, total_rows, (SELECT count() FROM system.columns WHERE database = '{db}' \
         AND table = 'sharded_events' AND name = 'mat_$browser') \
         FROM system.tables WHERE database = '{db}' AND name = 'sharded_events'",
    )?;
    ensure!(
        found == "team_id, event, toDate(timestamp), cityHash64(distinct_id), cityHash64(uuid)\t1\t1",
        "{found}"
    );
    Ok(())
}
