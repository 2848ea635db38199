//! Checkpoint of one slot in a compacted topic.
//!
//! It records the progress of the initial snapshot and the position up to which the slot may be
//! acknowledged. It is stored in the same Kafka as the published rows, so that both are lost
//! together and a new snapshot follows.

use std::sync::Arc;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::{Persons, Postgres, VersionRule};
use crate::kafka::{Client, DeliveryHandle, NewTopic, Producer};

use super::audit::last::LastAudit;

/// The checkpoint of one slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// PostgreSQL's system identifier.
    pub(crate) system: String,
    /// The slot's position when the snapshot began. It determines the version of snapshot rows.
    pub(crate) begins: u64,
    /// The slot is never acknowledged beyond this position. A slot that is further ahead is another
    /// slot of the same name, and the changes in between were missed.
    pub(crate) acknowledged: u64,
    /// Snapshot progress of the table; absent before the snapshot has begun.
    pub(crate) persons: Option<Copied>,
    pub(crate) distinct_ids: Option<Copied>,
    /// Counts the events in which rows vanished and their keys are unknown. Only a repair finds
    /// these rows on the nodes.
    pub(crate) vanished: u64,
    /// How many of these events have been repaired.
    pub(crate) repaired: u64,
    /// Whether a table was emptied since the last repair, so that any number of rows may have
    /// vanished.
    #[serde(default)]
    pub(crate) truncated: bool,
    /// Changes without the row's key since the last repair.
    #[serde(default)]
    pub(crate) keyless: u64,
    /// The last acknowledged transaction. It is replayed, or lies before the slot's position.
    /// Otherwise the WAL has a different history.
    #[serde(default)]
    pub(crate) last_commit: Option<Commit>,
    /// The server's timeline. A failover and a point-in-time recovery change it. Absent in
    /// checkpoints of older releases.
    #[serde(default)]
    pub(crate) timeline: Option<u32>,
    /// Whether the stream's history differed from the acknowledged one.
    #[serde(default)]
    pub(crate) diverged: bool,
    /// The source's [`Catalog::fingerprint`](super::requirements::Catalog::fingerprint) when its
    /// changes were last followed.
    #[serde(default)]
    pub(crate) fingerprint: Option<u64>,
    /// Whether the source did not meet the requirements at that time, so that changes may have been
    /// missed.
    #[serde(default)]
    pub(crate) faulty: bool,
    /// Offset that is added to WAL versions since WAL was lost, beside `version_base` of the
    /// config.
    #[serde(default)]
    pub(crate) base: u64,
    /// Topics and version rule that were published; absent in checkpoints of older releases.
    #[serde(default)]
    pub(crate) published: Option<Published>,
    /// The result of the last audit; absent before the first one.
    #[serde(default)]
    pub(crate) audit: Option<LastAudit>,
}

/// A transaction of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commit {
    /// The end of its commit record.
    pub(crate) end: u64,
    /// The lower half of its number.
    pub(crate) transaction: u32,
}

impl Checkpoint {
    /// Whether the snapshot of both tables is complete.
    pub(super) fn is_copied(&self) -> bool {
        [&self.persons, &self.distinct_ids]
            .into_iter()
            .all(|copied| copied.as_ref().is_some_and(|copied| copied.left.is_empty()))
    }

    /// The offset that is added to WAL versions.
    pub(super) fn version_base(&self, postgres: &Postgres) -> u64 {
        postgres.version_base.max(self.base)
    }
}

/// The name of [`VersionRule::Wal`], the default.
const WAL: &str = "wal";

/// Topics and version rule of published rows. If they change, a new snapshot is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    /// `version` of the config.
    pub(crate) version: String,
    /// The topics of persons and of distinct ids.
    pub(crate) topics: [String; 2],
}

impl Published {
    /// Reads both from the config.
    pub(super) fn new(persons: &Persons, postgres: &Postgres) -> Self {
        let version = match postgres.version {
            VersionRule::Wal => WAL,
            VersionRule::Column => "column",
        };
        let topics = [persons.topic.clone(), persons.distinct_id_topic.clone()];
        Self { version: version.to_owned(), topics }
    }

    /// Whether these topics were filled with these versions already, so that the rows they hide are
    /// hidden already. A checkpoint of an older release counts as WAL versions. With column
    /// versions the check for conflicts is repeated, which is safe.
    pub(super) fn is_accepted(&self, state: Option<&Checkpoint>) -> bool {
        state.is_some_and(|state| match &state.published {
            Some(published) => published == self,
            None => self.version == WAL,
        })
    }

    /// Whether a checkpoint has the same topics and versions. Older releases did not record them.
    pub(super) fn is_of(&self, state: &Checkpoint) -> bool {
        state.published.as_ref().is_none_or(|published| published == self)
    }
}

/// Snapshot progress of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copied {
    /// Ranges of primary keys that are still to be read.
    pub(crate) left: Vec<KeyRange>,
    /// Number of rows read so far.
    pub(crate) rows: u64,
}

/// Primary keys, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyRange {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// Store of one slot's checkpoint.
pub(super) struct CheckpointStore<'a> {
    client: &'a Client,
    producer: &'a Producer,
    topic: &'a str,
    key: String,
    state: Mutex<Checkpoint>,
}

impl<'a> CheckpointStore<'a> {
    /// Opens the store; creates the topic if it is missing.
    pub(super) async fn open(
        client: &'a Client,
        producer: &'a Producer,
        config: &'a Postgres,
    ) -> anyhow::Result<Self> {
        use rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists;

        let topic = &config.state_topic;
        if !client.cluster().await?.topics.contains_key(topic) {
            let configs = [("cleanup.policy", "compact"), ("segment.ms", "3600000")];
            let configs = configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            // -1 is the brokers' default replication factor.
            let new = NewTopic { name: topic.clone(), partitions: 1, replication_factor: -1, configs };
            for (_, refused) in client.create_topics(vec![new]).await? {
                if let Err(refusal) = refused
                    && refusal.code != TopicAlreadyExists
                {
                    bail!(
                        "topic {topic} can't be created ({refusal}): create it with one partition and cleanup.policy = compact, \
                         or let this user do it: kafka-acls --add --allow-principal User:NAME --operation Create --topic {topic}"
                    );
                }
            }
        }
        Ok(Self { client, producer, topic, key: key(config), state: Mutex::default() })
    }

    /// Returns the checkpoint, or `None` if it can't be parsed. A new snapshot is then correct,
    /// though slow.
    pub(super) async fn read(&self) -> anyhow::Result<Option<Checkpoint>> {
        read(self.client, self.topic, &self.key).await
    }

    /// The current checkpoint in memory.
    pub(super) async fn now(&self) -> Checkpoint {
        self.state.lock().await.clone()
    }

    /// Forces the next leader to take a new snapshot if a checkpoint exists, because its slot is
    /// about to be recreated.
    pub(super) async fn invalidate(&self) -> anyhow::Result<()> {
        match self.read().await? {
            Some(state) => self.change(|own| *own = Checkpoint { diverged: true, ..state }).await,
            None => Ok(()),
        }
    }

    /// Changes the checkpoint, writes it, and waits for the brokers' acknowledgement.
    pub(super) async fn change(&self, change: impl FnOnce(&mut Checkpoint)) -> anyhow::Result<()> {
        // Locked until the brokers have acknowledged, so that the last record in the topic is the
        // newest.
        let mut state = self.state.lock().await;
        change(&mut state);
        let receipt = Arc::new(DeliveryHandle::default());
        // Serializing numbers and strings can't fail.
        let payload = serde_json::to_vec(&*state).unwrap_or_default();
        self.producer.send(self.topic, self.key.as_bytes(), &payload, &receipt).await?;
        Ok(receipt.delivered().await?)
    }
}

/// Reads the checkpoint of the config's slot; does not create a missing topic.
pub(super) async fn load(client: &Client, config: &Postgres) -> anyhow::Result<Option<Checkpoint>> {
    match client.cluster().await?.topics.contains_key(&config.state_topic) {
        true => read(client, &config.state_topic, &key(config)).await,
        false => Ok(None),
    }
}

fn key(config: &Postgres) -> String {
    format!("{}/{}", config.database, config.slot)
}

async fn read(client: &Client, topic: &str, key: &str) -> anyhow::Result<Option<Checkpoint>> {
    let latest = client.latest(topic, key.as_bytes()).await?;
    let parsed = latest.map(|payload| serde_json::from_slice(&payload));
    Ok(parsed.transpose().unwrap_or_else(|error| {
        tracing::warn!(topic, key, error = %error, "checkpoint can't be parsed");
        None
    }))
}
