//! Random manual changes: one apply fixes each table or names a hint.

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::drift::definitions;
use crate::schema::json;
use crate::seed;

tests! {
    Shared apply_converges_after_random_changes,
}

/// Each round is a plan, an apply and a plan.
const ROUNDS: u32 = 6;
/// Changes of a round.
const CHANGES: usize = 7;
/// Storage tables and Distributed tables.
const TABLES: [&str; 6] = [
    "sharded_events",
    "writable_events",
    "events",
    "sharded_events_dead_letter",
    "events_dead_letter",
    "sharded_backfill_ledger",
];
/// String columns of the tables above.
const COLUMNS: [&str; 7] =
    ["event", "properties", "elements_hash", "elements_chain", "`mat_$browser`", "error", "raw_message"];

/// A statement that an operator may run. The server may refuse it.
fn statement(random: &mut StdRng) -> String {
    let table = TABLES.choose(random).copied().unwrap_or_default();
    let column = COLUMNS.choose(random).copied().unwrap_or_default();
    let number = random.random_range(0..3);
    let change = match random.random_range(0..15) {
        0 => format!("MODIFY COLUMN {column} COMMENT 'note {number}'"),
        1 => format!("MODIFY COLUMN {column} String CODEC(ZSTD({}))", number + 1),
        2 => format!("MODIFY COLUMN {column} String DEFAULT 'd{number}'"),
        3 => format!("MODIFY COLUMN {column} String MATERIALIZED 'm{number}'"),
        4 => format!("MODIFY COLUMN {column} LowCardinality(String)"),
        5 => format!("DROP COLUMN {column}"),
        6 => format!(
            "ADD COLUMN IF NOT EXISTS own_{number} String CODEC(ZSTD(2)) TTL _timestamp + INTERVAL 9 YEAR"
        ),
        7 => format!("ADD COLUMN IF NOT EXISTS own_{number} UInt8 DEFAULT {number}"),
        8 => format!("ADD COLUMN IF NOT EXISTS own_{number} String ALIAS upper({column})"),
        9 => format!("ADD INDEX IF NOT EXISTS own_index_{number} {column} TYPE bloom_filter"),
        10 => format!("ADD CONSTRAINT IF NOT EXISTS own_constraint_{number} CHECK length({column}) >= 0"),
        11 => format!("MODIFY SETTING non_replicated_deduplication_window = {}", number + 3),
        12 => format!("MODIFY SETTING merge_with_ttl_timeout = {}", number + 9000),
        13 => format!("MODIFY COMMENT 'table {number}'"),
        _ => "DROP INDEX minmax_timestamp".to_owned(),
    };
    format!("ALTER TABLE {{db}}.{table} {change}")
}

/// The options requested by the plan's last line.
fn confirmations(plan: &str) -> Vec<String> {
    let asked = plan.rsplit_once(" to confirm: ").map(|(_, asked)| asked).unwrap_or_default();
    asked.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
}

fn apply_converges_after_random_changes(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema without differences
    site.materialize(&["$browser"]);
    site.apply()?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    for round in 0..ROUNDS {
        // WHEN tables are changed by hand on any node
        let mut done = Vec::new();
        while done.len() < CHANGES {
            let (node, statement) =
                (random.random_range(0..site.stack.nodes().len()), statement(&mut random));
            if site.query_on(node, &statement).is_ok() {
                done.push(format!("{node}: {statement}"));
            }
        }
        let case = || format!("round {round}:\n{}", done.join("\n"));
        let planned = site.posthouse(&["schema", "plan"])?;
        let mut line = vec!["schema".to_owned(), "apply".to_owned()];
        line.extend(confirmations(&planned.stdout));
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        // THEN one apply takes every planned step, and leaves no consumer paused
        let applied = site.posthouse(&line).with_context(case)?;
        ensure!(matches!(applied.code, 0 | 3), "{}\n{planned}\n{applied}", case());
        let there = site
            .query("SELECT count() FROM system.tables WHERE database = '{db}' AND name = 'kafka_events'")?;
        ensure!(there == "1", "{}: the consumer is gone", case());
        // THEN remaining differences are left to the operator, and a second apply has no step
        let left = json(&site.posthouse(&["schema", "plan", "--json"])?)?;
        let steps = left["steps"].as_array().map_or(0, Vec::len);
        ensure!(steps == 0, "{}\n{planned}\n{applied}\n{left:#}", case());
        let nodes = left["nodes"].as_array().context("nodes")?;
        for change in nodes.iter().flat_map(|node| node["changes"].as_array().into_iter().flatten()) {
            ensure!(change["action"]["do"] == "leave", "{}\n{change:#}", case());
        }
        let before = definitions(site)?;
        let again = site.posthouse(&["schema", "apply"])?;
        ensure!(again.stdout.contains("0 steps done"), "{}\n{again}", case());
        ensure!(definitions(site)? == before, "{}\n{again}", case());
    }
    Ok(())
}
