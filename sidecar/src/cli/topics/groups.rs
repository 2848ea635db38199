//! `posthouse topics groups`: offsets and lag of consumer groups.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::super::Outcome;
use super::super::output::{Output, table};
use crate::cluster::Cluster;
use crate::duration;
use crate::topics::groups::{self, GroupOffsets, Lag};

#[derive(Debug, Args)]
pub(in crate::cli) struct Groups {
    /// Show every partition of this group
    #[arg(value_name = "GROUP")]
    group: Option<String>,
}

/// JSON output of `topics groups`.
#[derive(Serialize)]
struct ShownGroup {
    groups: Vec<Lag>,
    /// Groups of which only the names are known.
    without_topics: Vec<String>,
    notes: Vec<String>,
}

pub(super) async fn run(cluster: &Cluster, verb: &Groups, output: Output) -> anyhow::Result<Outcome> {
    let client = cluster.kafka()?;
    let only = verb.group.as_deref();
    let seen = groups::observe(cluster, only).await?;
    let mut lags = groups::lags(&seen, only);
    let denied = groups::date(client, &mut lags).await?;
    let idle = groups::idle(&seen).into_iter().filter(|name| only.is_none_or(|only| only == *name));
    let without_topics: Vec<String> = idle.map(str::to_owned).collect();
    if let (Some(only), true, true) = (only, lags.is_empty(), without_topics.is_empty()) {
        bail!("there is no consumer group {only}: posthouse topics groups lists all");
    }
    let mut notes = groups::notes(&seen);
    notes.extend(denied.map(|denied| format!("the age of unread messages is unknown: {denied}")));
    let shown = ShownGroup { groups: lags, without_topics, notes };
    output.print(&shown, |shown| if only.is_some() { partitions_text(shown) } else { groups_text(shown) })?;
    Ok(Outcome::Clean)
}

fn groups_text(shown: &ShownGroup) -> String {
    let heading =
        ["group", "topic", "state", "members", "partitions", "lag", "oldest unread", "offsets", "tables"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(shown.groups.iter().map(|lag| {
        vec![
            lag.group.clone(),
            lag.topic.clone(),
            lag.state.clone().unwrap_or_else(|| "-".to_owned()),
            lag.members.to_string(),
            lag.partitions.len().to_string(),
            lag.lag.to_string(),
            lag.oldest_unread.map_or_else(|| "-".to_owned(), age),
            whose(lag.offsets).to_owned(),
            tables(&lag.tables),
        ]
    }));
    rows.extend(shown.without_topics.iter().map(|group| {
        let rest = std::iter::repeat_n("-".to_owned(), heading.len() - 1);
        std::iter::once(group.clone()).chain(rest).collect()
    }));
    let text = if rows.len() == 1 { "no consumer groups\n".to_owned() } else { table(&rows) };
    text + &notes(shown)
}

fn partitions_text(shown: &ShownGroup) -> String {
    let mut text = String::new();
    for lag in &shown.groups {
        let state = lag.state.as_deref().unwrap_or("unknown to the brokers");
        text.push_str(&format!("{} in {}: {state}, {} members", lag.group, lag.topic, lag.members));
        text.push_str(&format!(", offsets of {}, tables {}\n", whose(lag.offsets), tables(&lag.tables)));
        let heading = ["partition", "committed", "first", "end", "lag", "oldest unread", "member"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        rows.extend(lag.partitions.iter().map(|partition| {
            vec![
                partition.partition.to_string(),
                number(partition.committed),
                number(partition.first),
                number(partition.end),
                number(partition.lag),
                partition.oldest_unread.map_or_else(|| "-".to_owned(), age),
                partition.member.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        }));
        text.push_str(&table(&rows));
    }
    for group in &shown.without_topics {
        text.push_str(&format!("{group} has no committed offsets and reads no topic\n"));
    }
    text + &notes(shown)
}

fn notes(shown: &ShownGroup) -> String {
    shown.notes.iter().map(|note| format!("note: {note}\n")).collect()
}

fn whose(offsets: GroupOffsets) -> &'static str {
    match offsets {
        GroupOffsets::Group => "group",
        GroupOffsets::Keeper => "keeper",
        GroupOffsets::GroupForKeeper => "group instead of keeper",
    }
}

fn tables(tables: &BTreeMap<String, Vec<String>>) -> String {
    let text = |(table, nodes): (&String, &Vec<String>)| format!("{table} on {}", nodes.join(", "));
    match tables.is_empty() {
        true => "-".to_owned(),
        false => tables.iter().map(text).collect::<Vec<_>>().join("; "),
    }
}

/// Formats the age of a time in milliseconds since 1970, in whole seconds.
fn age(time: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let then = Duration::from_millis(u64::try_from(time).unwrap_or_default());
    let age = Duration::from_secs(now.saturating_sub(then).as_secs());
    duration::shown(age)
}
