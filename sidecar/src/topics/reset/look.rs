//! Collection of all observations that a reset depends on.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::groups::{self, GroupSnapshot, observe, places};
use super::{ResetInput, ResetRequest, SchemaConsumers, Target, topics};
use crate::cluster::Cluster;
use crate::config::OffsetStorage;
use crate::kafka::TopicPartition;
use crate::node::NodeError;
use crate::schema::{self, Action, KafkaTable, OBJECTS, Replays, Role, SchemaPlan, is_detached};

/// Observes brokers, nodes and Keeper. Read-only.
///
/// # Errors
/// Fails if brokers or a node can't be asked.
pub(crate) async fn look(cluster: &Cluster, request: &ResetRequest) -> anyhow::Result<ResetInput> {
    let client = cluster.kafka()?;
    let seen = observe(cluster, Some(&request.group)).await?;
    let own = own(cluster, request, &seen).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut found = ResetInput { seen, now, at: std::collections::BTreeMap::new(), own };
    let topics = topics(request, &found);
    // A topic that the group never read has no bounds yet.
    let wanted: BTreeSet<TopicPartition> =
        topics.iter().flat_map(|topic| places(&found.seen.cluster, topic)).collect();
    let led = |place: &TopicPartition| is_led(&found.seen, place);
    let wanted: BTreeSet<TopicPartition> = wanted.into_iter().filter(led).collect();
    let new = wanted.iter().filter(|place| !found.seen.bounds.contains_key(place)).cloned().collect();
    found.seen.bounds.extend(client.bounds(new).await?);
    if let (Target::Time(_) | Target::Ago(_), Some(time)) = (&request.target, request.target.time(now)) {
        // Not before 1970, because the brokers' negative times have special meanings.
        found.at = client.at(wanted, time.max(0)).await?;
    }
    Ok(found)
}

fn is_led(seen: &GroupSnapshot, place: &TopicPartition) -> bool {
    let layout = seen.cluster.topics.get(&place.topic);
    let partition = layout.zip(usize::try_from(place.partition).ok());
    partition
        .and_then(|(layout, number)| layout.partitions.get(number))
        .is_some_and(|partition| partition.leader.is_some())
}

/// The schema's own tables of the group. `None` if it has none, or if the schema does not exist
/// yet. Then the offsets are only committed, and the first apply starts there.
async fn own(
    cluster: &Cluster,
    request: &ResetRequest,
    seen: &GroupSnapshot,
) -> anyhow::Result<Option<SchemaConsumers>> {
    let config = &cluster.config;
    if request.group != config.events.group || !seen.silent.is_empty() {
        return Ok(None);
    }
    let plans = schema::observe(cluster, Replays::new()).await?;
    let mut own = SchemaConsumers {
        database: config.database.clone(),
        names: names(),
        topics: BTreeSet::from([config.events.topic.clone()]),
        nodes: cluster.ingesting_nodes().map(|node| node.name.clone()).collect(),
        drift: plans.iter().flat_map(drift).collect(),
        ..SchemaConsumers::default()
    };
    let stand = seen.tables_of(&request.group).any(|table| own.has(table));
    if !stand && !own.drift.is_empty() {
        return Ok(None);
    }
    for (node, name) in
        cluster.ingesting_nodes().flat_map(|node| own.names.iter().map(move |name| (node, name)))
    {
        let has = |table: &&KafkaTable| table.node == node.name && own.has(table) && table.name == *name;
        if !seen.tables.iter().any(|table| has(&table)) && is_detached(node, &config.database, name).await? {
            own.detached.push(format!("{name} on {}", node.name));
        }
    }
    own.stale_replicas = stale_replicas(cluster, &seen.tables).await?;
    Ok(Some(own))
}

/// Names of the schema's Kafka tables that read the events.
fn names() -> BTreeSet<String> {
    let consumers = OBJECTS.iter().filter(|object| object.role == Role::Consumer);
    consumers
        .filter(|object| object.file.starts_with("events/"))
        .map(|object| object.name.to_owned())
        .collect()
}

/// Changes of an apply, except the creation of missing Kafka tables.
fn drift(plan: &SchemaPlan) -> impl Iterator<Item = String> {
    let harmless = |action: &Action, role| match action {
        Action::Create { .. } => role == Some(Role::Consumer),
        Action::Leave { .. } => true,
        _ => false,
    };
    let changes = plan.changes.iter().filter(move |change| !harmless(&change.action, change.role));
    changes.map(|change| format!("{} on {}", change.object, plan.node))
}

/// Stale replicas below the config's path: no node has their table. Empty if no node can read
/// Keeper.
async fn stale_replicas(cluster: &Cluster, tables: &[KafkaTable]) -> Result<Vec<String>, NodeError> {
    let config = &cluster.config;
    let path = &config.events.keeper_path;
    let (OffsetStorage::Keeper, Some(node)) = (config.events.offsets, cluster.ingesting_nodes().next())
    else {
        return Ok(Vec::new());
    };
    let replicas = groups::replicas(node, path).await?.unwrap_or_default();
    let has = |replica: &String| {
        tables.iter().any(|table| table.keeper_path.as_ref() == Some(path) && table.node == *replica)
    };
    let stale_replicas = replicas.into_iter().filter(|replica| !has(replica));
    Ok(stale_replicas.map(|replica| format!("{path}/replicas/{replica}")).collect())
}
