//! Settings of the nodes' profile that would lose, repeat or block events.
//!
//! They are found, and refused before any table is created.

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use serde_json::Value;

use crate::schema::json;

tests! {
    Shared refuses_apply_when_the_servers_profile_would_lose_events,
}

/// A profile for the nodes of the shared stack. The nodes don't run with it.
pub(crate) const CARELESS: &str = "<careless_base><profile>default</profile><insert_distributed_sync>0</insert_distributed_sync>\
    <max_partitions_per_insert_block>0</max_partitions_per_insert_block><offset>1</offset></careless_base>\
    <careless><profile>careless_base</profile><max_partitions_per_insert_block>100</max_partitions_per_insert_block>\
    <deduplicate_insert>disable</deduplicate_insert><offset>0</offset></careless>";
/// A user with the grants that a plan needs, except for profiles.
pub(crate) const READER: &str = "<reader><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
    <quota>default</quota><grants><query>GRANT SELECT ON system.clusters</query><query>GRANT SELECT ON system.settings</query>\
    <query>GRANT SELECT ON system.tables</query><query>GRANT SELECT ON system.databases</query></grants></reader>";

/// Node, setting, value and severity of every finding of a plan.
fn findings(site: &Site<'_>) -> anyhow::Result<Vec<[String; 4]>> {
    let plan = json(&site.posthouse(&["schema", "plan", "--json"])?)?;
    let findings = plan["settings"].as_array().context("no settings")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let finding = |finding: &Value| ["node", "setting", "value", "severity"].map(|key| text(&finding[key]));
    Ok(findings.iter().map(finding).collect())
}

fn refuses_apply_when_the_servers_profile_would_lose_events(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes with a profile whose own and inherited settings would block, repeat and risk
    // events
    site.must(&["topics", "apply"])?;
    site.set("clickhouse", "server_profile", "careless");
    // WHEN a plan is made THEN it names each on every node, under its current name
    let mut expected = Vec::new();
    for node in site.stack.nodes() {
        for [setting, value, severity] in [
            ["max_partitions_per_insert_block", "100", "note"],
            ["deduplicate_insert", "disable", "fault"],
            ["distributed_foreground_insert", "0", "note"],
        ] {
            expected.push([node.name(), setting, value, severity].map(str::to_owned));
        }
    }
    let found = findings(site)?;
    ensure!(found == expected, "{found:#?}");
    // WHEN it is applied THEN it is refused with the value, the consequence and a hint, and no
    // database is created
    let refused = site.posthouse(&["schema", "apply"])?;
    ensure!(refused.code == 1, "{refused}");
    for part in ["deduplicate_insert is disable, should be enable", "is stored twice", "<profiles><careless>"]
    {
        ensure!(refused.stderr.contains(part), "no {part:?}: {refused}");
    }
    let databases = site.query("SELECT count() FROM system.databases WHERE name = '{db}'")?;
    ensure!(databases == "0", "the database was made");
    // WHEN profiles can't be read THEN the plan has a note
    site.set("clickhouse", "user", "reader");
    let unread = findings(site)?;
    let is_noted =
        unread.iter().all(|[_, setting, _, severity]| setting == "profile careless" && severity == "note");
    ensure!(is_noted && unread.len() == site.stack.nodes().len(), "{unread:#?}");
    // WHEN the nodes run with the documented profile THEN there is no finding, and check shows a
    // finding by its exit code
    site.set("clickhouse", "user", "default").set("clickhouse", "server_profile", "default");
    ensure!(findings(site)?.is_empty(), "{:#?}", findings(site)?);
    site.must(&["schema", "apply"])?;
    site.must(&["schema", "check"])?;
    site.set("clickhouse", "server_profile", "careless");
    let check = site.posthouse(&["schema", "check"])?;
    ensure!(check.code == 3 && check.stdout.contains("deduplicate_insert is disable"), "{check}");
    Ok(())
}
