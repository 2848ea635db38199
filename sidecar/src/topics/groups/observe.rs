//! Asks brokers, nodes and Keeper who reads what, and how far.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::ASKED_AT_ONCE;
use super::keeper::{self, Kept};
use crate::kafka::{Bounds, Client, Cluster, Group, KafkaError, Place};
use crate::node::Node;
use crate::schema::{KafkaTable, kafka_tables};
use crate::topics::apply::lock::is_lock;

/// Who reads what, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What the brokers hold.
    pub cluster: Cluster,
    /// Every group but the lock's, by name.
    pub groups: Vec<Group>,
    /// The Kafka tables of every node that answers.
    pub tables: Vec<KafkaTable>,
    /// Nodes that do not answer, with what was said: they may have tables too.
    pub silent: BTreeMap<String, String>,
    /// What each group has committed.
    pub committed: BTreeMap<String, BTreeMap<Place, i64>>,
    /// What tables keep in Keeper, by path.
    pub kept: BTreeMap<String, Kept>,
    /// Where partitions begin and end, of all that somebody reads; without those that no broker leads.
    pub bounds: BTreeMap<Place, Bounds>,
}

impl Seen {
    /// The partitions that a group has committed or a table or member of it reads, by topic.
    pub(in super::super) fn topics_of(&self, group: &str) -> BTreeSet<String> {
        let committed = self.committed.get(group).into_iter().flatten().map(|(place, _)| place.topic.clone());
        let read = self.tables_of(group).flat_map(|table| table.topics.iter().cloned());
        let members = self.groups.iter().filter(|known| known.name == group).flat_map(|group| &group.members);
        let assigned =
            members.flat_map(|member| member.assigned.iter().flatten()).map(|(topic, _)| topic.clone());
        committed.chain(read).chain(assigned).collect()
    }

    /// The tables of a group.
    pub(in super::super) fn tables_of(&self, group: &str) -> impl Iterator<Item = &KafkaTable> {
        self.tables.iter().filter(move |table| table.group == group)
    }

    /// All groups that the brokers or tables know.
    pub(in super::super) fn group_names(&self) -> BTreeSet<&str> {
        let named = self.tables.iter().map(|table| table.group.as_str()).filter(|group| !group.is_empty());
        self.groups.iter().map(|group| group.name.as_str()).chain(named).collect()
    }

    /// What says how far the group is in a partition: Keeper if a table keeps its offsets there, else the group.
    pub(in super::super) fn position(&self, group: &str, place: &Place) -> Option<i64> {
        self.kept_position(group, place)
            .or_else(|| self.committed.get(group).and_then(|offsets| offsets.get(place)).copied())
    }

    /// What Keeper says of it.
    pub(in super::super) fn kept_position(&self, group: &str, place: &Place) -> Option<i64> {
        let mut paths = self.tables_of(group).filter_map(|table| table.keeper_path.as_ref());
        paths.find_map(|path| match self.kept.get(path)? {
            Kept::Offsets(offsets) => offsets.get(place).copied(),
            Kept::Unreadable(_) => None,
        })
    }
}

/// The partitions of a topic that exists.
pub(in super::super) fn places(cluster: &Cluster, topic: &str) -> impl Iterator<Item = Place> {
    let count = cluster.topics.get(topic).map(|layout| layout.partitions.len()).unwrap_or_default();
    let topic = topic.to_owned();
    (0..).take(count).map(move |partition| Place { topic: topic.clone(), partition })
}

/// Looks. With `only`, offsets of this group alone are asked for.
///
/// # Errors
/// See [`KafkaError`]. A node that does not answer is no error: it is among the silent ones.
pub async fn observe(client: &Client, nodes: &[Node], only: Option<&str>) -> Result<Seen, KafkaError> {
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
    let mut seen =
        Seen { cluster, groups, tables, silent, committed: BTreeMap::new(), kept, bounds: BTreeMap::new() };
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
    cluster: &Cluster,
    groups: &BTreeSet<String>,
) -> Result<BTreeMap<String, BTreeMap<Place, i64>>, KafkaError> {
    let own = cluster.topics.keys().filter(|topic| !super::super::plan::is_internal(topic));
    let all: BTreeSet<Place> = own.flat_map(|topic| led(cluster, topic)).collect();
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
    cluster: &Cluster,
    topics: &BTreeSet<String>,
) -> Result<BTreeMap<Place, Bounds>, KafkaError> {
    let places: BTreeSet<Place> = topics.iter().flat_map(|topic| led(cluster, topic)).collect();
    client.bounds(places).await
}

/// The partitions of a topic that a broker leads: a question about another one is never answered.
fn led(cluster: &Cluster, topic: &str) -> impl Iterator<Item = Place> {
    let layout = cluster.topics.get(topic);
    let led = move |place: &Place| {
        let number = usize::try_from(place.partition).ok();
        let partition = layout.zip(number).and_then(|(layout, number)| layout.partitions.get(number));
        partition.is_some_and(|partition| partition.leader.is_some())
    };
    places(cluster, topic).filter(led)
}
