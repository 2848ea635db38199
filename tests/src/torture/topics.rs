//! Kill test of `posthouse topics apply`: the command, the broker or both.
//!
//! Topics are created, enlarged, changed and deleted. At the end the broker's topics are compared
//! with the desired ones.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigSource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::Report;
use crate::site::Site;
use crate::stack::Stack;

/// Number of topics that a round may change.
const TOPICS: usize = 24;
/// Within the run of an apply, which takes less than a second, mostly for taking the lock.
const KILLED_WITHIN_MS: u64 = 900;
/// Limit on attempts to repeat a failed apply. A starting broker refuses the first ones.
const TRIES: u32 = 20;
/// Timeout of one request to the broker.
const LIMIT: Duration = Duration::from_secs(30);

/// Desired topics of the file; `None` for a topic to delete or one that never existed.
type Wanted = BTreeMap<String, Option<Topic>>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Topic {
    partitions: usize,
    configs: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Apply,
    Broker,
    Both,
    /// A second apply starts, and the first is killed.
    Rival,
}

const FAULTS: [Fault; 4] = [Fault::Apply, Fault::Broker, Fault::Both, Fault::Rival];

/// Runs `rounds` applies with one fault each on a site of `stack`, and reports each to `say`.
///
/// # Errors
/// Fails if the broker doesn't restart or an apply never succeeds. Missing or extra changes aren't
/// an error.
pub fn run(stack: &Stack, rounds: u32, seed: u64, say: &dyn Fn(String)) -> anyhow::Result<Report> {
    let mut site = Site::new(stack, "topics_apply")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("topics.toml");
    site.set("kafka", "topics_file", file.display().to_string());
    let mut random = StdRng::seed_from_u64(seed);
    let mut wanted = Wanted::new();
    let (mut report, broker) =
        (Report { name: "topics_apply".to_owned(), rounds, seed, ..empty() }, broker(&site)?);
    for round in 0..rounds {
        let fault = FAULTS
            .get(round as usize)
            .copied()
            .unwrap_or_else(|| FAULTS[random.random_range(0..FAULTS.len())]);
        change(&mut wanted, &mut random);
        std::fs::write(&file, text(&wanted))?;
        let arguments = arguments(&wanted);
        let changes = planned(&site, &arguments)?;
        let kills = inflict(&site, &arguments, fault, &mut random)?;
        go_on(&site, &arguments)?;
        let left = planned(&site, &arguments)?;
        let (missing, beyond) = differences(&broker, &wanted)?;
        report.kills += kills;
        report.produced += changes;
        report.lost += left.max(missing);
        report.twice += beyond;
        say(format!(
            "topics_apply round {}/{rounds}: {fault:?}, {kills} killed, {changes} changes, {left} left, {missing} missing, {beyond} extra",
            round + 1
        ));
    }
    report.stored = report.produced - report.lost.min(report.produced);
    Ok(report)
}

fn empty() -> Report {
    Report { name: String::new(), rounds: 0, kills: 0, produced: 0, stored: 0, lost: 0, twice: 0, seed: 0 }
}

/// Changes about half of the desired topics.
fn change(wanted: &mut Wanted, random: &mut StdRng) {
    for number in 0..TOPICS {
        let topic = wanted.entry(format!("torture_{number}")).or_default();
        match (random.random_range(0..8), &mut *topic) {
            (0 | 1, Some(topic)) => topic.partitions += random.random_range(1..=3),
            (2 | 3, Some(topic)) => {
                let value = random.random_range(1_000_000..9_000_000_u32).to_string();
                topic.configs.insert("max.message.bytes", value);
            }
            (4, Some(topic)) => _ = topic.configs.remove("max.message.bytes"),
            (5, Some(_)) => *topic = None,
            (0..=4, None) => {
                let configs = BTreeMap::from([("compression.type", "lz4".to_owned())]);
                *topic = Some(Topic { partitions: random.random_range(1..=4), configs });
            }
            _ => {}
        }
    }
}

fn text(wanted: &Wanted) -> String {
    let mut text = "[defaults]\nreplication_factor = 1\n".to_owned();
    for (name, topic) in wanted {
        // Writing to a `String` can't fail.
        let _ = match topic {
            Some(Topic { partitions, configs }) => {
                let configs: Vec<String> =
                    configs.iter().map(|(key, value)| format!("\"{key}\" = \"{value}\"")).collect();
                writeln!(
                    text,
                    "[topics.{name}]\npartitions = {partitions}\nconfig = {{ {} }}",
                    configs.join(", ")
                )
            }
            None => writeln!(text, "[topics.{name}]\ndelete = true"),
        };
    }
    text
}

fn arguments(wanted: &Wanted) -> Vec<String> {
    let mut arguments = vec!["--prune".to_owned()];
    let deleted = wanted.iter().filter(|(_, topic)| topic.is_none());
    arguments.extend(deleted.flat_map(|(name, _)| ["--yes-delete".to_owned(), name.clone()]));
    arguments
}

fn line<'a>(verb: &[&'a str], arguments: &'a [String]) -> Vec<&'a str> {
    verb.iter().copied().chain(arguments.iter().map(String::as_str)).collect()
}

/// Returns the number of changes in the plan. Fails if one is refused.
fn planned(site: &Site<'_>, arguments: &[String]) -> anyhow::Result<u64> {
    let planned = site.posthouse(&line(&["topics", "plan", "--json"], arguments))?;
    ensure!(planned.code == 0 || planned.code == 3, "{planned}");
    let plan: Value =
        serde_json::from_str(&planned.stdout).with_context(|| format!("not JSON: {planned}"))?;
    ensure!(plan["refused"].as_array().is_some_and(Vec::is_empty), "{planned}");
    Ok(plan["steps"].as_array().context("no steps")?.len() as u64)
}

/// Starts an apply and injects the fault during it. Returns the number of processes killed.
fn inflict(site: &Site<'_>, arguments: &[String], fault: Fault, random: &mut StdRng) -> anyhow::Result<u32> {
    let apply = line(&["topics", "apply"], arguments);
    let mut child = site.spawn(&apply)?;
    thread::sleep(Duration::from_millis(random.random_range(0..KILLED_WITHIN_MS)));
    let broker = site.stack.broker();
    let kills = match fault {
        Fault::Apply => {
            child.kill()?;
            1
        }
        Fault::Broker | Fault::Both => {
            broker.kill();
            if matches!(fault, Fault::Both) {
                child.kill()?;
            }
            broker.start()?;
            if matches!(fault, Fault::Both) { 2 } else { 1 }
        }
        Fault::Rival => {
            let mut rival = site.spawn(&apply)?;
            thread::sleep(Duration::from_millis(random.random_range(0..KILLED_WITHIN_MS)));
            child.kill()?;
            rival.wait()?;
            1
        }
    };
    child.wait()?;
    Ok(kills)
}

/// Repeats the apply until it succeeds.
fn go_on(site: &Site<'_>, arguments: &[String]) -> anyhow::Result<()> {
    let mut last = None;
    for _ in 0..TRIES {
        let outcome = site.posthouse(&line(&["topics", "apply"], arguments))?;
        if outcome.code == 0 {
            return Ok(());
        }
        last = Some(outcome);
        thread::sleep(Duration::from_millis(500));
    }
    match last {
        Some(outcome) => bail!("the apply failed {TRIES} times, the last time with {outcome}"),
        None => bail!("the apply was never started"),
    }
}

fn broker(site: &Site<'_>) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", site.brokers()).create()?)
}

/// Compares the broker's topics with the desired ones. Returns the number of topics with missing
/// settings, and of topics with extra ones.
fn differences(admin: &AdminClient<DefaultClientContext>, wanted: &Wanted) -> anyhow::Result<(u64, u64)> {
    let metadata = admin.inner().fetch_metadata(None, LIMIT)?;
    let held: BTreeMap<&str, usize> =
        metadata.topics().iter().map(|topic| (topic.name(), topic.partitions().len())).collect();
    let (mut missing, mut beyond) = (0, 0);
    for (name, topic) in wanted {
        let (has, configs) = match held.get(name.as_str()) {
            Some(partitions) => (*partitions, configs(admin, name)?),
            None => (0, BTreeMap::new()),
        };
        let wants = topic.as_ref().map_or(0, |topic| topic.partitions);
        let wanted_configs: BTreeMap<String, String> = topic
            .iter()
            .flat_map(|topic| &topic.configs)
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        missing += u64::from(
            has < wants || wanted_configs.iter().any(|(key, value)| configs.get(key) != Some(value)),
        );
        beyond += u64::from(has > wants || configs.keys().any(|key| !wanted_configs.contains_key(key)));
    }
    Ok((missing, beyond))
}

/// Returns the configs set on the topic itself.
fn configs(
    admin: &AdminClient<DefaultClientContext>,
    name: &str,
) -> anyhow::Result<BTreeMap<String, String>> {
    let asked = [ResourceSpecifier::Topic(name)];
    let described = Runtime::new()?.block_on(admin.describe_configs(&asked, &AdminOptions::new()))?;
    let described = described.into_iter().next().context("no answer for the topic")?;
    let described = described.map_err(|code| anyhow!("can't describe {name}: {code}"))?;
    let given = described.entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
    Ok(given.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect())
}
