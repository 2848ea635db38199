//! The first query after a restart of the node.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;
use serde_json::{Value, json};

use super::data::{ID_COLUMNS, LIMIT, Scale, query, rule_person};

/// Ids that are anywhere in the index, so that the query reads and verifies most of it.
const IDS: u64 = 100_000;

/// Restarts the node, and runs a query with `personOf` and the same one a second time. Each id must
/// have its person by the rule.
pub(super) fn first_query(site: &Site<'_>, scale: Scale) -> anyhow::Result<Value> {
    let scale = scale.divided();
    let sql = format!(
        "SELECT countIf(personOf(team_id, distinct_id) != wanted) FROM (SELECT {ID_COLUMNS}, {} AS wanted FROM \
         (SELECT sipHash64(number, 1) % {} AS n FROM numbers({IDS})))",
        rule_person(scale),
        scale.ids
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
    ensure!(first.trim() == "0" && second.trim() == "0", "{first}, then {second} wrong persons");
    Ok(json!({ "ids": IDS, "after_restart_s": first_s, "next_s": second_s }))
}
