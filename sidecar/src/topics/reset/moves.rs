//! Offset changes of all requested partitions, with refusals.

use std::collections::BTreeSet;

use super::{Found, Move, Refusal, Request, Target};
use crate::kafka::{Bounds, Place};
use crate::topics::groups::places;

pub(super) fn moves(request: &Request, found: &Found) -> (Vec<Move>, Vec<Refusal>) {
    let (seen, mut refusals) = (&found.seen, Vec::new());
    let topics = topics(request, found);
    if topics.is_empty() {
        refusals.push(Refusal::Unknown);
    }
    if matches!(request.target, Target::Offsets(_)) && topics.len() > 1 {
        refusals.push(Refusal::Topics(topics.iter().cloned().collect()));
        return (Vec::new(), refusals);
    }
    if request.target.time(found.now).is_some_and(|time| time > found.now) {
        refusals.push(Refusal::Future);
    }
    let mut moves = Vec::new();
    for topic in &topics {
        let all: Vec<Place> = places(&seen.cluster, topic).collect();
        if all.is_empty() {
            refusals.push(Refusal::NoTopic(topic.clone()));
        }
        if let Target::Offsets(offsets) = &request.target {
            let unknown =
                offsets.keys().filter(|number| !all.iter().any(|place| place.partition == **number));
            refusals.extend(unknown.map(|number| Refusal::NoPartition(topic.clone(), *number, all.len())));
        }
        for place in all {
            match seen.bounds.get(&place) {
                None => refusals.push(Refusal::NoLeader(place)),
                Some(bounds) => match to(request, found, &place, *bounds) {
                    Some(to) if !(bounds.first..=bounds.end).contains(&to) => {
                        refusals.push(Refusal::OutOfBounds(place, to, *bounds));
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
pub(super) fn topics(request: &Request, found: &Found) -> BTreeSet<String> {
    if !request.topics.is_empty() {
        return request.topics.clone();
    }
    let mut topics = found.seen.topics_of(&request.group);
    topics.extend(found.own.iter().flat_map(|own| own.topics.iter().cloned()));
    topics
}

fn to(request: &Request, found: &Found, place: &Place, bounds: Bounds) -> Option<i64> {
    match &request.target {
        Target::Earliest => Some(bounds.first),
        Target::Latest => Some(bounds.end),
        Target::Time(_) | Target::Ago(_) => found.at.get(place).map(|at| at.unwrap_or(bounds.end)),
        Target::Offsets(offsets) => offsets.get(&place.partition).copied(),
    }
}

fn step(from: Option<i64>, to: i64, place: Place, bounds: Bounds) -> Move {
    // Without a commit, ClickHouse's consumers begin at the first message. They do the same if the
    // committed offset is deleted.
    let begins = from.unwrap_or(bounds.first).clamp(bounds.first, bounds.end);
    Move { place, from, to, again: (begins - to).max(0), skipped: (to - begins).max(0) }
}
