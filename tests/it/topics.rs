//! `posthouse topics plan`, `apply` and `import`: their changes and refusals.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse::parts::Client;
use posthouse::parts::{HostPort, Kafka, KafkaAccess};
use posthouse::parts::{Lock, LockScope};
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::wait_until;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;
use tokio::runtime::Runtime;

tests! {
    Shared what_is_missing_is_made_and_the_second_time_nothing,
    Alone what_is_imported_is_clean,
    Shared partitions_grow_and_one_config_changes_while_others_stay,
    Shared what_is_refused_leaves_its_topic_alone,
    Shared a_retention_drops_by_a_step_at_a_time,
    Alone a_topic_is_deleted_when_nobody_reads_it_and_somebody_says_so,
    Shared deletes_a_topic_once_the_last_member_of_a_newer_group_left,
    Shared a_kept_plan_is_done_only_while_the_cluster_is_as_it_was,
    Shared another_cluster_is_refused,
    Single one_apply_waits_for_another,
    Shared a_dry_run_writes_nothing,
    Shared a_topic_that_the_broker_refuses_fails_without_the_others,
}

/// For one request to a broker.
const LIMIT: Duration = Duration::from_secs(30);

/// A topic on the broker: number of partitions, and the configs set on the topic itself.
type Topic = (usize, Vec<(String, String)>);

pub(crate) struct Broker {
    admin: AdminClient<DefaultClientContext>,
    runtime: Runtime,
}

impl Broker {
    pub(crate) fn of(site: &Site<'_>) -> anyhow::Result<Self> {
        let admin = ClientConfig::new().set("bootstrap.servers", site.brokers()).create()?;
        Ok(Self { admin, runtime: Runtime::new()? })
    }

    pub(crate) fn topic(&self, name: &str) -> anyhow::Result<Option<Topic>> {
        // Fetches all topics, because a request for one name could create it.
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

    pub(crate) fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> anyhow::Result<()> {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = configs.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let created = self.runtime.block_on(self.admin.create_topics([&topic], &AdminOptions::new()))?;
        for created in created {
            created.map_err(|(name, code)| anyhow!("can't create {name}: {code}"))?;
        }
        // The controller has the topic. The brokers learn of it slightly later.
        wait_until(&format!("{name} to be seen"), LIMIT, || match self.topic(name) {
            Ok(Some(_)) => ControlFlow::Break(Ok(())),
            seen => ControlFlow::Continue(anyhow!("{seen:?}")),
        })
    }
}

/// Writes a topics file and uses it instead of the site's own.
pub(crate) fn write_topics(
    site: &mut Site<'_>,
    folder: &tempfile::TempDir,
    text: &str,
) -> anyhow::Result<()> {
    let path: PathBuf = folder.path().join("other.toml");
    std::fs::write(&path, text)?;
    site.set("kafka", "topics_file", path.display().to_string());
    Ok(())
}

fn json(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).with_context(|| format!("not JSON: {text}"))
}

/// Runs `topics`. Fails on another exit code than `code`.
fn topics(site: &Site<'_>, arguments: &[&str], code: i32) -> anyhow::Result<Outcome> {
    let outcome = site.posthouse(&[&["topics"], arguments].concat())?;
    ensure!(outcome.code == code, "{arguments:?} gave {outcome}");
    Ok(outcome)
}

pub(crate) fn own(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn what_is_missing_is_made_and_the_second_time_nothing(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two topics in the file that the broker lacks, and one topic outside the file
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let (first, second, other) = (format!("{name}_a"), format!("{name}.b-2"), format!("{name}_other"));
    broker.create(&other, 2, &[("retention.ms", "777000")])?;
    let text = format!(
        "[defaults]\npartitions = 3\nreplication_factor = 1\nconfig = {{ \"retention.ms\" = 604_800_000 }}\n\
         [topics.{first}]\n[topics.\"{second}\"]\npartitions = 5\n\
         config = {{ \"cleanup.policy\" = \"compact\" }}\n"
    );
    write_topics(site, &folder, &text)?;
    // WHEN they are planned and applied
    let planned = topics(site, &["plan", "--json"], 3)?;
    ensure!(json(&planned.stdout)?["steps"].as_array().map(Vec::len) == Some(2), "{planned}");
    let applied = topics(site, &["apply"], 0)?;
    // THEN they exist with the file's settings
    for name in [&first, &second] {
        ensure!(applied.stdout.contains(&format!("+ {name}: partitions ")), "{applied}");
    }
    let retention = || own("retention.ms", "604800000");
    ensure!(broker.topic(&first)? == Some((3, vec![retention()])), "{:?}", broker.topic(&first)?);
    let compact = own("cleanup.policy", "compact");
    ensure!(broker.topic(&second)? == Some((5, vec![compact, retention()])), "{:?}", broker.topic(&second)?);
    // THEN the plan is empty, and a second apply changes no topic
    let clean = topics(site, &["plan"], 0)?;
    ensure!(clean.stdout.contains("0 to change in 0 topics, 0 refused, 2 unchanged"), "{clean}");
    let before = (broker.topic(&first)?, broker.topic(&second)?);
    topics(site, &["apply"], 0)?;
    ensure!(before == (broker.topic(&first)?, broker.topic(&second)?), "changed by the second apply");
    // THEN the other topic is unchanged
    let kept = broker.topic(&other)?;
    ensure!(kept == Some((2, vec![own("retention.ms", "777000")])), "{kept:?}");
    Ok(())
}

fn what_is_imported_is_clean(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN topics with configs and names that TOML must quote
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    broker.create(
        &format!("{name}.dotted"),
        2,
        &[("cleanup.policy", "compact,delete"), ("min.cleanable.dirty.ratio", "0.25")],
    )?;
    broker.create(&name, 1, &[])?;
    // WHEN the cluster is imported
    let file = folder.path().join("imported.toml");
    let path = file.display().to_string();
    topics(site, &["import", "-o", &path], 0)?;
    // THEN a plan against the file is clean, with and without pruning, and names the cluster
    site.set("kafka", "topics_file", path.clone());
    for arguments in [&["plan"][..], &["plan", "--prune"]] {
        let planned = topics(site, arguments, 0)?;
        ensure!(planned.stdout.contains("0 to change in 0 topics, 0 refused"), "{planned}");
    }
    ensure!(std::fs::read_to_string(&file)?.contains("\ncluster_id = \""), "no cluster id");
    // THEN the file is not overwritten
    let again = topics(site, &["import", "-o", &path], 1)?;
    ensure!(again.stderr.contains("imported.toml"), "{again}");
    Ok(())
}

fn partitions_grow_and_one_config_changes_while_others_stay(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic with two configs
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    broker.create(&name, 2, &[("compression.type", "zstd"), ("retention.ms", "777000")])?;
    // WHEN the file has another retention and more partitions
    let text = format!(
        "[topics.{name}]\npartitions = 6\nreplication_factor = 1\nconfig = {{ \"retention.ms\" = 888000 }}\n"
    );
    write_topics(site, &folder, &text)?;
    let applied = topics(site, &["apply"], 0)?;
    // THEN both change, with a warning about keys, and the other config stays
    ensure!(applied.stdout.contains(&format!("~ {name}: partitions 2 → 6")), "{applied}");
    ensure!(applied.stdout.contains("messages of one key go to another partition"), "{applied}");
    let both = vec![own("compression.type", "zstd"), own("retention.ms", "888000")];
    ensure!(broker.topic(&name)? == Some((6, both)), "{:?}", broker.topic(&name)?);
    // THEN pruning resets the other config to the broker's default
    topics(site, &["apply", "--prune"], 0)?;
    ensure!(
        broker.topic(&name)? == Some((6, vec![own("retention.ms", "888000")])),
        "{:?}",
        broker.topic(&name)?
    );
    Ok(())
}

fn what_is_refused_leaves_its_topic_alone(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a file with unsafe or impossible changes of topics, and one topic that is missing
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let one = "partitions = 1\nreplication_factor = 1\nconfig = { \"compression.type\" = \"lz4\", ";
    let cases = [
        ("shrink", vec![], "partitions = 1\nreplication_factor = 1\n".to_owned(), "can't reduce them"),
        ("copies", vec![], "partitions = 2\nreplication_factor = 2\n".to_owned(), "moves partitions"),
        (
            "first_limit",
            vec![("retention.ms", "-1")],
            format!("{one}\"retention.ms\" = 1000 }}\n"),
            "--yes-loss",
        ),
        ("bytes", vec![], format!("{one}\"retention.bytes\" = 1000 }}\n"), "--yes-loss"),
        ("compact", vec![], format!("{one}\"cleanup.policy\" = \"compact\" }}\n"), "--yes-loss"),
        ("unknown", vec![], format!("{one}\"retention.mss\" = 1 }}\n"), "did you mean retention.ms?"),
        ("in_sync", vec![], format!("{one}\"min.insync.replicas\" = 2 }}\n"), "can't be met with 1 copy"),
        ("adopted", vec![], "manage = \"adopt\"\n".to_owned(), "leaves its creation to another program"),
    ];
    let mut text = format!("[topics.{name}_good]\npartitions = 1\nreplication_factor = 1\n");
    let mut before = Vec::new();
    for (case, configs, wanted, _) in &cases {
        let topic = format!("{name}_{case}");
        if *case != "adopted" {
            broker.create(
                &topic,
                if wanted.contains("partitions = 2") || *case == "shrink" { 2 } else { 1 },
                configs,
            )?;
        }
        text.push_str(&format!("[topics.{topic}]\n{wanted}"));
        before.push(broker.topic(&topic)?);
    }
    write_topics(site, &folder, &text)?;
    // WHEN it is planned and applied
    for verb in ["plan", "apply"] {
        let outcome = topics(site, &[verb], 3)?;
        // THEN each is refused with its hint
        for (case, _, _, way_out) in &cases {
            let refused = outcome.stdout.lines().find(|line| line.starts_with(&format!("! {name}_{case}: ")));
            ensure!(refused.is_some_and(|line| line.contains(way_out)), "{case}: {outcome}");
        }
    }
    // THEN these topics are unchanged, the harmless compression included, and the good one is
    // created
    for ((case, ..), before) in cases.iter().zip(before) {
        let after = broker.topic(&format!("{name}_{case}"))?;
        ensure!(after == before, "{case}: {before:?} became {after:?}");
    }
    ensure!(broker.topic(&format!("{name}_good"))?.is_some(), "the good one is missing");
    // THEN a confirmed change is applied
    let confirmed = format!("{name}_compact");
    topics(site, &["apply", "--yes-loss", &confirmed], 3)?;
    let compact = vec![own("cleanup.policy", "compact"), own("compression.type", "lz4")];
    ensure!(broker.topic(&confirmed)? == Some((1, compact)), "{:?}", broker.topic(&confirmed)?);
    Ok(())
}

fn a_retention_drops_by_a_step_at_a_time(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic with a retention of five hours and only recent messages
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let hour = 3_600_000;
    broker.create(&name, 1, &[("retention.ms", &(5 * hour).to_string())])?;
    let text = format!(
        "[topics.{name}]\npartitions = 1\nreplication_factor = 1\nconfig = {{ \"retention.ms\" = {hour} }}\n"
    );
    write_topics(site, &folder, &text)?;
    // WHEN the retention is to become one hour, in steps of at most two hours
    let mut seen = Vec::new();
    for code in [3, 0, 0] {
        let applied = topics(site, &["apply", "--max-retention-drop", "2h"], code)?;
        if seen.is_empty() {
            ensure!(
                applied.stdout.contains("a step of 2 hours; 1 more lead to 3600000 (1 hour)"),
                "{applied}"
            );
            ensure!(applied.stdout.contains("reclaims 0 messages, about 0 B on all brokers"), "{applied}");
        }
        seen.extend(broker.topic(&name)?.map(|(_, configs)| configs[0].1.clone()));
    }
    // THEN a step of zero is refused
    let none = topics(site, &["plan", "--max-retention-drop", "0s"], 2)?;
    ensure!(none.stderr.contains("give at least 1ms"), "{none}");
    // THEN the retention reaches its value in two steps, and stays
    ensure!(seen == ["10800000", "3600000", "3600000"], "{seen:?}");
    // GIVEN a topic with a retention longer than the time since the Unix epoch
    let forever = format!("{name}_forever");
    broker.create(&forever, 1, &[("retention.ms", "2000000000000")])?;
    write_topics(site, &folder, &text.replace(&name, &forever))?;
    // WHEN the retention is reduced slightly THEN the plan can estimate the reclaimed bytes
    let planned = topics(site, &["plan"], 3)?;
    ensure!(planned.stdout.contains("reclaims 0 messages, about 0 B on all brokers"), "{planned}");
    Ok(())
}

fn a_topic_is_deleted_when_nobody_reads_it_and_somebody_says_so(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic that the file deletes and a Kafka table reads
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    site.apply()?;
    write_topics(site, &folder, &format!("[topics.{name}]\ndelete = true\n"))?;
    let confirmed = ["apply", "--yes-delete", &name];
    // WHEN the deletion is confirmed THEN it is refused nonetheless
    let refused = topics(site, &confirmed, 3)?;
    ensure!(refused.stdout.contains(&format!("table {name}.kafka_events on ch")), "{refused}");
    for node in 0..site.stack.nodes().len() {
        site.query_on(node, "DROP TABLE {db}.kafka_events SYNC")?;
    }
    // WHEN a foreign consumer reads it THEN the deletion is refused
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("group.id", format!("{name}_readers"))
        .set("client.id", "somebody")
        .create()?;
    consumer.subscribe(&[&name])?;
    wait_until("the consumer has its partitions", LIMIT, || {
        let _ = consumer.poll(Duration::from_millis(100));
        match consumer.assignment() {
            Ok(given) if given.count() > 0 => ControlFlow::Break(Ok(())),
            seen => ControlFlow::Continue(anyhow!("{seen:?}")),
        }
    })?;
    let refused = topics(site, &confirmed, 3)?;
    ensure!(
        refused.stdout.contains(&format!("group {name}_readers (1 member, somebody among them)")),
        "{refused}"
    );
    consumer.unsubscribe();
    drop(consumer);
    // WHEN it has no reader and no confirmation THEN the deletion is refused
    let unconfirmed = topics(site, &["apply"], 3)?;
    ensure!(unconfirmed.stdout.contains(&format!("confirm it with --yes-delete {name}")), "{unconfirmed}");
    ensure!(broker.topic(&name)?.is_some(), "it is gone");
    // WHEN another name is confirmed THEN that is a usage error
    let misspelt = topics(site, &["apply", "--yes-delete", &format!("{name}s")], 2)?;
    ensure!(misspelt.stderr.contains(&format!("does not name {name}s")), "{misspelt}");
    // WHEN the deletion is confirmed THEN the topic is gone, and the plan is clean
    let deleted = topics(site, &confirmed, 0)?;
    ensure!(deleted.stdout.contains(&format!("- {name}: deleted with all messages")), "{deleted}");
    ensure!(broker.topic(&name)?.is_none(), "it is still there");
    topics(site, &["plan"], 0)?;
    Ok(())
}

fn deletes_a_topic_once_the_last_member_of_a_newer_group_left(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic that the file deletes, read by a consumer of the newer protocol (KIP-848)
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    broker.create(&name, 1, &[])?;
    write_topics(site, &folder, &format!("[topics.{name}]\ndelete = true\n"))?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("group.id", format!("{name}_readers"))
        .set("client.id", "the-app")
        .set("group.protocol", "consumer")
        .create()?;
    consumer.subscribe(&[&name])?;
    wait_until("the consumer has its partition", LIMIT, || {
        let _ = consumer.poll(Duration::from_millis(100));
        match consumer.assignment() {
            Ok(given) if given.count() > 0 => ControlFlow::Break(Ok(())),
            seen => ControlFlow::Continue(anyhow!("{seen:?}")),
        }
    })?;
    // WHEN the deletion is confirmed THEN it is refused, and group and member are named
    let refused = topics(site, &["apply", "--yes-delete", &name], 3)?;
    let reader = format!("group {name}_readers (1 member, the-app among them)");
    ensure!(refused.stdout.contains(&reader), "{refused}");
    ensure!(broker.topic(&name)?.is_some(), "it is gone");
    // WHEN the consumer has left THEN the empty group does not block the deletion
    drop(consumer);
    // The broker hears of it slightly later. Groups of other tests that are being assigned may read
    // any topic, so they block it too for a moment.
    let deletion = ["topics", "apply", "--yes-delete", &name];
    wait_until("the topic to be deleted", LIMIT, || match site.posthouse(&deletion) {
        Ok(applied) if applied.code == 0 => ControlFlow::Break(Ok(())),
        Ok(refused) => ControlFlow::Continue(anyhow!("{refused}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    ensure!(broker.topic(&name)?.is_none(), "it still exists");
    Ok(())
}

fn a_kept_plan_is_done_only_while_the_cluster_is_as_it_was(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a saved plan that creates one topic and changes another
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    broker.create(&name, 1, &[("retention.ms", "777000")])?;
    let text = |retention: u32| {
        format!(
            "[topics.{name}]\npartitions = 1\nreplication_factor = 1\nconfig = {{ \"retention.ms\" = {retention} }}\n\
             [topics.{name}_new]\npartitions = 1\nreplication_factor = 1\n"
        )
    };
    write_topics(site, &folder, &text(888_000))?;
    let kept = folder.path().join("kept.plan").display().to_string();
    let planned = topics(site, &["plan", "-o", &kept], 3)?;
    // WHEN the file changes afterwards THEN the plan is applied as saved
    write_topics(site, &folder, &text(999_000))?;
    topics(site, &["apply", &kept], 0)?;
    ensure!(planned.stdout.contains("888000"), "{planned}");
    ensure!(
        broker.topic(&name)? == Some((1, vec![own("retention.ms", "888000")])),
        "{:?}",
        broker.topic(&name)?
    );
    // WHEN it is applied a second time THEN it is refused, because the cluster has changed
    let again = topics(site, &["apply", &kept], 1)?;
    ensure!(again.stderr.contains("retention.ms 777000 became 888000"), "{again}");
    ensure!(again.stderr.contains(&format!("{name}_new: it exists now")), "{again}");
    // THEN an option of the plan can't be repeated for its apply
    let other = topics(site, &["apply", &kept, "--max-retention-drop", "1h"], 2)?;
    ensure!(other.stderr.contains("cannot be used with"), "{other}");
    // THEN a file that is no plan is refused
    std::fs::write(&kept, "{}")?;
    let foreign = topics(site, &["apply", &kept], 1)?;
    ensure!(foreign.stderr.contains("is no plan of this version"), "{foreign}");
    Ok(())
}

fn another_cluster_is_refused(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a file for another cluster
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let text =
        format!("cluster_id = \"elsewhere\"\n[topics.{name}]\npartitions = 1\nreplication_factor = 1\n");
    write_topics(site, &folder, &text)?;
    // WHEN it is planned or applied THEN both clusters are named, and no topic is created
    for verb in ["plan", "apply"] {
        let outcome = topics(site, &[verb], 1)?;
        ensure!(
            outcome.stderr.contains("is for cluster elsewhere, and the brokers are of cluster cG9z"),
            "{outcome}"
        );
    }
    ensure!(broker.topic(&name)?.is_none(), "it was made");
    Ok(())
}

fn one_apply_waits_for_another(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a holder of the lock
    let (broker, name, runtime) = (Broker::of(site)?, site.name().to_owned(), Runtime::new()?);
    let addresses = site.brokers();
    let brokers = addresses.split(',').map(|address| {
        let (host, port) = address.rsplit_once(':').context("host:port")?;
        Ok(HostPort { host: host.to_owned(), port: port.parse()? })
    });
    let brokers = brokers.collect::<anyhow::Result<_>>()?;
    let client = Client::new(&Kafka {
        brokers,
        topics_file: PathBuf::new(),
        named_collection: None,
        access: KafkaAccess::default(),
    })?;
    let lock = runtime.block_on(Lock::take(&client, &LockScope::topics()))?;
    // WHEN an apply begins
    let mut waiting = site.spawn(&["topics", "apply"])?;
    // THEN the holder keeps the lock, and no topic is created
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        runtime.block_on(lock.check())?;
    }
    ensure!(waiting.try_wait()?.is_none() && broker.topic(&name)?.is_none(), "it did not wait");
    // WHEN the holder ends THEN the apply completes
    drop(lock);
    let ended = waiting.wait()?;
    ensure!(ended.success() && broker.topic(&name)?.is_some(), "it ended with {ended}");
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
        // THEN it is named, and not created
        ensure!(outcome.code == 3 && outcome.stdout.contains(site.name()), "{outcome}");
        ensure!(broker.topic(site.name())?.is_none(), "{line:?} made the topic");
    }
    Ok(())
}

fn a_topic_that_the_broker_refuses_fails_without_the_others(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic with more replicas than there are brokers, one with a config unknown to Kafka,
    // and a good one
    let (broker, folder, name) = (Broker::of(site)?, tempfile::tempdir()?, site.name().to_owned());
    let text = format!(
        "[defaults]\npartitions = 1\nreplication_factor = 1\n[topics.{name}]\n\
         [topics.{name}_copies]\nreplication_factor = 3\n[topics.{name}_config]\n\
         config = {{ \"retention\" = 1 }}\n"
    );
    write_topics(site, &folder, &text)?;
    // WHEN they are applied
    let outcome = site.posthouse(&["topics", "apply"])?;
    // THEN the good one is created, and each of the others is named with its reason
    ensure!(outcome.code == 1 && outcome.stdout.contains(&format!("+ {name}: ")), "{outcome}");
    let said = [
        (format!("! failed + {name}_copies: "), "cannot be reached because only 1 broker(s) are registered"),
        (format!("! failed + {name}_config: "), "Unknown topic config name: retention"),
    ];
    for (failed, said) in said {
        let line = outcome.stdout.lines().find(|line| line.starts_with(&failed));
        ensure!(line.is_some_and(|line| line.contains(said)), "no {said:?} of {failed:?}: {outcome}");
    }
    ensure!(
        broker.topic(&name)?.is_some() && broker.topic(&format!("{name}_copies"))?.is_none(),
        "{outcome}"
    );
    Ok(())
}
