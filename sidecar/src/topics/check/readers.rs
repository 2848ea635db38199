//! Checks of consumer groups against the tables that should read in them.

use std::collections::BTreeSet;

use super::super::groups::Lag;
use super::{CheckInput, Finding, fault, warn};

pub(super) fn check(found: &CheckInput) -> Vec<Finding> {
    let ours = found.ours();
    let lags = found.lags.iter().filter(|lag| ours.contains(lag.topic.as_str()));
    lags.filter_map(|lag| left(found, lag).or_else(|| never(found, lag)).or_else(|| ahead(lag))).collect()
}

/// A group with offsets and without readers.
fn left(found: &CheckInput, lag: &Lag) -> Option<Finding> {
    let committed = lag.partitions.iter().any(|partition| partition.committed.is_some());
    // An unreachable node may have the table.
    if !committed || !lag.tables.is_empty() || lag.members > 0 || !found.seen.silent.is_empty() {
        return None;
    }
    let text = format!(
        "it has committed offsets of {}, and neither a Kafka table on any node nor a consumer; {} messages are unread",
        lag.topic, lag.lag
    );
    let about = format!("group {}", lag.group);
    Some(if lag.group == found.events_group {
        fault(about, text, "posthouse schema apply creates its tables")
    } else {
        warn(
            about,
            text,
            "delete the group if no consumer will come back (kafka-consumer-groups.sh --delete --group)",
        )
    })
}

/// Tables that do not read existing messages, unless they are known as stalled.
fn never(found: &CheckInput, lag: &Lag) -> Option<Finding> {
    let committed = lag.partitions.iter().any(|partition| partition.committed.is_some());
    let evidence = found.evidence();
    if committed || lag.tables.is_empty() || lag.lag == 0 || evidence.stall(lag).is_some() {
        return None;
    }
    let tables: BTreeSet<&str> = lag.tables.keys().map(String::as_str).collect();
    let (reason, next) = match evidence.blocked(lag) {
        Some(reason) => (format!(": {reason}"), reason.next()),
        None => (String::new(), "check again in a minute: if it stalls, the reason is reported".to_owned()),
    };
    let text = format!(
        "{} has never committed an offset of {}, which has {} messages{reason}",
        super::listed(tables),
        lag.topic,
        lag.lag
    );
    Some(fault(format!("group {}", lag.group), text, next))
}

/// Offsets of a topic that was deleted and recreated.
fn ahead(lag: &Lag) -> Option<Finding> {
    let mut ahead = lag
        .partitions
        .iter()
        .filter(|partition| partition.end.is_some() && partition.committed > partition.end);
    let first = ahead.next()?;
    let (committed, end) = (first.committed?, first.end?);
    let text = format!(
        "it is at offset {committed} of {} partition {}, which ends at {end}{}: the topic was recreated, or has lost messages",
        lag.topic,
        first.partition,
        match ahead.count() {
            0 => String::new(),
            more => format!(", as in {more} more partitions"),
        }
    );
    let next = format!("posthouse topics reset {} --topic {} --to earliest", lag.group, lag.topic);
    Some(fault(format!("group {}", lag.group), text, next))
}
