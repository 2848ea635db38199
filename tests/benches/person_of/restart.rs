//! The first query after a restart of the node.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;
use serde_json::{Value, json};

use super::data::{LIMIT, query};

/// Approximate rows of the query. Their ids are anywhere in the index, so that it reads and
/// verifies most of it.
const ROWS: u64 = 100_000;

/// Restarts the node, and runs a query with `personOf` and the same one a second time.
pub(super) fn first_query(site: &Site<'_>, events: u64) -> anyhow::Result<Value> {
    let part = (events / ROWS).max(1);
    let sql = format!(
        "SELECT uniqExact(personOf(team_id, distinct_id)) FROM {{db}}.seen_events \
         WHERE cityHash64(distinct_id, timestamp) % {part} = 0"
    );
    let node = site.stack.nodes().first().context("a node")?;
    node.stop();
    node.start()?;
    wait_until("the node to read its events", LIMIT, || {
        match query(site, "SELECT count() FROM {db}.seen_events WHERE NOT ignore(distinct_id)") {
            Ok(_) => ControlFlow::Break(Ok(())),
            Err(error) => ControlFlow::Continue(error),
        }
    })?;
    let begin = Instant::now();
    let first = query(site, &sql)?.text;
    let first_s = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let second = query(site, &sql)?.text;
    let second_s = begin.elapsed().as_secs_f64();
    ensure!(first == second, "{first}, then {second}");
    Ok(json!({ "rows": ROWS, "after_restart_s": first_s, "next_s": second_s }))
}
