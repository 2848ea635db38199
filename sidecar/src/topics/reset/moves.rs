//! Offset changes of all requested partitions, with refusals.

use std::collections::BTreeSet;

use super::{Move, ResetInput, ResetRefusal, ResetRequest, Target};
use crate::kafka::{OffsetBounds, TopicPartition};
use crate::topics::groups::places;

pub(super) fn moves(request: &ResetRequest, found: &ResetInput) -> (Vec<Move>, Vec<ResetRefusal>) {
    let (seen, mut refusals) = (&found.seen, Vec::new());
    let topics = topics(request, found);
    if topics.is_empty() {
        refusals.push(ResetRefusal::Unknown);
    }
    if matches!(request.target, Target::Offsets(_)) && topics.len() > 1 {
        refusals.push(ResetRefusal::Topics(topics.iter().cloned().collect()));
        return (Vec::new(), refusals);
    }
    if request.target.time(found.now).is_some_and(|time| time > found.now) {
        refusals.push(ResetRefusal::Future);
    }
    let mut moves = Vec::new();
    for topic in &topics {
        let all: Vec<TopicPartition> = places(&seen.cluster, topic).collect();
        if all.is_empty() {
            refusals.push(ResetRefusal::NoTopic(topic.clone()));
        }
        if let Target::Offsets(offsets) = &request.target {
            let unknown =
                offsets.keys().filter(|number| !all.iter().any(|place| place.partition == **number));
            refusals
                .extend(unknown.map(|number| ResetRefusal::NoPartition(topic.clone(), *number, all.len())));
        }
        for place in all {
            match seen.bounds.get(&place) {
                None => refusals.push(ResetRefusal::NoLeader(place)),
                Some(bounds) => match to(request, found, &place, *bounds) {
                    Some(to) if !(bounds.first..=bounds.end).contains(&to) => {
                        refusals.push(ResetRefusal::OutOfBounds(place, to, *bounds));
                    }
                    Some(to) => moves.push(step(seen.position(&request.group, &place), to, place, *bounds)),
                    None => {}
                },
            }
        }
    }
    (moves, refusals)
}

/// The requested topics, or all topics of the group.
pub(super) fn topics(request: &ResetRequest, found: &ResetInput) -> BTreeSet<String> {
    if !request.topics.is_empty() {
        return request.topics.clone();
    }
    let mut topics = found.seen.topics_of(&request.group);
    topics.extend(found.own.iter().flat_map(|own| own.topics.iter().cloned()));
    topics
}

fn to(
    request: &ResetRequest,
    found: &ResetInput,
    place: &TopicPartition,
    bounds: OffsetBounds,
) -> Option<i64> {
    match &request.target {
        Target::Earliest => Some(bounds.first),
        Target::Latest => Some(bounds.end),
        Target::Time(_) | Target::Ago(_) => found.at.get(place).map(|at| at.unwrap_or(bounds.end)),
        Target::Offsets(offsets) => offsets.get(&place.partition).copied(),
    }
}

fn step(from: Option<i64>, to: i64, place: TopicPartition, bounds: OffsetBounds) -> Move {
    // Without a commit, ClickHouse's consumers begin at the first message. They do the same if the
    // committed offset is deleted.
    let begins = from.unwrap_or(bounds.first).clamp(bounds.first, bounds.end);
    Move { place, from, to, again: (begins - to).max(0), skipped: (to - begins).max(0) }
}
