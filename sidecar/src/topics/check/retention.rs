//! Checks of topic retention against the current lag.

use super::super::groups::Lag;
use super::{CheckInput, Finding, fault, warn};
use crate::topics::plan::values::{bytes, duration};

/// Share of the retention, in percent, that calls for action. Half leaves as much time as has
/// passed.
const MAX_PERCENT: i64 = 50;

pub(super) fn check(found: &CheckInput) -> Vec<Finding> {
    // A group without readers can't lose messages. Other checks report it.
    let read = found.lags.iter().filter(|lag| !lag.tables.is_empty() || lag.members > 0);
    let ours = found.ours();
    let mut findings: Vec<Finding> = read
        .filter(|lag| ours.contains(lag.topic.as_str()))
        .flat_map(|lag| [deleted(lag), late(found, lag)])
        .flatten()
        .collect();
    findings.extend(ours.into_iter().filter_map(|topic| by_size(found, topic)));
    findings
}

fn deleted(lag: &Lag) -> Option<Finding> {
    let lost: Vec<_> = lag.partitions.iter().filter(|partition| partition.lost > 0).collect();
    let count: i64 = lost.iter().map(|partition| partition.lost).sum();
    let partitions: Vec<String> = lost.iter().map(|partition| partition.partition.to_string()).collect();
    let text = format!(
        "{count} messages of {} were deleted before it read them, in partitions {}",
        lag.topic,
        partitions.join(", ")
    );
    let next =
        format!("raise retention.ms of {} until its readers keep up; deleted messages are lost", lag.topic);
    (count > 0).then(|| fault(format!("group {}", lag.group), text, next))
}

fn late(found: &CheckInput, lag: &Lag) -> Option<Finding> {
    let retention = found.number(&lag.topic, "retention.ms").filter(|limit| *limit > 0)?;
    if !deletes(found, &lag.topic) {
        return None;
    }
    let age = found.now.saturating_sub(lag.oldest_unread?);
    let percent = i64::try_from(i128::from(age) * 100 / i128::from(retention)).unwrap_or(i64::MAX);
    let text = format!(
        "its oldest unread message in {} is {} old, {percent} % of the {} that the topic keeps messages; {} are unread",
        lag.topic,
        duration(age),
        duration(retention),
        lag.lag
    );
    let next = format!("raise retention.ms of {} until its readers keep up", lag.topic);
    (percent > MAX_PERCENT).then(|| warn(format!("group {}", lag.group), text, next))
}

fn by_size(found: &CheckInput, topic: &str) -> Option<Finding> {
    let limit = found.number(topic, "retention.bytes").filter(|limit| *limit >= 0)?;
    let text = format!(
        "retention.bytes is {limit} ({} a partition): messages are deleted by size, even new and unread ones",
        bytes(limit.unsigned_abs())
    );
    let next = "set it to -1 and use retention.ms, or make sure that it outlasts an outage of the readers";
    deletes(found, topic).then(|| warn(format!("topic {topic}"), text, next))
}

/// Whether the topic deletes old messages. A topic that only compacts keeps the last message of
/// each key.
fn deletes(found: &CheckInput, topic: &str) -> bool {
    found
        .text(topic, "cleanup.policy")
        .is_none_or(|policy| policy.split(',').any(|one| one.trim() == "delete"))
}
