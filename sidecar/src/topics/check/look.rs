//! Collection of all observations that a check compares.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::groups::{self, observe};
use super::super::spec::{self, Manage, Spec, SpecError};
use super::super::stalls::{MIN_SIGHTING, Sightings, Still};
use super::{CheckInput, desired};
use crate::cluster::Cluster;
use crate::config::{Config, OffsetStorage};
use crate::kafka::KafkaError;
use crate::persons::{TopicConflicts, topics_of};
use crate::schema::is_detached;
use crate::topics::observe::kafka_tables::server_reports;

/// Interval between two observations of consumers that seem stalled.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Repeats [`look`] while consumers seem stalled, until the evidence suffices: for [`MIN_SIGHTING`]
/// and one more observation.
///
/// # Errors
/// See [`look`].
pub(crate) async fn watch(cluster: &Cluster, topics: BTreeSet<String>) -> Result<CheckInput, KafkaError> {
    let mut sightings = Sightings::default();
    loop {
        let found = look(cluster, topics.clone(), &mut sightings).await?;
        if found.still.watched >= MIN_SIGHTING || !found.is_undecided() {
            for error in &found.refused {
                tracing::warn!(error = %error, "the check has less detail");
            }
            return Ok(found);
        }
        let left = MIN_SIGHTING - found.still.watched;
        tokio::time::sleep(LOOK_INTERVAL.min(left)).await;
    }
}

/// Observes brokers, nodes and Keeper. `topics` are managed by posthouse. `sightings` has the
/// previous offsets of partitions.
///
/// # Errors
/// See [`KafkaError`]. An unreachable node becomes a finding.
pub(crate) async fn look(
    cluster: &Cluster,
    topics: BTreeSet<String>,
    sightings: &mut Sightings,
) -> Result<CheckInput, KafkaError> {
    let Cluster { config, all_nodes: nodes, .. } = cluster;
    let client = cluster.kafka()?;
    let seen = observe(cluster, None).await?;
    let mut lags = groups::lags(&seen, None);
    if let Some(denied) = groups::date(client, &mut lags).await? {
        tracing::warn!(error = %denied, "the age of unread messages is unknown");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let silent: BTreeSet<String> = seen.silent.keys().cloned().collect();
    let mut found = CheckInput {
        seen,
        lags,
        configs: BTreeMap::new(),
        topics,
        nodes: nodes.iter().map(|node| node.name.clone()).collect(),
        events_topic: config.events.topic.clone(),
        events_group: config.events.group.clone(),
        brokers: config.kafka.brokers.iter().map(ToString::to_string).collect(),
        conflicts: conflicts(cluster).await,
        now: i64::try_from(now).unwrap_or(i64::MAX),
        desired: desired::desired_consumers(cluster),
        detached: BTreeSet::new(),
        replicas: BTreeMap::new(),
        refused: BTreeSet::new(),
        reports: server_reports(nodes, |node| !silent.contains(&node.name)).await,
        still: Still::default(),
    };
    found.detached = detached(cluster, &found).await;
    found.refused = found.reports.unreadable.values().cloned().collect();
    let (replicas, refused) = replicas(cluster, &found).await;
    found.replicas = replicas;
    found.refused.extend(refused);
    let own: Vec<groups::Lag> = found.own_lags().cloned().collect();
    found.still = sightings.update(&own, Instant::now());
    let there = |topic: &&str| found.seen.cluster.topics.contains_key(*topic);
    let ours: BTreeSet<String> = found.ours().into_iter().filter(there).map(str::to_owned).collect();
    found.configs = client.configs(&ours).await?;
    Ok(found)
}

/// Tables that are detached on a node. If a node refuses the question, they count as missing.
async fn detached(cluster: &Cluster, found: &CheckInput) -> BTreeSet<(String, String)> {
    let Cluster { config, all_nodes: nodes, .. } = cluster;
    let mut detached = BTreeSet::new();
    for table in found.desired.keys() {
        let lacking: BTreeSet<&str> = desired::lacking(found, table).collect();
        let name = table.strip_prefix(&format!("{}.", config.database)).unwrap_or(table);
        for node in nodes.iter().filter(|node| lacking.contains(node.name.as_str())) {
            match is_detached(node, &config.database, name).await {
                Ok(true) => _ = detached.insert((node.name.clone(), table.clone())),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(
                        table = %table,
                        node = %node.name,
                        error = %error,
                        "detached tables can't be listed"
                    );
                }
            }
        }
    }
    detached
}

/// Replicas below each path of a Kafka table, and below the config's path, as far as a node can
/// read Keeper, and the errors of nodes that refuse it.
async fn replicas(
    cluster: &Cluster,
    found: &CheckInput,
) -> (BTreeMap<String, BTreeSet<String>>, BTreeSet<String>) {
    let Cluster { config, all_nodes: nodes, .. } = cluster;
    let own = (config.events.offsets == OffsetStorage::Keeper).then(|| config.events.keeper_path.clone());
    let paths = found.seen.tables.iter().filter_map(|table| table.keeper_path.clone());
    let paths: BTreeSet<String> = paths.chain(own).collect();
    let (mut replicas, mut refused) = (BTreeMap::new(), BTreeSet::new());
    for path in paths {
        for node in nodes.iter().filter(|node| !found.seen.silent.contains_key(&node.name)) {
            match groups::replicas(node, &path).await {
                Ok(Some(names)) => {
                    replicas.insert(path, names.into_iter().collect());
                    break;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(
                        path = %path,
                        node = %node.name,
                        error = %error,
                        "replicas in Keeper can't be read"
                    );
                    refused.insert(error.to_string());
                }
            }
        }
    }
    (replicas, refused)
}

/// Conflicts in the topics of persons. A user may lack the right to read them.
async fn conflicts(cluster: &Cluster) -> Vec<TopicConflicts> {
    topics_of(cluster).await.unwrap_or_else(|error| {
        tracing::warn!(error = %error, "topics of persons can't be checked for other producers");
        Vec::new()
    })
}

/// Topics that posthouse manages: the events topic, and topics of the topics file, if there is one.
///
/// # Errors
/// See [`SpecError`]. A missing file is no error.
pub(crate) fn kept(config: &Config) -> Result<BTreeSet<String>, SpecError> {
    match spec::load(&config.kafka.topics_file) {
        // Without a file, only the tables name topics.
        Err(SpecError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok([config.events.topic.clone()].into())
        }
        spec => Ok(kept_of(config, &spec?)),
    }
}

/// Same as [`kept`], for a topics file that was read already.
pub(crate) fn kept_of(config: &Config, spec: &Spec) -> BTreeSet<String> {
    let kept = |manage| matches!(manage, Manage::Full { .. } | Manage::Adopt { .. });
    let named = spec.topics.iter().filter(|topic| kept(topic.manage)).map(|topic| topic.name.clone());
    named.chain([config.events.topic.clone()]).collect()
}
