//! `posthouse schema apply`, `plan`, `check` and `render`.
//!
//! Apply is idempotent, and `render` shows the same statements without a server.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use posthouse_tests::site::{Outcome, Site};
use serde_json::Value;

tests! {
    Shared the_documented_columns_are_there_in_order,
    Shared apply_a_second_time_changes_nothing,
    Shared render_needs_no_server_and_shows_what_apply_makes,
    Shared a_dry_run_makes_nothing,
    Shared upgrades_are_recorded_once_on_every_node,
    Shared tables_that_posthouse_does_not_know_are_left_alone,
}

/// The product's documented columns, with types in the server's notation.
const DOCUMENTED: [(&str, &str); 11] = [
    ("uuid", "UUID"),
    ("event", "String"),
    ("properties", "String"),
    ("timestamp", "DateTime64(6, 'UTC')"),
    ("team_id", "Int64"),
    ("distinct_id", "String"),
    ("elements_hash", "String"),
    ("created_at", "DateTime64(6, 'UTC')"),
    ("_timestamp", "DateTime"),
    ("_offset", "UInt64"),
    ("elements_chain", "String"),
];

/// Changes with any change of a table.
pub(crate) const FINGERPRINT: &str = "SELECT name, uuid, metadata_modification_time, \
    cityHash64(create_table_query) \
    FROM system.tables WHERE database = '{db}' ORDER BY name";

/// The JSON output of a command with `--json`.
pub(crate) fn json(outcome: &Outcome) -> anyhow::Result<Value> {
    serde_json::from_str(&outcome.stdout).with_context(|| format!("not JSON: {outcome}"))
}

/// The changes in `schema plan --json` for the node at `index`, as (object, action).
pub(crate) fn changes(planned: &Value, index: usize) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let changes = planned["nodes"][index]["changes"].as_array();
    changes
        .into_iter()
        .flatten()
        .map(|change| (text(&change["object"]), text(&change["action"]["do"])))
        .collect()
}

/// A SQL literal of `text`.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn fingerprints(site: &Site<'_>) -> anyhow::Result<Vec<String>> {
    (0..site.stack.nodes().len()).map(|node| site.query_on(node, FINGERPRINT)).collect()
}

fn the_documented_columns_are_there_in_order(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two materialized properties
    site.materialize(&["$current_url", "plan"]);
    // WHEN the schema is applied
    site.apply()?;
    // THEN every table of an event's path has the documented columns in order, and two of them the
    // materialized ones
    let materialized = |kind: &str| {
        let expression =
            |property| format!("replaceRegexpAll(JSONExtractRaw(properties, '{property}'), '^\"|\"$', '')");
        ["$current_url", "plan"].map(|property| match kind {
            "" => (format!("mat_{property}"), "String".to_owned(), String::new(), String::new()),
            kind => (format!("mat_{property}"), "String".to_owned(), kind.to_owned(), expression(property)),
        })
    };
    let documented =
        DOCUMENTED.map(|(name, kind)| (name.to_owned(), kind.to_owned(), String::new(), String::new()));
    for (table, more) in [
        ("writable_events", Vec::new()),
        ("sharded_events", materialized("MATERIALIZED").to_vec()),
        ("events", materialized("").to_vec()),
    ] {
        let wanted = [documented.to_vec(), more].concat();
        for node in 0..site.stack.nodes().len() {
            let rows = site.query_on(
                node,
                &format!(
                    "SELECT name, type, default_kind, default_expression FROM system.columns \
                     WHERE database = '{{db}}' AND table = '{table}' \
                     ORDER BY position FORMAT JSONCompactEachRow"
                ),
            )?;
            let found: Vec<(String, String, String, String)> =
                rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            ensure!(found == wanted, "{table} on node {node} has {found:#?}");
        }
    }
    Ok(())
}

fn apply_a_second_time_changes_nothing(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN an applied schema
    site.materialize(&["$browser"]);
    site.must(&["topics", "apply"])?;
    let first = json(&site.must(&["schema", "apply", "--json"])?)?;
    ensure!(first["done"].as_array().is_some_and(|done| done.len() > 10), "{first:#}");
    let before = fingerprints(site)?;
    // WHEN it is compared THEN the plan is empty
    let plan = json(&site.must(&["schema", "plan", "--json"])?)?;
    ensure!(plan["steps"].as_array().is_some_and(Vec::is_empty), "{plan:#}");
    let check = site.must(&["schema", "check"])?;
    ensure!(check.stdout == "all 2 nodes match the config\n", "{check}");
    let check = json(&site.must(&["schema", "check", "--json"])?)?;
    ensure!(changes(&check, 0).is_empty() && changes(&check, 1).is_empty(), "{check:#}");
    // WHEN it is applied a second time THEN no table changes
    let second = site.must(&["schema", "apply"])?;
    ensure!(second.stdout.starts_with("0 steps done"), "{second}");
    ensure!(fingerprints(site)? == before, "{before:#?} became {:#?}", fingerprints(site)?);
    Ok(())
}

fn render_needs_no_server_and_shows_what_apply_makes(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a config, first with nodes at closed ports
    site.materialize(&["$current_url"]);
    let true_config = site.config_mut().clone();
    let mut rendered = Vec::new();
    for (index, name) in ["ch1", "ch2"].into_iter().enumerate() {
        site.config_mut()["shards"][index]["replicas"][0]["url"] =
            format!("http://127.0.0.1:{}", index + 1).into();
        // WHEN every node's statements are rendered
        let statements = json(&site.must(&["schema", "render", "--node", name, "--json"])?)?;
        let text = site.must(&["schema", "render", "--node", name])?.stdout;
        let mut by_object = BTreeMap::new();
        for statement in statements.as_array().context("a list")? {
            let (object, sql) = (statement["object"].as_str(), statement["sql"].as_str());
            let (object, sql) =
                (object.context("an object")?.to_owned(), sql.context("a statement")?.to_owned());
            ensure!(text.contains(&format!("{sql};\n")), "the text for people lacks {object}");
            by_object.insert(object, sql);
        }
        rendered.push(by_object);
    }
    // WHEN the true config is applied
    *site.config_mut() = true_config;
    site.apply()?;
    // THEN each node has exactly these tables, in the server's own formatting
    for (node, rendered) in rendered.iter().enumerate() {
        let names =
            site.query_on(node, "SELECT name FROM system.tables WHERE database = '{db}' ORDER BY name")?;
        ensure!(
            rendered.keys().map(String::as_str).eq(names.lines()),
            "{names} are not {:?}",
            rendered.keys()
        );
        for (table, sql) in rendered {
            let made = site.query_on(
                node,
                &format!(
                    "SELECT formatQuery(create_table_query) FROM system.tables \
                     WHERE database = '{{db}}' AND name = '{table}' FORMAT TSVRaw"
                ),
            )?;
            let wanted =
                site.query_on(node, &format!("SELECT formatQuery({}) FORMAT TSVRaw", literal(sql)))?;
            ensure!(made == wanted, "{table}: rendered\n{wanted}\nand made\n{made}");
        }
    }
    Ok(())
}

fn a_dry_run_makes_nothing(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN no database
    for line in [&["schema", "plan"][..], &["schema", "apply", "--dry-run"], &["schema", "check"]] {
        // WHEN it is compared in every way
        let outcome = site.posthouse(line)?;
        // THEN differences are reported, and no object is created
        ensure!(outcome.code == 3 && outcome.stdout.contains("sharded_events"), "{outcome}");
        for node in 0..site.stack.nodes().len() {
            let found = site.query_on(node, "SELECT count() FROM system.databases WHERE name = '{db}'")?;
            ensure!(found == "0", "{line:?} made the database on node {node}");
        }
    }
    Ok(())
}

fn upgrades_are_recorded_once_on_every_node(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema that was applied twice
    site.apply()?;
    site.must(&["schema", "apply"])?;
    for node in 0..site.stack.nodes().len() {
        // THEN each upgrade was applied, and is recorded once with the checksum of its file
        let recorded = site.query_on(
            node,
            "SELECT name, count(), any(length(checksum)) FROM {db}.posthouse_upgrades GROUP BY name",
        )?;
        ensure!(recorded == "0001_database_comment\t1\t64", "on node {node}: {recorded}");
        let comment = site.query_on(node, "SELECT comment FROM system.databases WHERE name = '{db}'")?;
        ensure!(comment.starts_with("managed by posthouse"), "on node {node}: {comment}");
    }
    Ok(())
}

fn tables_that_posthouse_does_not_know_are_left_alone(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a foreign table in the database
    site.apply()?;
    site.query("CREATE TABLE {db}.notes (n UInt8) ENGINE = MergeTree ORDER BY n")?;
    site.query("INSERT INTO {db}.notes VALUES (7)")?;
    // WHEN the schema is compared and applied THEN it has no difference, and the table is unchanged
    site.must(&["schema", "check"])?;
    let applied = site.must(&["schema", "apply"])?;
    ensure!(applied.stdout.starts_with("0 steps done"), "{applied}");
    ensure!(site.query("SELECT n FROM {db}.notes")? == "7", "the table changed");
    Ok(())
}
