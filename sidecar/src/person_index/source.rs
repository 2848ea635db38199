//! What an index is made of: the node's table, and the messages after it.

use std::collections::BTreeSet;
use std::hash::Hasher;

use anyhow::Context;
use minijinja::context;
use posthouse_udf::snapshot::Identity;
use serde::Deserialize;
use siphasher::sip::SipHasher24;

use super::table;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::kafka::TopicPartition;
use crate::node::Node;
use crate::sql;

/// A node's table of distinct ids.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct DistinctIdSource {
    /// Versions of distinct ids.
    pub(super) rows: u64,
    /// Another one after the table was recreated or restored.
    uuid: String,
}

impl DistinctIdSource {
    /// Asks the node.
    pub(super) async fn of(cluster: &Cluster, node: &Node) -> anyhow::Result<Self> {
        let name = table(&cluster.config);
        let values = context! { database => &cluster.config.database, table => name };
        let tables: Vec<Self> = node.rows(&sql::render("inspect/distinct_id_table.sql", values)?).await?;
        let database = &cluster.config.database;
        let missing =
            || format!("node {} has no table {database}.{name}: run posthouse schema apply", node.name);
        tables.into_iter().next().with_context(missing)
    }

    /// The number that all indexes of this table have, as long as its messages come from the same
    /// topic. Offsets of an index have no meaning in another one.
    pub(super) fn number(&self, config: &Config) -> u64 {
        let mut hasher = SipHasher24::new();
        let topic = config.persons.as_ref().map_or("", |persons| persons.distinct_id_topic.as_str());
        for part in [config.cluster.as_str(), &config.database, table(config), &self.uuid, topic] {
            hasher.write(part.as_bytes());
            hasher.write_u8(0);
        }
        hasher.finish()
    }

    /// A new index of the table.
    pub(super) fn new_identity(&self, config: &Config) -> Identity {
        Identity { seed: rand::random(), source: self.number(config) }
    }
}

/// The next offset of each partition after the messages that the node's table has. A table may have
/// more, which are read a second time.
///
/// # Errors
/// Fails if the topic is missing, if a partition has no leader, or if a broker does not answer.
pub(super) async fn stored_offsets(cluster: &Cluster, node: &Node) -> anyhow::Result<Vec<u64>> {
    let persons = cluster.config.persons.as_ref().context("the config has no [persons]")?;
    let (client, topic) = (cluster.kafka()?, &persons.distinct_id_topic);
    let count = client.cluster().await?.topic(topic)?.partitions.len();
    let places = (0..).take(count).map(|partition| TopicPartition { topic: topic.clone(), partition });
    let places: BTreeSet<TopicPartition> = places.collect();
    let bounds = client.bounds(places.clone()).await?;
    // Replicas share a group, see the schema's consumers.
    let group = match cluster.config.replicated {
        true => format!("{}_distinct_id", persons.group),
        false => format!("{}_distinct_id_{}", persons.group, node.name),
    };
    let committed = client.committed(&group, places.clone()).await?;
    let offset = |place: &TopicPartition| {
        let no_leader = || format!("partition {} of topic {topic} has no leader: try again", place.partition);
        let bounds = bounds.get(place).with_context(no_leader)?;
        let committed = committed.get(place).copied().flatten();
        let known = committed.filter(|offset| (bounds.first..=bounds.end).contains(offset));
        Ok(u64::try_from(known.unwrap_or(bounds.first)).unwrap_or_default())
    };
    let offsets = places.iter().map(offset).collect::<anyhow::Result<_>>()?;
    if cluster.config.replicated {
        let values = context! { database => &cluster.config.database, table => table(&cluster.config) };
        node.execute(&sql::render("backfill/sync_replica.sql", values)?).await?;
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_index_of_another_topic_is_another_index() {
        let source = DistinctIdSource { rows: 1, uuid: "u".to_owned() };
        let number = |topic: &str| {
            let text = format!(
                "kafka.brokers = [\"b:1\"]\n[[shards]]\n[[shards.replicas]]\nname = \"a\"\nurl = \"http://a:8123\"\n\
                 address = \"a:9000\"\n[persons]\ndistinct_id_topic = \"{topic}\""
            );
            source.number(&Config::parse(&text, Path::new("")).expect("a config"))
        };
        assert_eq!(number("one"), number("one"));
        assert_ne!(number("one"), number("other"));
    }
}
