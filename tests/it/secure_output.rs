//! Control characters in names from outside, which no output repeats.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::site::{Outcome, Site};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

tests! {
    Shared shows_control_characters_of_columns_and_views_as_text,
    Shared shows_control_characters_of_groups_and_files_as_text,
}

/// Clears the screen, sets the title, overwrites the line, turns the direction.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;owned\u{7}\rok \u{9b}31m\u{202e}";
const KAFKA_LIMIT: Duration = Duration::from_secs(30);

/// Fails if an output has another control character than newline and tab, or a mark of direction.
fn is_clean(outcome: &Outcome) -> anyhow::Result<()> {
    let hostile = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
    for text in [&outcome.stdout, &outcome.stderr] {
        let found: String = text.chars().filter(|character| hostile(*character)).collect();
        ensure!(found.is_empty(), "{found:?} in {text:?}");
    }
    Ok(())
}

fn shows_control_characters_of_columns_and_views_as_text(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a column, a table and a view of another program with hostile names, which fill our
    // table
    site.apply()?;
    let name = format!("`{HOSTILE}\\nall 2 nodes match the config`");
    for index in 0..2 {
        site.query_on(index, &format!("ALTER TABLE {{db}}.sharded_events ADD COLUMN {name} UInt8"))?;
    }
    site.query(&format!("CREATE TABLE {{db}}.{name} (uuid UUID) ENGINE = Null"))?;
    site.query(&format!(
        "CREATE MATERIALIZED VIEW {{db}}.`v{HOSTILE}` TO {{db}}.writable_events AS SELECT uuid FROM {{db}}.{name}"
    ))?;
    // WHEN plan, check and apply show them THEN as text on one line each
    for arguments in [&["schema", "plan"][..], &["schema", "check"], &["schema", "apply", "--dry-run"]] {
        let outcome = site.posthouse(arguments)?;
        is_clean(&outcome).with_context(|| arguments.join(" "))?;
        let forged = outcome.stdout.lines().any(|line| line == "all 2 nodes match the config");
        ensure!(!forged || outcome.code == 0, "{outcome}");
    }
    let plan = site.posthouse(&["schema", "plan"])?;
    ensure!(plan.to_string().contains("\\u001b[2J"), "the names are not shown: {plan}");
    // and JSON has the same names, also without raw control characters
    let json = site.posthouse(&["schema", "plan", "--json"])?;
    is_clean(&json)?;
    let value: serde_json::Value = serde_json::from_str(&json.stdout).with_context(|| json.to_string())?;
    ensure!(value.to_string().contains("\\u001b[2J"), "{json}");
    // and so do errors of the server that quote names, in all formats
    for format in ["text", "json"] {
        let refused =
            site.posthouse(&["schema", "apply", "--drop-column", HOSTILE, "--log-format", format])?;
        is_clean(&refused)?;
    }
    Ok(())
}

fn shows_control_characters_of_groups_and_files_as_text(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a group with a hostile name that has read the topic of events
    site.apply()?;
    let group = format!("{}{HOSTILE}", site.name());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("group.id", &group)
        .set("broker.address.family", "v4")
        .create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(site.name(), 0, Offset::Offset(0))?;
    consumer.fetch_metadata(Some(site.name()), KAFKA_LIMIT)?;
    consumer.commit(&offsets, CommitMode::Sync)?;
    // WHEN groups are listed THEN its name is text
    for arguments in
        [&["topics", "groups"][..], &["topics", "groups", "--json"], &["topics", "groups", group.as_str()]]
    {
        let outcome = site.posthouse(arguments)?;
        is_clean(&outcome).with_context(|| arguments.join(" "))?;
        ensure!(outcome.to_string().contains("\\u001b[2J"), "{arguments:?}: {outcome}");
    }
    // GIVEN files with hostile names, one of them no Parquet file
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/exports/segment-tracks.parquet");
    let folder = tempfile::tempdir()?;
    let good = folder.path().join(format!("{HOSTILE}.parquet"));
    std::fs::copy(fixture, &good)?;
    std::fs::write(folder.path().join(format!("bad{HOSTILE}.parquet")), "no Parquet file")?;
    // WHEN they are planned THEN plan and error show their names as text
    for path in [good.as_path(), folder.path()] {
        let path = path.display().to_string();
        for format in [&[][..], &["--json"], &["--log-format", "json"]] {
            let plan = ["backfill", "plan", &path, "--mapping", "segment-tracks", "--team-id", "7"];
            let outcome = site.posthouse(&[&plan[..], format].concat())?;
            is_clean(&outcome).with_context(|| format!("{path:?} {format:?}"))?;
        }
    }
    Ok(())
}
