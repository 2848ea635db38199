//! Consumer groups: how far each is, by the offsets that count, and what it has not read.

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

pub use self::keeper::{Kept, replicas};
pub(super) use self::observe::places;
pub use self::observe::{Seen, observe};
pub use self::readers::{TopicReader, readers};
pub use self::replay::{ReplayError, replays};
use crate::kafka::{Client, FirstMessage, KafkaError, Place};
use crate::schema::KafkaTable;

/// Groups that are asked for at once: each by a consumer with connections of its own.
const ASKED_AT_ONCE: usize = 8;

/// Where the offsets are that say how far a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Offsets {
    /// In the group.
    Group,
    /// In Keeper, where Kafka tables keep them; the group's follow.
    Keeper,
    /// In Keeper, which can't be read: the group's are shown instead.
    GroupForKeeper,
}

/// How far a group is in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Kafka's word for how the group is; absent if the brokers don't know it. Tables with offsets in Keeper read without being
    /// members: their group is `Empty` while it is read.
    pub state: Option<String>,
    /// How many consumers are in the group.
    pub members: usize,
    /// Whose offsets these are.
    pub offsets: Offsets,
    /// The Kafka tables of the group that read the topic, each with the nodes that have it.
    pub tables: BTreeMap<String, Vec<String>>,
    /// Messages that were not read.
    pub lag: i64,
    /// When the oldest unread message was made, in milliseconds since 1970.
    pub oldest_unread: Option<i64>,
    /// Each partition.
    pub partitions: Vec<PartitionLag>,
}

/// How far a group is in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionLag {
    /// The partition.
    pub partition: i32,
    /// The offset that is read next; absent if the group never committed one.
    pub committed: Option<i64>,
    /// The offset of the first message; absent if no broker leads the partition.
    pub first: Option<i64>,
    /// The offset of the next message.
    pub end: Option<i64>,
    /// Messages that were not read; as far as offsets tell, which transactions and compaction make
    /// too large. Once the oldest was looked for: 0 if there is none.
    pub lag: Option<i64>,
    /// Messages that were deleted before they were read.
    pub lost: i64,
    /// When the oldest unread message was made, in milliseconds since 1970.
    pub oldest_unread: Option<i64>,
    /// The member that reads it.
    pub member: Option<String>,
}

/// How far every group is that the brokers or tables know, by group and topic; with a name, this group alone.
pub fn lags(seen: &Seen, only: Option<&str>) -> Vec<Lag> {
    let names = seen.group_names().into_iter().filter(|name| only.is_none_or(|only| only == *name));
    names
        .flat_map(|group| seen.topics_of(group).into_iter().map(move |topic| lag(seen, group, topic)))
        .collect()
}

/// Groups without any topic: nothing is known of what they read.
pub fn idle(seen: &Seen) -> Vec<&str> {
    seen.group_names().into_iter().filter(|group| seen.topics_of(group).is_empty()).collect()
}

fn lag(seen: &Seen, group: &str, topic: String) -> Lag {
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

fn whose(seen: &Seen, tables: &[&KafkaTable]) -> Offsets {
    let mut paths = tables.iter().filter_map(|table| table.keeper_path.as_ref());
    match paths.next() {
        None => Offsets::Group,
        Some(path) if matches!(seen.kept.get(path), Some(Kept::Offsets(_))) => Offsets::Keeper,
        Some(_) => Offsets::GroupForKeeper,
    }
}

fn partition(seen: &Seen, group: &str, place: &Place) -> PartitionLag {
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

/// Where the oldest unread message of each lagging partition is.
pub fn unread(lags: &[Lag]) -> BTreeMap<(String, Place), i64> {
    let mut unread = BTreeMap::new();
    for lag in lags {
        for partition in lag.partitions.iter().filter(|partition| partition.lag > Some(0)) {
            let place = Place { topic: lag.topic.clone(), partition: partition.partition };
            let first = partition.first.unwrap_or_default();
            let start = partition.committed.unwrap_or(first).max(first);
            unread.insert((lag.group.clone(), place), start);
        }
    }
    unread
}

/// Fills in when the oldest unread messages were made: reads one of each lagging partition. What
/// turns out to be no message lags no more.
///
/// # Errors
/// See [`KafkaError`].
pub async fn date(client: &Client, lags: &mut [Lag]) -> Result<(), KafkaError> {
    let mut groups: BTreeMap<String, BTreeMap<Place, i64>> = BTreeMap::new();
    for ((group, place), start) in unread(lags) {
        groups.entry(group).or_default().insert(place, start);
    }
    let asked = groups.into_iter().map(|(group, starts)| async move {
        let first = client.first_messages(&starts).await?;
        Ok(first.into_iter().map(|(place, first)| ((group.clone(), place), first)).collect::<Vec<_>>())
    });
    let asked: Vec<_> = asked.collect();
    let first: Vec<_> = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).try_collect().await?;
    let first: BTreeMap<(String, Place), FirstMessage> = first.into_iter().flatten().collect();
    for lag in lags {
        for partition in &mut lag.partitions {
            let place = Place { topic: lag.topic.clone(), partition: partition.partition };
            match first.get(&(lag.group.clone(), place)) {
                Some(FirstMessage::Made(time)) => partition.oldest_unread = *time,
                Some(FirstMessage::Nothing) => partition.lag = Some(0),
                None => {}
            }
        }
        lag.lag = lag.partitions.iter().filter_map(|partition| partition.lag).sum();
        lag.oldest_unread = lag.partitions.iter().filter_map(|partition| partition.oldest_unread).min();
    }
    Ok(())
}

/// What has to be said beside the figures.
pub fn notes(seen: &Seen) -> Vec<String> {
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
