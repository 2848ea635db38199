//! Findings of `posthouse topics check`, each provoked on the real servers.

use anyhow::{Context, ensure};
use posthouse_tests::site::{Outcome, Site};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::groups::{commit, fill, now};
use crate::produce::consumed;

tests! {
    Alone what_fits_has_no_findings,
    Alone a_topic_that_is_missing_is_named_with_its_readers,
    Shared consumers_without_a_partition_are_counted,
    Shared messages_that_were_deleted_unread_or_soon_will_be_are_counted,
    Shared groups_without_tables_and_tables_without_offsets_are_named,
    Shared tables_of_one_group_that_disagree_are_named,
    Shared configs_that_lose_messages_are_named,
}

/// Creates a Kafka table without a view, so that it reads no message.
pub(crate) fn idle_table(
    site: &Site<'_>,
    node: usize,
    name: &str,
    topic: &str,
    group: &str,
) -> anyhow::Result<()> {
    let brokers = site.brokers();
    site.query_on(
        node,
        &format!(
            "CREATE TABLE {{db}}.{name} (message String) ENGINE = Kafka('{brokers}', '{topic}', '{group}', 'RawBLOB')"
        ),
    )?;
    Ok(())
}

pub(crate) fn check(site: &Site<'_>) -> anyhow::Result<(Outcome, Vec<Value>)> {
    let outcome = site.posthouse(&["topics", "check", "--json"])?;
    let checked: Value = serde_json::from_str(&outcome.stdout).with_context(|| outcome.to_string())?;
    let findings = checked["findings"].as_array().context("no findings")?.clone();
    ensure!(outcome.code == if findings.is_empty() { 0 } else { 3 }, "{outcome}");
    Ok((outcome, findings))
}

/// Fails unless there is a finding of this severity about this object, with all `parts` in its text
/// and a hint.
fn finds(site: &Site<'_>, severity: &str, about: &str, parts: &[&str]) -> anyhow::Result<()> {
    let (outcome, findings) = check(site)?;
    let is = |finding: &&Value| {
        let text = finding["found"].as_str().unwrap_or_default();
        finding["severity"] == severity
            && finding["about"] == about
            && parts.iter().all(|part| text.contains(part))
    };
    let next = findings.iter().find(is).map(|finding| finding["next"].clone());
    ensure!(next.is_some_and(|next| next != ""), "no {severity} of {about} with {parts:?}: {outcome}");
    Ok(())
}

fn what_fits_has_no_findings(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site, first without messages, and then with all of them read
    site.apply()?;
    let fresh = site.must(&["topics", "check"])?;
    ensure!(fresh.stdout.starts_with("0 faults and 0 warnings in 1 topics"), "{fresh}");
    fill(site, 5, now()?)?;
    consumed(site)?;
    // THEN the check has no finding
    let read = site.must(&["topics", "check"])?;
    ensure!(
        read.stdout.contains("0 faults and 0 warnings") && read.stdout.contains("2 Kafka tables"),
        "{read}"
    );
    Ok(())
}

fn a_topic_that_is_missing_is_named_with_its_readers(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN tables without their topic
    site.must(&["schema", "apply"])?;
    // THEN the topic is named
    let name = site.name().to_owned();
    let readers = format!("read by {name}.kafka_events on ch1 and {name}.kafka_events on ch2");
    finds(site, "fault", &format!("topic {name}"), &["it does not exist", &readers])?;
    // WHEN the topic is created THEN the finding is gone
    site.must(&["topics", "apply"])?;
    site.must(&["topics", "check"])?;
    Ok(())
}

fn consumers_without_a_partition_are_counted(site: &mut Site<'_>) -> anyhow::Result<()> {
    site.set("events", "consumers", 3);
    site.apply()?;
    let about = format!("group {}", site.name());
    finds(site, "warn", &about, &["6 consumers", "for 4 partitions", "2 are idle"])
}

fn messages_that_were_deleted_unread_or_soon_will_be_are_counted(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN an idle table, five days behind in a topic with a retention of seven
    site.must(&["topics", "apply"])?;
    site.query("CREATE DATABASE {db}")?;
    let (name, group) = (site.name().to_owned(), format!("{}_slow", site.name()));
    fill(site, 10, now()? - 5 * 86_400_000)?;
    idle_table(site, 0, "slow", &name, &group)?;
    commit(site, &group, 2)?;
    // THEN that is a warning, whose text does not depend on a few seconds
    let about = format!("group {group}");
    finds(site, "warn", &about, &["is 5 days ", "old, 71 % of the 7 days", "32 are unread"])?;
    // WHEN messages are deleted before they are read
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", site.brokers()).create()?;
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&name, 1, Offset::Offset(6))?;
    gone.add_partition_offset(&name, 3, Offset::Offset(3))?;
    tokio::runtime::Runtime::new()?.block_on(admin.delete_records(&gone, &AdminOptions::new()))?;
    // THEN they are counted, and come first
    finds(site, "fault", &about, &["5 messages", "deleted before it read them, in partitions 1, 3"])?;
    let text = site.posthouse(&["topics", "check"])?;
    ensure!(text.code == 3 && text.stdout.starts_with("fault  group"), "{text}");
    Ok(())
}

fn groups_without_tables_and_tables_without_offsets_are_named(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN an abandoned group, and a table without a view
    site.must(&["topics", "apply"])?;
    site.query("CREATE DATABASE {db}")?;
    let name = site.name().to_owned();
    let (left, new) = (format!("{name}_left"), format!("{name}_new"));
    fill(site, 10, now()?)?;
    commit(site, &left, 4)?;
    idle_table(site, 0, "new", &name, &new)?;
    // THEN both are named
    finds(site, "warn", &format!("group {left}"), &["neither a Kafka table", "24 messages are unread"])?;
    let text = format!(
        "{name}.new has never committed an offset of {name}, which has 40 messages: no materialized view reads from \
         {name}.new on ch1"
    );
    finds(site, "fault", &format!("group {new}"), &[&text])
}

fn tables_of_one_group_that_disagree_are_named(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN the schema's tables, and another of their group on another topic, with its offsets
    // elsewhere
    site.apply()?;
    let name = site.name().to_owned();
    idle_table(site, 0, "other", "somebodys", &name)?;
    let about = format!("group {name}");
    // THEN they are named with their disagreement
    let topics = format!("somebodys ({name}.other on ch1)");
    finds(site, "fault", &about, &["read different topics", &topics])?;
    let places = format!("the group ({name}.other on ch1)");
    finds(site, "fault", &about, &["keep offsets in different places", &places])?;
    // WHEN one of the schema's is gone THEN that is named too
    site.query_on(1, "DROP TABLE {db}.kafka_events SYNC")?;
    finds(site, "fault", &format!("table {name}.kafka_events"), &["it is missing on ch2"])
}

fn configs_that_lose_messages_are_named(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic with configs unsuitable for its readers
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("topics.toml");
    let text = format!(
        "[topics.{}]\npartitions = 4\nreplication_factor = 1\nconfig = {{ \"retention.bytes\" = 1073741824, \
         \"cleanup.policy\" = \"compact,delete\", \"max.message.bytes\" = 200000000 }}\n",
        site.name()
    );
    std::fs::write(&path, text)?;
    site.set("kafka", "topics_file", path.display().to_string());
    site.apply()?;
    // THEN each is named
    let about = format!("topic {}", site.name());
    finds(site, "warn", &about, &["retention.bytes is 1073741824 (1.0 GiB a partition)"])?;
    finds(site, "warn", &about, &["cleanup.policy is compact,delete"])?;
    finds(site, "fault", &about, &["max.message.bytes is 200000000", "100000000 bytes"])
}
