//! Offsets and lag of consumer groups.

mod partitions;
mod keeper;
mod observe;
mod readers;
mod replay;
#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

pub(crate) use self::keeper::{Kept, replicas};
pub(crate) use self::observe::{GroupSnapshot, observe};
pub(super) use self::partitions::places;
pub(crate) use self::readers::{TopicReader, readers};
pub(crate) use self::replay::replays;
use crate::kafka::{Client, FirstMessage, FirstMessages, KafkaError, TopicPartition};
use crate::schema::KafkaTable;

/// Groups that are asked for at once, each by a consumer with its own connections.
const ASKED_AT_ONCE: usize = 8;

/// Source of a group's effective offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GroupOffsets {
    /// The consumer group.
    Group,
    /// Keeper, for Kafka tables that keep their offsets there. The group's offsets follow.
    Keeper,
    /// The group instead of an unreadable Keeper.
    GroupForKeeper,
}

/// Lag of a group in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Lag {
    pub(crate) group: String,
    pub(crate) topic: String,
    /// Kafka's name of the group's state; absent if the brokers don't know the group. Tables with
    /// offsets in Keeper read without being members, so their group is `Empty` while they read.
    pub(crate) state: Option<String>,
    /// Number of consumers in the group.
    pub(crate) members: usize,
    pub(crate) offsets: GroupOffsets,
    /// Kafka tables of the group that read the topic, each with its nodes.
    pub(crate) tables: BTreeMap<String, Vec<String>>,
    /// Number of unread messages.
    pub(crate) lag: i64,
    /// Timestamp of the oldest unread message, in milliseconds since 1970.
    pub(crate) oldest_unread: Option<i64>,
    pub(crate) partitions: Vec<PartitionLag>,
}

/// Lag of a group in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionLag {
    pub(crate) partition: i32,
    /// Offset of the next message to read; absent if the group never committed one.
    pub(crate) committed: Option<i64>,
    /// Offset of the first message; absent if no broker leads the partition.
    pub(crate) first: Option<i64>,
    /// Offset of the next message to be written.
    pub(crate) end: Option<i64>,
    /// Number of unread messages by offsets. Transactions and compaction make it too large.
    /// [`date`] sets it to 0 if it finds no message.
    pub(crate) lag: Option<i64>,
    /// Messages that were deleted before they were read.
    pub(crate) lost: i64,
    /// Timestamp of the oldest unread message, in milliseconds since 1970.
    pub(crate) oldest_unread: Option<i64>,
    /// The member that reads it.
    pub(crate) member: Option<String>,
}

/// Lags of all groups that the brokers or tables know, by group and topic. With a name, of this
/// group alone.
pub(crate) fn lags(seen: &GroupSnapshot, only: Option<&str>) -> Vec<Lag> {
    let names = seen.group_names().into_iter().filter(|name| only.is_none_or(|only| only == *name));
    names
        .flat_map(|group| seen.topics_of(group).into_iter().map(move |topic| lag(seen, group, topic)))
        .collect()
}

/// Groups without any known topic.
pub(crate) fn idle(seen: &GroupSnapshot) -> Vec<&str> {
    seen.group_names().into_iter().filter(|group| seen.topics_of(group).is_empty()).collect()
}

fn lag(seen: &GroupSnapshot, group: &str, topic: String) -> Lag {
    let known = seen.groups.iter().find(|known| known.name == group);
    let tables: Vec<&KafkaTable> =
        seen.tables_of(group).filter(|table| table.topics.contains(&topic)).collect();
    let partitions: Vec<PartitionLag> =
        places(&seen.cluster, &topic).map(|place| partition(seen, group, &place)).collect();
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for table in &tables {
        nodes.entry(table.full_name()).or_default().push(table.node.clone());
    }
    Lag {
        group: group.to_owned(),
        state: known.map(|group| group.state.clone()),
        members: known.map(|group| group.members.len()).unwrap_or_default(),
        offsets: whose(seen, &tables),
        tables: nodes,
        lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
        oldest_unread: None,
        topic,
        partitions,
    }
}

fn whose(seen: &GroupSnapshot, tables: &[&KafkaTable]) -> GroupOffsets {
    let mut paths = tables.iter().filter_map(|table| table.keeper_path.as_ref());
    match paths.next() {
        None => GroupOffsets::Group,
        Some(path) if matches!(seen.kept.get(path), Some(Kept::Offsets(_))) => GroupOffsets::Keeper,
        Some(_) => GroupOffsets::GroupForKeeper,
    }
}

fn partition(seen: &GroupSnapshot, group: &str, place: &TopicPartition) -> PartitionLag {
    let (committed, bounds) = (seen.position(group, place), seen.bounds.get(place));
    let reads = |assigned: &Vec<(String, Vec<i32>)>| {
        assigned.iter().any(|(topic, all)| *topic == place.topic && all.contains(&place.partition))
    };
    let mut members = seen.groups.iter().filter(|known| known.name == group).flat_map(|group| &group.members);
    let member = members.find(|member| member.assigned.as_ref().is_some_and(reads));
    PartitionLag {
        partition: place.partition,
        committed,
        first: bounds.map(|bounds| bounds.first),
        end: bounds.map(|bounds| bounds.end),
        lag: bounds.map(|bounds| (bounds.end - committed.unwrap_or(bounds.first).max(bounds.first)).max(0)),
        lost: committed.zip(bounds).map_or(0, |(committed, bounds)| (bounds.first - committed).max(0)),
        oldest_unread: None,
        member: member.map(|member| member.client.clone()),
    }
}

/// Offset of the oldest unread message of each lagging partition.
pub(crate) fn unread(lags: &[Lag]) -> BTreeMap<(String, TopicPartition), i64> {
    let mut unread = BTreeMap::new();
    for lag in lags {
        for partition in lag.partitions.iter().filter(|partition| partition.lag > Some(0)) {
            let place = TopicPartition { topic: lag.topic.clone(), partition: partition.partition };
            let first = partition.first.unwrap_or_default();
            let start = partition.committed.unwrap_or(first).max(first);
            unread.insert((lag.group.clone(), place), start);
        }
    }
    unread
}

/// Fills in the timestamps of the oldest unread messages. Reads one message of each lagging
/// partition. A partition without one gets lag 0. Returns the denial of a topic that this user may
/// not read, whose timestamps stay unknown.
pub(crate) async fn date(client: &Client, lags: &mut [Lag]) -> Result<Option<KafkaError>, KafkaError> {
    let mut groups: BTreeMap<String, BTreeMap<TopicPartition, i64>> = BTreeMap::new();
    for ((group, place), start) in unread(lags) {
        groups.entry(group).or_default().insert(place, start);
    }
    let asked = groups.into_iter().map(|(group, starts)| async move {
        Ok::<_, KafkaError>((group, client.first_messages(&starts).await?))
    });
    let asked: Vec<_> = asked.collect();
    let read: Vec<(String, FirstMessages)> =
        stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).try_collect().await?;
    let (mut first, mut denied) = (BTreeMap::new(), None);
    for (group, messages) in read {
        denied = denied.or(messages.denied);
        first.extend(messages.found.into_iter().map(|(place, found)| ((group.clone(), place), found)));
    }
    for lag in lags {
        for partition in &mut lag.partitions {
            let place = TopicPartition { topic: lag.topic.clone(), partition: partition.partition };
            match first.get(&(lag.group.clone(), place)) {
                Some(FirstMessage::Made(time)) => partition.oldest_unread = *time,
                Some(FirstMessage::Nothing) => partition.lag = Some(0),
                None => {}
            }
        }
        lag.lag = lag.partitions.iter().filter_map(|partition| partition.lag).sum();
        lag.oldest_unread = lag.partitions.iter().filter_map(|partition| partition.oldest_unread).min();
    }
    Ok(denied)
}

/// Caveats to show beside the figures.
pub(crate) fn notes(seen: &GroupSnapshot) -> Vec<String> {
    let silent = seen.silent.iter();
    let mut notes: Vec<String> =
        silent.map(|(node, said)| format!("{node}'s tables are not known: {said}")).collect();
    for (path, kept) in &seen.kept {
        if let Kept::Unreadable(why) = kept {
            notes.push(format!(
                "the offsets at {path} in Keeper can't be read ({why}): the group's are shown, which follow after each block"
            ));
        }
    }
    notes
}
