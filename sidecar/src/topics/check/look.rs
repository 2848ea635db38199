//! Asks for everything that a check compares.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::groups::{self, observe};
use super::super::spec::{self, Manage, SpecError};
use super::Found;
use crate::config::Config;
use crate::kafka::{Client, KafkaError};
use crate::node::Node;

/// Looks at brokers, nodes and Keeper; `topics` are those that posthouse keeps.
///
/// # Errors
/// See [`KafkaError`]. A node that does not answer becomes a finding.
pub async fn look(
    config: &Config,
    client: &Client,
    nodes: &[Node],
    topics: BTreeSet<String>,
) -> Result<Found, KafkaError> {
    let seen = observe(client, nodes, None).await?;
    let mut lags = groups::lags(&seen, None);
    groups::date(client, &mut lags).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut found = Found {
        seen,
        lags,
        configs: std::collections::BTreeMap::new(),
        topics,
        nodes: nodes.iter().map(|node| node.name.clone()).collect(),
        database: config.database.clone(),
        events_topic: config.events.topic.clone(),
        events_group: config.events.group.clone(),
        brokers: config.kafka.brokers.iter().map(ToString::to_string).collect(),
        conflicts: crate::persons::topics_of(config, client).await?,
        now: i64::try_from(now).unwrap_or(i64::MAX),
    };
    let there = |topic: &&str| found.seen.cluster.topics.contains_key(*topic);
    let ours: BTreeSet<String> = found.ours().into_iter().filter(there).map(str::to_owned).collect();
    found.configs = client.configs(&ours).await?;
    Ok(found)
}

/// The topics that posthouse keeps: those of the topics file, if there is one, and that of events.
///
/// # Errors
/// See [`SpecError`].
pub fn kept(config: &Config) -> Result<BTreeSet<String>, SpecError> {
    let topics = match spec::load(&config.kafka.topics) {
        // Without a file the tables alone say which topics there are.
        Err(SpecError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => Vec::new(),
        spec => spec?.topics,
    };
    let kept = |manage| matches!(manage, Manage::Full { .. } | Manage::Adopt { .. });
    let named = topics.into_iter().filter(|topic| kept(topic.manage)).map(|topic| topic.name);
    Ok(named.chain([config.events.topic.clone()]).collect())
}
