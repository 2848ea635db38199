//! New and dropped materialized columns under load: no row lost or repeated.
//!
//! Old rows have the column too.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use posthouse_tests::events::Profile;
use posthouse_tests::load::{Load, Produced};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, wait_until};
use posthouse_tests::torture::ingest;
use serde_json::{Value, json};

use crate::events::{PROFILE, event};
use crate::produce::{consumed, produce};
use crate::seed;

tests! {
    Own columns_and_a_profile_are_added_under_load_without_a_loss,
    Own a_view_that_was_dropped_by_hand_holds_its_node_up_and_loses_nothing,
}

/// Messages per second.
const RATE: u64 = 5_000;
/// Rows between two changes: several blocks of every consumer.
const ROWS: u64 = 15_000;
/// For these rows, many times over.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until this many more rows are stored.
fn flows(site: &Site<'_>) -> anyhow::Result<()> {
    let wanted = site.stored()?.rows + ROWS;
    wait_until(&format!("{wanted} rows"), LIMIT, || match site.stored() {
        Ok(stored) if stored.rows >= wanted => ControlFlow::Break(Ok(())),
        Ok(stored) => ControlFlow::Continue(anyhow!("{stored:?}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })
}

fn add_columns(site: &mut Site<'_>) -> anyhow::Result<()> {
    flows(site)?;
    for columns in [&["$current_url"][..], &["$browser_version", "$current_url", "$referrer"]] {
        let plan = site.materialize(columns).posthouse(&["schema", "plan"])?;
        ensure!(plan.code == 3, "{plan}");
        site.must(&["schema", "apply"])?;
        flows(site)?;
    }
    // Then one is dropped again.
    site.materialize(&["$browser_version", "$current_url"]);
    site.must(&["schema", "apply", "--drop-column", "mat_$referrer"])?;
    let left =
        site.query("SELECT count() FROM system.columns WHERE database = '{db}' AND name = 'mat_$referrer'")?;
    ensure!(left == "0", "{left} tables have the dropped column");
    flows(site)?;
    // Then the columns of a PostHog.
    site.set("events", "profile", "posthog");
    site.must(&["schema", "apply", "--yes-drop", "events_mv", "--yes-drop", "events_dead_letter_mv"])?;
    flows(site)
}

fn all_there_once(site: &Site<'_>, produced: Produced) -> anyhow::Result<()> {
    let stored = site.stored()?;
    eprintln!("columns: {produced:?}, {stored:?}");
    ensure!((stored.rows, stored.events) == (produced.events, produced.events), "{stored:?} of {produced:?}");
    ensure!(
        (stored.dead_rows, stored.dead) == (produced.broken, produced.broken),
        "{stored:?} of {produced:?}"
    );
    Ok(())
}

fn a_view_that_was_dropped_by_hand_holds_its_node_up_and_loses_nothing() -> anyhow::Result<()> {
    // GIVEN events in flight
    let stack = ingest::stack(&Progress::Silent)?;
    let site = Site::new(&stack, "views")?;
    site.apply()?;
    let profile = Profile { broken: 50, days: 2, ..PROFILE };
    let load = Load::start(&site.brokers(), site.name(), profile, seed("views")?, RATE, u64::MAX)?;
    flows(&site)?;
    // WHEN a view is dropped by hand, another one on each node, and more events come
    site.query_on(0, "DROP TABLE {db}.events_mv SYNC")?;
    site.query_on(1, "DROP TABLE {db}.events_dead_letter_mv SYNC")?;
    std::thread::sleep(Duration::from_secs(3));
    let held = site.stored()?;
    std::thread::sleep(Duration::from_secs(3));
    let still = site.stored()?;
    let produced = load.finish()?;
    // THEN no message is read past the missing views
    ensure!(held == still, "{held:?}, then {still:?}");
    // THEN apply recreates them, and every message is stored once
    site.must(&["schema", "apply"])?;
    consumed(&site)?;
    all_there_once(&site, produced)
}

fn columns_and_a_profile_are_added_under_load_without_a_loss() -> anyhow::Result<()> {
    // GIVEN a stack without merges that hide duplicates, and a load with some invalid messages
    let stack = ingest::stack(&Progress::Silent)?;
    let mut site = Site::new(&stack, "columns")?;
    site.apply()?;
    let profile = Profile { broken: 50, days: 2, ..PROFILE };
    let load = Load::start(&site.brokers(), site.name(), profile, seed("columns")?, RATE, u64::MAX)?;
    // WHEN a column is added, then another before it, and one is dropped
    let added = add_columns(&mut site);
    let produced = load.finish()?;
    added?;
    consumed(&site)?;
    // THEN every message is stored once
    all_there_once(&site, produced)?;
    // THEN rows from before, between and after have the columns filled
    let wrong = site.query(
        "SELECT countIf(`mat_$current_url` != JSONExtractString(properties, '$current_url')), \
         countIf(`mat_$browser_version` != toString(JSONExtractUInt(properties, '$browser_version'))), \
         countIf(`mat_$current_url` = '' OR `mat_$browser_version` = '') FROM {db}.events",
    )?;
    ensure!(wrong == "0\t0\t0", "{wrong} rows have wrong columns");
    // THEN events from before the profile have no person, and new ones have theirs
    let persons =
        "SELECT countIf(person_id != toUUID('00000000-0000-0000-0000-000000000000')) FROM {db}.events";
    ensure!(site.query(persons)? == "0", "persons of events without one");
    let messages: Vec<String> = (0..20)
        .map(|number| {
            let mut event = event(number);
            event.insert("person_id".to_owned(), json!(format!("0190a5c2-6f2a-7000-8000-{number:012}")));
            Value::Object(event).to_string()
        })
        .collect();
    produce(&site, &messages.iter().map(|message| Some(message.as_bytes())).collect::<Vec<_>>())?;
    consumed(&site)?;
    ensure!(site.query(persons)? == "20", "new events have no persons");
    // THEN some parts hold the column, and some were written before it
    for node in 0..stack.nodes().len() {
        let parts = site.query_on(
            node,
            "SELECT uniqExact(name) > uniqExactIf(name, column = 'mat_$current_url'), \
             countIf(column = 'mat_$current_url') > 0, countIf(column = 'mat_$browser_version') > 0 \
             FROM system.parts_columns \
             WHERE database = '{db}' AND table = 'sharded_events' AND active",
        )?;
        ensure!(parts == "1\t1\t1", "node {node}: {parts}");
    }
    Ok(())
}
