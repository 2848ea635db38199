//! `posthouse topics`: creates what is missing and touches nothing else.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::site::Site;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use tokio::runtime::Runtime;

tests! {
    Shared what_is_missing_is_made_and_the_second_time_nothing,
    Shared existing_topics_are_noted_and_left_alone,
    Shared a_dry_run_writes_nothing,
    Shared a_topic_that_the_broker_refuses_fails_without_the_others,
}

/// For one request to a broker.
const LIMIT: Duration = Duration::from_secs(30);

/// What a broker says of a topic: partitions, and the configs it was given.
type Topic = (usize, Vec<(String, String)>);

struct Broker {
    admin: AdminClient<DefaultClientContext>,
    runtime: Runtime,
}

impl Broker {
    fn of(site: &Site<'_>) -> anyhow::Result<Self> {
        let admin = ClientConfig::new().set("bootstrap.servers", site.brokers()).create()?;
        Ok(Self { admin, runtime: Runtime::new()? })
    }

    fn topic(&self, name: &str) -> anyhow::Result<Option<Topic>> {
        // All topics: to ask for one by name could make it.
        let metadata = self.admin.inner().fetch_metadata(None, LIMIT)?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        let asked = [ResourceSpecifier::Topic(name)];
        let described = self.runtime.block_on(self.admin.describe_configs(&asked, &AdminOptions::new()))?;
        let described = described.into_iter().next().context("no answer for the topic")?;
        let described = described.map_err(|code| anyhow!("can't describe {name}: {code}"))?;
        let given = described.entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        let mut given: Vec<_> = given.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect();
        given.sort();
        Ok(Some((topic.partitions().len(), given)))
    }

    fn create(&self, name: &str, partitions: i32, retention_ms: &str) -> anyhow::Result<()> {
        let topic =
            NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("retention.ms", retention_ms);
        let created = self.runtime.block_on(self.admin.create_topics([&topic], &AdminOptions::new()))?;
        created.into_iter().try_for_each(|created| match created {
            Ok(_) => Ok(()),
            Err((name, code)) => Err(anyhow!("can't create {name}: {code}")),
        })
    }
}

/// A topics file in the place of the site's own.
fn write_topics(site: &mut Site<'_>, folder: &tempfile::TempDir, text: &str) -> anyhow::Result<()> {
    let path: PathBuf = folder.path().join("other.toml");
    std::fs::write(&path, text)?;
    site.set("kafka", "topics", path.display().to_string());
    Ok(())
}

fn json(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).with_context(|| format!("not JSON: {text}"))
}

fn what_is_missing_is_made_and_the_second_time_nothing(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two topics in the file, none of them on the broker, and one of somebody else
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let (first, second, other) = (format!("{name}_a"), format!("{name}.b-2"), format!("{name}_other"));
    broker.create(&other, 2, "777000")?;
    let text = format!(
        "[defaults]\npartitions = 3\nreplication_factor = 1\nconfig = {{ \"retention.ms\" = 604_800_000 }}\n\
         [topics.{first}]\n[topics.\"{second}\"]\npartitions = 5\n\
         config = {{ \"cleanup.policy\" = \"compact\" }}\n"
    );
    write_topics(site, &folder, &text)?;
    // WHEN they are planned and applied
    let planned = site.posthouse(&["topics", "plan", "--json"])?;
    ensure!(planned.code == 3, "{planned}");
    ensure!(json(&planned.stdout)?["changes"].as_array().map(Vec::len) == Some(2), "{planned}");
    let applied = site.must(&["topics", "apply"])?;
    // THEN they are there as the file has them
    for name in [&first, &second] {
        ensure!(applied.stdout.contains(&format!("created {name}\n")), "{applied}");
    }
    let retention = || ("retention.ms".to_owned(), "604800000".to_owned());
    ensure!(broker.topic(&first)? == Some((3, vec![retention()])), "{:?}", broker.topic(&first)?);
    let compact = ("cleanup.policy".to_owned(), "compact".to_owned());
    ensure!(broker.topic(&second)? == Some((5, vec![compact, retention()])), "{:?}", broker.topic(&second)?);
    // THEN there is nothing left to do, and doing it again changes nothing
    let clean = site.must(&["topics", "plan"])?;
    ensure!(clean.stdout.contains("0 to create, 2 exist"), "{clean}");
    let before = (broker.topic(&first)?, broker.topic(&second)?);
    let again = site.must(&["topics", "apply", "--json"])?;
    ensure!(json(&again.stdout)?["topics"].as_array().is_some_and(Vec::is_empty), "{again}");
    ensure!(before == (broker.topic(&first)?, broker.topic(&second)?), "changed by the second apply");
    // THEN the other topic is as it was
    let kept = broker.topic(&other)?;
    ensure!(kept == Some((2, vec![("retention.ms".to_owned(), "777000".to_owned())])), "{kept:?}");
    Ok(())
}

fn existing_topics_are_noted_and_left_alone(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic with other partitions and another retention than the file says
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    broker.create(&name, 2, "777000")?;
    let before = broker.topic(&name)?;
    let text = format!(
        "[topics.{name}]\npartitions = 6\nreplication_factor = 1\nconfig = {{ \"retention.ms\" = 1 }}\n"
    );
    write_topics(site, &folder, &text)?;
    // WHEN the file is applied
    let planned = site.must(&["topics", "plan"])?;
    let applied = site.must(&["topics", "apply"])?;
    // THEN the partitions are noted, and nothing was changed
    for outcome in [planned, applied] {
        ensure!(
            outcome.stdout.contains(&format!("note {name}: partitions is 2, the file says 6")),
            "{outcome}"
        );
    }
    ensure!(broker.topic(&name)? == before, "{before:?} became {:?}", broker.topic(&name)?);
    Ok(())
}

fn a_dry_run_writes_nothing(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic that is missing
    let broker = Broker::of(site)?;
    // WHEN it is planned in every way
    for line in [
        &["topics", "plan"][..],
        &["topics", "apply", "--dry-run"],
        &["topics", "apply", "--dry-run", "--json"],
    ] {
        let outcome = site.posthouse(line)?;
        // THEN it is named, and not made
        ensure!(outcome.code == 3 && outcome.stdout.contains(site.name()), "{outcome}");
        ensure!(broker.topic(site.name())?.is_none(), "{line:?} made the topic");
    }
    Ok(())
}

fn a_topic_that_the_broker_refuses_fails_without_the_others(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic with more copies than there are brokers, one with a config that Kafka does not know, and
    // a good one
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let text = format!(
        "[defaults]\npartitions = 1\nreplication_factor = 1\n[topics.{name}]\n\
         [topics.{name}_copies]\nreplication_factor = 3\n[topics.{name}_config]\n\
         config = {{ \"retention\" = 1 }}\n"
    );
    write_topics(site, &folder, &text)?;
    // WHEN they are applied
    let outcome = site.posthouse(&["topics", "apply"])?;
    // THEN the good one is made, and each of the others is named with its reason
    ensure!(outcome.code == 1 && outcome.stdout.contains(&format!("created {name}\n")), "{outcome}");
    for failed in [format!("failed {name}_copies: "), format!("failed {name}_config: ")] {
        ensure!(outcome.stdout.contains(&failed), "no {failed:?}: {outcome}");
    }
    ensure!(
        broker.topic(&name)?.is_some() && broker.topic(&format!("{name}_copies"))?.is_none(),
        "{outcome}"
    );
    Ok(())
}
