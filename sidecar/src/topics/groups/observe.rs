//! Snapshot of groups, their readers and offsets, from brokers, nodes and Keeper.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::ASKED_AT_ONCE;
use super::keeper::{self, Kept};
use super::partitions::places;
use crate::cluster::Cluster;
use crate::kafka::{Client, Group, KafkaCluster, KafkaError, OffsetBounds, TopicPartition};
use crate::schema::{KafkaTable, kafka_tables};
use crate::topics::apply::lock::is_lock;

/// Snapshot of groups, their readers and offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupSnapshot {
    pub(crate) cluster: KafkaCluster,
    /// Every group but the locks', by name.
    pub(crate) groups: Vec<Group>,
    /// Kafka tables of every reachable node.
    pub(crate) tables: Vec<KafkaTable>,
    /// Unreachable nodes with their errors. They may have tables too.
    pub(crate) silent: BTreeMap<String, String>,
    /// Committed offsets of each group.
    pub(crate) committed: BTreeMap<String, BTreeMap<TopicPartition, i64>>,
    /// Offsets of tables in Keeper, by path.
    pub(crate) kept: BTreeMap<String, Kept>,
    /// Bounds of all partitions with a reader; without partitions that no broker leads.
    pub(crate) bounds: BTreeMap<TopicPartition, OffsetBounds>,
}

impl GroupSnapshot {
    /// Topics of which the group has committed offsets, or that one of its tables or members reads.
    pub(in super::super) fn topics_of(&self, group: &str) -> BTreeSet<String> {
        let committed = self.committed.get(group).into_iter().flatten().map(|(place, _)| place.topic.clone());
        let read = self.tables_of(group).flat_map(|table| table.topics.iter().cloned());
        let members = self.groups.iter().filter(|known| known.name == group).flat_map(|group| &group.members);
        let assigned =
            members.flat_map(|member| member.assigned.iter().flatten()).map(|(topic, _)| topic.clone());
        committed.chain(read).chain(assigned).collect()
    }

    pub(in super::super) fn tables_of(&self, group: &str) -> impl Iterator<Item = &KafkaTable> {
        self.tables.iter().filter(move |table| table.group == group)
    }

    /// All groups that the brokers or tables know.
    pub(in super::super) fn group_names(&self) -> BTreeSet<&str> {
        let named = self.tables.iter().map(|table| table.group.as_str()).filter(|group| !group.is_empty());
        self.groups.iter().map(|group| group.name.as_str()).chain(named).collect()
    }

    /// Effective offset of a group in a partition: from Keeper if a table keeps its offsets there,
    /// else from the group.
    pub(in super::super) fn position(&self, group: &str, place: &TopicPartition) -> Option<i64> {
        self.kept_position(group, place)
            .or_else(|| self.committed.get(group).and_then(|offsets| offsets.get(place)).copied())
    }

    /// Offset of a group in a partition, from Keeper.
    pub(in super::super) fn kept_position(&self, group: &str, place: &TopicPartition) -> Option<i64> {
        let mut paths = self.tables_of(group).filter_map(|table| table.keeper_path.as_ref());
        paths.find_map(|path| match self.kept.get(path)? {
            Kept::Offsets(offsets) => offsets.get(place).copied(),
            Kept::Unreadable(_) => None,
        })
    }
}

/// Takes a snapshot. With `only`, reads the offsets of this group alone.
///
/// # Errors
/// See [`KafkaError`]. An unreachable node is no error; it is listed in [`GroupSnapshot::silent`].
pub(crate) async fn observe(cluster: &Cluster, only: Option<&str>) -> Result<GroupSnapshot, KafkaError> {
    let (client, nodes) = (cluster.kafka()?, &cluster.all_nodes);
    let cluster = client.cluster().await?;
    let mut groups = client.groups(None).await?;
    groups.retain(|group| !is_lock(&group.name));
    let (mut tables, mut silent) = (Vec::new(), BTreeMap::new());
    for (node, found) in nodes.iter().zip(join_all(nodes.iter().map(kafka_tables)).await) {
        match found {
            Ok(found) => tables.extend(found),
            Err(error) => _ = silent.insert(node.name.clone(), error.to_string()),
        }
    }
    let kept = keeper::offsets(nodes, &tables, &cluster).await;
    let mut seen = GroupSnapshot {
        cluster,
        groups,
        tables,
        silent,
        committed: BTreeMap::new(),
        kept,
        bounds: BTreeMap::new(),
    };
    let names: BTreeSet<String> = match only {
        Some(name) => BTreeSet::from([name.to_owned()]),
        None => seen.group_names().into_iter().map(str::to_owned).collect(),
    };
    seen.committed = committed(client, &seen.cluster, &names).await?;
    let topics: BTreeSet<String> = names.iter().flat_map(|group| seen.topics_of(group)).collect();
    seen.bounds = bounds(client, &seen.cluster, &topics).await?;
    Ok(seen)
}

async fn committed(
    client: &Client,
    cluster: &KafkaCluster,
    groups: &BTreeSet<String>,
) -> Result<BTreeMap<String, BTreeMap<TopicPartition, i64>>, KafkaError> {
    let own = cluster.topics.keys().filter(|topic| !super::super::plan::is_internal(topic));
    let all: BTreeSet<TopicPartition> = own.flat_map(|topic| led(cluster, topic)).collect();
    let asked = groups.iter().cloned().map(|group| {
        let places = all.clone();
        async move {
            let offsets = client.committed(&group, places).await?;
            let offsets = offsets.into_iter().filter_map(|(place, offset)| Some((place, offset?))).collect();
            Ok((group, offsets))
        }
    });
    let asked: Vec<_> = asked.collect();
    stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).try_collect().await
}

async fn bounds(
    client: &Client,
    cluster: &KafkaCluster,
    topics: &BTreeSet<String>,
) -> Result<BTreeMap<TopicPartition, OffsetBounds>, KafkaError> {
    let places: BTreeSet<TopicPartition> = topics.iter().flat_map(|topic| led(cluster, topic)).collect();
    client.bounds(places).await
}

/// Partitions of a topic with a leader. Brokers never answer a question about a leaderless one.
fn led(cluster: &KafkaCluster, topic: &str) -> impl Iterator<Item = TopicPartition> {
    let layout = cluster.topics.get(topic);
    let led = move |place: &TopicPartition| {
        let number = usize::try_from(place.partition).ok();
        let partition = layout.zip(number).and_then(|(layout, number)| layout.partitions.get(number));
        partition.is_some_and(|partition| partition.leader.is_some())
    };
    places(cluster, topic).filter(led)
}
