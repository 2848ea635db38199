//! Observed state of the file's topics, and readers of topics to delete.

pub(super) mod kafka_tables;

use std::collections::{BTreeMap, BTreeSet};

use super::apply::lock::is_lock;
use super::plan::Observed;
use super::spec::{Manage, Spec};
use crate::cluster::Cluster;
use crate::kafka::{Client, Group, KafkaError};
use crate::node::Node;
use crate::schema::{KafkaTable, kafka_tables};

/// Asks the brokers. For topics to delete, also asks the consumer groups and the ClickHouse nodes.
///
/// # Errors
/// See [`KafkaError`]. An unreachable node is no error; it counts as a reader, since it may be one.
pub(crate) async fn observe(cluster: &Cluster, spec: &Spec) -> Result<Observed, KafkaError> {
    let (client, nodes) = (cluster.kafka()?, &cluster.all_nodes);
    let cluster = client.cluster().await?;
    let wanted = |manage: Manage| matches!(manage, Manage::Full { .. } | Manage::Adopt { .. });
    let there = |name: &String| cluster.topics.contains_key(name);
    let compared = spec.topics.iter().filter(|topic| wanted(topic.manage)).map(|topic| topic.name.clone());
    let configs = client.configs(&compared.filter(|name| there(name)).collect()).await?;
    let deleted = spec.topics.iter().filter(|topic| topic.manage == Manage::Delete);
    let deleted: BTreeSet<&str> =
        deleted.filter(|topic| there(&topic.name)).map(|topic| topic.name.as_str()).collect();
    let readers = if deleted.is_empty() { BTreeMap::new() } else { readers(client, nodes, &deleted).await? };
    Ok(Observed { cluster, configs, readers })
}

/// Readers of each of these topics, each as a short text.
async fn readers(
    client: &Client,
    nodes: &[Node],
    topics: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Vec<String>>, KafkaError> {
    let groups = client.groups(None).await?;
    let (mut tables, mut silent) = (Vec::new(), Vec::new());
    for node in nodes {
        match kafka_tables(node).await {
            Ok(found) => tables.extend(found),
            Err(error) => {
                silent.push(format!("maybe a table of {}, which can't be read: {error}", node.name));
            }
        }
    }
    let of = |topic: &&str| {
        let mut readers: Vec<String> =
            groups.iter().filter(|group| reads(group, topic)).map(group_text).collect();
        let read = tables.iter().filter(|table| table.topics.iter().any(|read| read == topic));
        readers.extend(read.map(table_text));
        readers.extend(silent.iter().cloned());
        ((*topic).to_owned(), readers)
    };
    Ok(topics.iter().map(of).collect())
}

/// Whether a group has a member for the topic, or may have one. During a rebalance no assignment is
/// final, and the members of a dead group are not reported.
fn reads(group: &Group, topic: &str) -> bool {
    let is_told = matches!(group.state.as_str(), "Stable" | "Empty");
    (!is_told && !is_lock(&group.name))
        || group.members.iter().any(|member| match &member.assigned {
            Some(assigned) => assigned.iter().any(|(read, _)| read == topic),
            None => true,
        })
}

fn group_text(group: &Group) -> String {
    match group.members.as_slice() {
        [] => format!("maybe group {}, whose members the brokers don't report ({})", group.name, group.state),
        [member, ..] => format!(
            "group {} ({} {}, {} among them)",
            group.name,
            group.members.len(),
            if group.members.len() == 1 { "member" } else { "members" },
            member.client
        ),
    }
}

fn table_text(table: &KafkaTable) -> String {
    format!("table {}.{} on {}", table.database, table.name, table.node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Member;

    fn group(state: &str, assigned: &[Option<&[&str]>]) -> Group {
        let member = |topics: &Option<&[&str]>| Member {
            id: "1".to_owned(),
            client: "c".to_owned(),
            host: "/127.0.0.1".to_owned(),
            assigned: topics
                .map(|topics| topics.iter().map(|topic| ((*topic).to_owned(), vec![0])).collect()),
        };
        let members = assigned.iter().map(member).collect();
        Group { name: "g".to_owned(), state: state.to_owned(), members }
    }

    #[test]
    fn who_may_read_a_topic_counts_as_a_reader() {
        assert!(reads(&group("Stable", &[Some(&["b"]), Some(&["a"])]), "a"));
        assert!(reads(&group("Stable", &[None]), "a"));
        assert!(!reads(&group("Stable", &[Some(&["b"])]), "a"));
        assert!(!reads(&group("Empty", &[]), "a"));
        // During a rebalance no member has partitions.
        assert!(reads(&group("PreparingRebalance", &[Some(&[])]), "a"));
        assert!(reads(&group("CompletingRebalance", &[Some(&[])]), "a"));
        assert!(reads(&group("Dead", &[]), "a"));
        assert!(group_text(&group("Dead", &[])).starts_with("maybe group g, whose members"));
        assert_eq!(group_text(&group("Stable", &[Some(&["a"])])), "group g (1 member, c among them)");
    }
}
