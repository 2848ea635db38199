//! Checks of Kafka tables against topics and other tables of their group.

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckInput, Finding, fault, listed, warn};
use crate::schema::KafkaTable;

pub(super) fn check(found: &CheckInput) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        found.seen.silent.iter().map(|(node, said)| silent(node, said)).collect();
    findings.extend(found.seen.tables.iter().filter(|table| table.topics.is_empty()).map(hidden));
    findings.extend(missing(found));
    for (group, tables) in found.groups() {
        findings.extend(consumers(found, group, &tables));
        findings.extend(alike(group, &tables));
        findings.extend(everywhere(found, group, &tables));
    }
    findings
}

fn silent(node: &str, said: &str) -> Finding {
    warn(format!("node {node}"), format!("its tables are not checked: {said}"), "check again once it answers")
}

/// The settings of a named collection are missing in a table's definition.
fn hidden(table: &KafkaTable) -> Finding {
    let about = format!("table {} on {}", table.full_name(), table.node);
    warn(about, "its definition names no topics, so it is not checked", "see its named collection")
}

/// Missing topics with readers.
fn missing(found: &CheckInput) -> Vec<Finding> {
    let mut readers: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    readers.entry(&found.events_topic).or_default();
    for table in &found.seen.tables {
        for topic in &table.topics {
            readers.entry(topic).or_default().insert(reader(found, table));
        }
    }
    let gone = readers.into_iter().filter(|(topic, _)| !found.seen.cluster.topics.contains_key(*topic));
    gone.map(|(topic, readers)| {
        let read = match readers.is_empty() {
            true => "it does not exist, and is the topic of events".to_owned(),
            false => {
                format!("it does not exist, and is read by {}", listed(readers.iter().map(String::as_str)))
            }
        };
        let next = if found.topics.contains(topic) {
            "posthouse topics apply creates it".to_owned()
        } else {
            "name it in the topics file and run posthouse topics apply, or correct the table".to_owned()
        };
        fault(format!("topic {topic}"), read, next)
    })
    .collect()
}

/// A table with its node. Adds its brokers if the config has none of them, because the table may
/// belong to another cluster.
fn reader(found: &CheckInput, table: &KafkaTable) -> String {
    let known = table.brokers.split(',').any(|broker| found.brokers.contains(broker.trim()));
    let place = match known || table.brokers.is_empty() {
        true => String::new(),
        false => format!(" at {}", table.brokers),
    };
    format!("{} on {}{place}", table.full_name(), table.node)
}

/// Finds idle consumers: only one consumer of a group reads a partition.
fn consumers(found: &CheckInput, group: &str, tables: &[&KafkaTable]) -> Option<Finding> {
    let topics: BTreeSet<&String> = tables.iter().flat_map(|table| &table.topics).collect();
    let count = |topic: &&String| Some(found.seen.cluster.topics.get(*topic)?.partitions.len());
    let partitions: usize = topics.iter().filter_map(count).sum();
    let consumers: usize =
        tables.iter().map(|table| usize::try_from(table.consumers).unwrap_or_default()).sum();
    if partitions == 0 || consumers <= partitions {
        return None;
    }
    let about = format!("group {group}");
    let topics = listed(topics.into_iter().map(String::as_str));
    if tables.len() > partitions {
        let text = format!(
            "{} tables read {topics}, which has {partitions} partitions: some read no messages",
            tables.len()
        );
        return Some(warn(about, text, "give it more partitions in the topics file"));
    }
    let text = format!(
        "{consumers} consumers (kafka_num_consumers of all its tables) for {partitions} partitions of {topics}: {} are idle",
        consumers - partitions
    );
    Some(warn(
        about,
        text,
        "lower events.consumers in the config, or give it more partitions in the topics file",
    ))
}

/// Finds tables of a group with different settings.
fn alike(group: &str, tables: &[&KafkaTable]) -> Vec<Finding> {
    let about = || format!("group {group}");
    let names: BTreeSet<String> = tables.iter().map(|table| table.full_name()).collect();
    let each = |value: &dyn Fn(&KafkaTable) -> String| {
        let mut by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for table in tables {
            by.entry(value(table)).or_default().insert(format!("{} on {}", table.full_name(), table.node));
        }
        let text = |(value, tables): (&String, &BTreeSet<String>)| {
            format!("{value} ({})", listed(tables.iter().map(String::as_str)))
        };
        (by.len() > 1).then(|| by.iter().map(text).collect::<Vec<_>>().join(", "))
    };
    let sorted = |texts: &mut dyn Iterator<Item = &str>| listed(texts.map(str::trim));
    let mut findings = Vec::new();
    if let Some(topics) = each(&|table| sorted(&mut table.topics.iter().map(String::as_str))) {
        let text = format!("its tables read different topics: {topics}");
        findings.push(fault(about(), text, "give each its own group"));
    } else if names.len() > 1 {
        let text = format!(
            "{} share it: each gets a part of the messages",
            listed(names.iter().map(String::as_str))
        );
        findings.push(warn(about(), text, "give each its own group if each needs all messages"));
    }
    if let Some(paths) = each(&|table| table.keeper_path.clone().unwrap_or_else(|| "the group".to_owned())) {
        let text = format!("its tables keep offsets in different places: {paths}");
        findings.push(fault(about(), text, "give all the same kafka_keeper_path: otherwise each reads every message, or takes messages from the others"));
    }
    if let Some(brokers) = each(&|table| sorted(&mut table.connection().split(','))) {
        let text = format!("its tables use different brokers: {brokers}");
        findings.push(warn(about(), text, "name the same brokers, if they are of one cluster"));
    }
    findings
}

/// Finds tables outside the schema that only some nodes have.
fn everywhere(found: &CheckInput, group: &str, tables: &[&KafkaTable]) -> Vec<Finding> {
    let mut nodes: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for table in tables {
        nodes.entry(table.full_name()).or_default().insert(&table.node);
    }
    let asked: BTreeSet<&str> = found
        .nodes
        .iter()
        .map(String::as_str)
        .filter(|node| !found.seen.silent.contains_key(*node))
        .collect();
    let partial = nodes.into_iter().filter_map(|(table, there)| {
        let missing: Vec<&str> = asked.difference(&there).copied().collect();
        // A table on a single node may be intended.
        let odd = !missing.is_empty() && there.len() > 1 && !found.desired.contains_key(&table);
        let about = format!("table {table}");
        let text = format!("group {group} has it on {}, and not on {}", listed(there), listed(missing));
        odd.then(|| warn(about, text, "create it there too"))
    });
    partial.collect()
}
