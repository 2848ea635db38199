//! Materialized columns in old parts: stored month after month, and dropped by name.

use std::fs::File;
use std::ops::ControlFlow;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::site::{self, Site};
use posthouse_tests::stack::wait_until;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::hostile_events::{apply, with};
use crate::produce::{consumed, produce};
use crate::seed;

tests! {
    Shared old_parts_store_a_column_after_materialize_and_answers_stay,
    Shared a_killed_materialize_continues_where_it_ended,
    Shared a_column_that_left_the_config_is_dropped_by_its_name_alone,
}

/// Months of the events.
const MONTHS: usize = 6;
const EVENTS: usize = 120;
/// For small mutations, many times over.
const LIMIT: Duration = Duration::from_secs(60);
/// Columns that are materialized, one with an index, one from the elements.
const COLUMNS: [&str; 2] = ["$session_id", "elements_chain_texts"];

/// Events of several months with sessions and elements.
fn send(site: &Site<'_>, seed_name: &str, first: usize) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed(seed_name)?);
    let messages: Vec<Vec<u8>> = (first..first + EVENTS)
        .map(|number| {
            let session = random.random_range(0..20);
            let fields = json!({
                "timestamp": format!("2026-{:02}-{:02} 10:00:00", 1 + number % MONTHS, random.random_range(1..28)),
                "distinct_id": format!("person {}", random.random_range(0..40)),
                "properties": json!({"$session_id": format!("s{session}"), "$current_url": "/a"}).to_string(),
                "elements_chain": format!(r#"a:href="/{session}"text="go; \"{session}\"""#),
            });
            with(number, fields).into_bytes()
        })
        .collect();
    let values: Vec<_> = messages.iter().map(|message| Some(message.as_slice())).collect();
    produce(site, &values)?;
    consumed(site)
}

/// Parts from before the columns of the profile.
fn with_old_parts(site: &mut Site<'_>, seed_name: &str) -> anyhow::Result<()> {
    apply(site)?;
    send(site, seed_name, 0)?;
    site.set("events", "profile", "posthog");
    site.must(&["schema", "apply", "--yes-drop", "events_mv", "--yes-drop", "events_dead_letter_mv"])?;
    ensure!(lacking(site)? >= MONTHS, "{} parts lack the columns", lacking(site)?);
    Ok(())
}

/// Parts of all shards that lack one of the columns.
fn lacking(site: &Site<'_>) -> anyhow::Result<usize> {
    let count = |node| -> anyhow::Result<usize> {
        let parts = site.query_on(
            node,
            &format!(
                "SELECT count() FROM (SELECT name FROM system.parts_columns WHERE active AND database = '{{db}}' \
                 AND table = 'sharded_events' GROUP BY name HAVING NOT hasAll(groupArray(column), {COLUMNS:?}))"
            )
            .replace('"', "'"),
        )?;
        Ok(parts.parse()?)
    };
    Ok(count(0)? + count(1)?)
}

/// Mutations of each node that wrote columns: node, partition, number.
fn mutations(site: &Site<'_>) -> anyhow::Result<Vec<(usize, String, usize)>> {
    let mut found = Vec::new();
    for node in 0..2 {
        let rows = site.query_on(
            node,
            "SELECT extract(command, 'IN PARTITION ID \\'(\\\\w+)\\'') AS partition, uniqExact(mutation_id) \
             FROM system.mutations WHERE database = '{db}' AND command LIKE '%MATERIALIZE COLUMN%' \
             GROUP BY partition ORDER BY partition",
        )?;
        for row in rows.lines() {
            let (partition, count) = row.split_once('\t').context("two columns")?;
            found.push((node, partition.to_owned(), count.parse()?));
        }
    }
    Ok(found)
}

/// A hash of the columns' values.
fn values(site: &Site<'_>) -> anyhow::Result<String> {
    site.query("SELECT count(), sum(cityHash64(uuid, `$session_id`, elements_chain_texts)) FROM {db}.events")
}

fn old_parts_store_a_column_after_materialize_and_answers_stay(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN parts of several months, written before the columns
    with_old_parts(site, "materialize")?;
    let before = values(site)?;
    let pruned = "SELECT extract(arrayStringConcat(groupArray(explain), ' '), 'minmax_.session_id.*?Granules: ([0-9]+)/') \
                  FROM (EXPLAIN indexes = 1 SELECT count() FROM {db}.sharded_events WHERE `$session_id` = 'none')";
    ensure!(site.query(pruned)? != "0", "the index skips parts that lack it");
    // WHEN it is a dry run
    let [session, texts] = COLUMNS;
    let planned = site.posthouse(&["schema", "materialize", session, texts, "--dry-run", "--json"])?;
    // THEN it shows each partition, and changes nothing
    ensure!(planned.code == 3, "{planned}");
    let shown: Value = serde_json::from_str(&planned.stdout)?;
    let shards = shown["shards"].as_array().context("shards")?;
    let partitions: Vec<&Value> =
        shards.iter().flat_map(|shard| shard["partitions"].as_array().into_iter().flatten()).collect();
    let sum = |key: &str| partitions.iter().filter_map(|partition| partition[key].as_u64()).sum::<u64>();
    ensure!(sum("rows") == u64::try_from(EVENTS)? && sum("bytes") > 0, "{shown:#}");
    ensure!(usize::try_from(sum("parts"))? == lacking(site)?, "{shown:#}");
    ensure!(shards[1]["partitions"][0]["partition"] == json!("202606"), "{shown:#}");
    ensure!(mutations(site)?.is_empty(), "{:?}", mutations(site)?);
    // WHEN the newest months are written
    let newest = site.must(&["schema", "materialize", session, texts, "--since", "2026-05"])?;
    ensure!(newest.stdout.contains("$session_id, elements_chain_texts written into 40 rows"), "{newest}");
    let written = mutations(site)?;
    ensure!(
        written.iter().all(|(_, month, _)| ["202605", "202606"].contains(&month.as_str()))
            && written.len() >= 2,
        "{written:?}"
    );
    // THEN the others follow with the same command, and every part has the columns and the index
    site.must(&["schema", "materialize", session, texts])?;
    ensure!(lacking(site)? == 0, "{} parts lack the columns", lacking(site)?);
    ensure!(mutations(site)?.iter().all(|(_, _, count)| *count == 1), "{:?}", mutations(site)?);
    ensure!(site.query(pruned)? == "0", "the index was not written: {}", site.query(pruned)?);
    // THEN all answers are as before, and a repetition has no work
    ensure!(values(site)? == before, "{} instead of {before}", values(site)?);
    let again = site.must(&["schema", "materialize", session, texts])?;
    ensure!(again.stdout.starts_with("all parts have $session_id, elements_chain_texts"), "{again}");
    // THEN a column of messages, an unknown one and one that differs on a node are refused
    for (column, reason) in [("person_id", "these are: $group_0"), ("mat_x", "these are: $group_0")] {
        let refused = site.posthouse(&["schema", "materialize", column])?;
        ensure!(refused.code == 1 && refused.stderr.contains(reason), "{refused}");
    }
    site.query_on(1, "ALTER TABLE {db}.sharded_events MODIFY COLUMN `$window_id` String MATERIALIZED 'x'")?;
    let refused = site.posthouse(&["schema", "materialize", "$window_id"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("`$window_id` on "), "{refused}");
    Ok(())
}

/// Stops or starts merges and mutations of both nodes.
fn merges(site: &Site<'_>, verb: &str) -> anyhow::Result<()> {
    (0..2).try_for_each(|node| {
        site.query_on(node, &format!("SYSTEM {verb} MERGES {{db}}.sharded_events")).map(drop)
    })
}

/// Starts the command and waits until both nodes have a mutation that can't end.
fn stuck(site: &Site<'_>, log: &File) -> anyhow::Result<Child> {
    let [session, texts] = COLUMNS;
    let begun = mutations(site)?.len();
    merges(site, "STOP")?;
    let child =
        site::spawn(&site.write_config()?, &["schema", "materialize", session, texts], log.try_clone()?)?;
    wait_until("mutations of both nodes", LIMIT, || match mutations(site) {
        Ok(found) if found.len() >= begun + 2 => ControlFlow::Break(Ok(())),
        Ok(found) => ControlFlow::Continue(anyhow!("{found:?}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    Ok(child)
}

fn a_killed_materialize_continues_where_it_ended(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a command with mutations in progress
    with_old_parts(site, "materialize_killed")?;
    let (before, mut log) = (values(site)?, tempfile::tempfile()?);
    let mut child = stuck(site, &log)?;
    // WHEN it is interrupted
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let status = child.wait()?;
    // THEN it names the statements that end the mutations, and these do
    let told = site::whole(&mut log)?;
    ensure!(status.code() == Some(1), "{status}: {told}");
    let kills: Vec<&str> =
        told.lines().filter_map(|line| Some(&line[line.find("KILL MUTATION")?..])).collect();
    ensure!(kills.len() == 2, "{told}");
    for (node, kill) in kills.iter().enumerate() {
        site.query_on(node, kill)?;
    }
    ensure!(mutations(site)?.is_empty(), "{:?}", mutations(site)?);
    // WHEN another one is killed while its mutations are in progress, and a third one runs
    let mut child = stuck(site, &log)?;
    child.kill()?;
    child.wait()?;
    merges(site, "START")?;
    let [session, texts] = COLUMNS;
    site.must(&["schema", "materialize", session, texts])?;
    // THEN every part has the columns, and each partition was written once
    ensure!(lacking(site)? == 0, "{} parts lack the columns", lacking(site)?);
    let written = mutations(site)?;
    ensure!(written.iter().all(|(_, _, count)| *count == 1) && written.len() > MONTHS, "{written:?}");
    ensure!(values(site)? == before, "{} instead of {before}", values(site)?);
    Ok(())
}

/// Whether a table of any node has the column or an index of it.
fn is_listed(site: &Site<'_>, column: &str) -> anyhow::Result<bool> {
    for node in 0..2 {
        let listed = site.query_on(
            node,
            &format!(
                "SELECT (SELECT count() FROM system.columns WHERE database = '{{db}}' AND name = '{column}') \
                 + (SELECT count() FROM system.data_skipping_indices WHERE database = '{{db}}' AND expr LIKE '%{column}%')"
            ),
        )?;
        if listed != "0" {
            return Ok(true);
        }
    }
    Ok(false)
}

fn a_column_that_left_the_config_is_dropped_by_its_name_alone(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a materialized column with an index, events, and an operator's own column
    let column = "mat_$current_url";
    let materialized =
        format!("materialized = [{{ name = '{column}', property = '$current_url', index = 'minmax' }}]");
    let events = site.config_mut()["events"].as_table_mut().context("a table")?;
    events.extend(materialized.parse::<toml::Table>()?);
    apply(site)?;
    send(site, "drop_column", 0)?;
    for node in 0..2 {
        site.query_on(node, "ALTER TABLE {db}.sharded_events ADD COLUMN noted String DEFAULT 'x'")?;
    }
    site.must(&["schema", "apply"])?;
    // THEN it can't be dropped while the config has it
    let refused = site.posthouse(&["schema", "apply", "--drop-column", column])?;
    ensure!(refused.code == 1 && refused.stderr.contains("remove it there first"), "{refused}");
    // WHEN it is removed from the config
    site.config_mut()["events"].as_table_mut().context("a table")?.remove("materialized");
    // THEN apply leaves it, and the plan names the option
    let plan = site.must(&["schema", "plan"])?;
    ensure!(plan.stdout.contains(&format!("posthouse schema apply --drop-column '{column}'\n")), "{plan}");
    site.must(&["schema", "apply"])?;
    let dry = site.posthouse(&["schema", "apply", "--dry-run", "--drop-column", column])?;
    ensure!(dry.code == 3 && dry.stdout.contains("alter events: drop `mat_$current_url`"), "{dry}");
    ensure!(is_listed(site, column)?, "it was dropped unasked");
    // WHEN it is named
    let applied = site.must(&["schema", "apply", "--drop-column", column])?;
    // THEN it is dropped from the table for queries before any shard, with its index
    let at = |text: &str| applied.stderr.find(text).with_context(|| format!("{text}: {applied}"));
    ensure!(at("alter events: drop")? < at("alter sharded_events: drop `minmax_")?, "{applied}");
    ensure!(!is_listed(site, column)?, "{applied}");
    // THEN the plan is empty, and events still arrive
    let plan = site.must(&["schema", "plan"])?;
    ensure!(!plan.stdout.contains("--drop-column"), "{plan}");
    send(site, "drop_column_again", EVENTS)?;
    let rows = site.stored()?.rows;
    ensure!(rows == 2 * u64::try_from(EVENTS)?, "{rows} rows");
    // THEN columns with data, and names that no table has, are refused
    for (column, reason) in
        [("noted", "is not computed"), ("none", "on any node"), ("event", "the config has")]
    {
        let refused = site.posthouse(&["schema", "apply", "--drop-column", column])?;
        ensure!(refused.code == 1 && refused.stderr.contains(reason), "{refused}");
    }
    ensure!(is_listed(site, "noted")?, "an operator's column was dropped");
    Ok(())
}
