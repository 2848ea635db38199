//! What posthouse remembers of its copy, in a compacted topic: what has been copied, and how far the slot may have been
//! acknowledged. It stands in the same Kafka as the copies, so that both are lost together, and then all is copied anew.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::{Persons, Postgres, VersionRule};
use crate::kafka::{Client, DeliveryError, KafkaError, NewTopic, Producer, Receipt};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// PostgreSQL's own number.
    pub system: String,
    /// Where the slot stood when the copy began: what copies have as their version.
    pub begins: u64,
    /// The slot is never acknowledged beyond this. One that stands further on is another slot of the same name, and what
    /// happened in between was missed.
    pub acknowledged: u64,
    /// What has been copied of each table; absent before it has begun.
    pub persons: Option<Copied>,
    /// The same.
    pub distinct_ids: Option<Copied>,
    /// How often rows vanished whose keys nobody told, so that only a repair finds them on the nodes.
    pub vanished: u64,
    /// How many of these have been repaired.
    pub repaired: u64,
    /// Whether a table was emptied since the last repair, so that any number of rows may have vanished.
    #[serde(default)]
    pub truncated: bool,
    /// Changes without the row's key since the last repair.
    #[serde(default)]
    pub keyless: u64,
    /// The last acknowledged transaction: it comes again, or lies before the slot's place; else the history is another one.
    #[serde(default)]
    pub last_commit: Option<Commit>,
    /// The server's timeline, which a failover and a point-in-time recovery change; absent in what older releases remembered.
    #[serde(default)]
    pub timeline: Option<u32>,
    /// Whether the stream had another history than what was acknowledged.
    #[serde(default)]
    pub diverged: bool,
    /// The source's [`Catalog::fingerprint`](super::requirements::Catalog::fingerprint) when its changes were last followed.
    #[serde(default)]
    pub fingerprint: Option<u64>,
    /// Whether it did not meet requirements then, so that changes may have been missed.
    #[serde(default)]
    pub faulty: bool,
    /// What is added to versions of the WAL, beside `version_base` of the config, since WAL was lost.
    #[serde(default)]
    pub base: u64,
    /// What is published; absent in what older releases remembered.
    #[serde(default)]
    pub published: Option<Published>,
}

/// A transaction of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commit {
    /// The end of its commit record.
    pub end: u64,
    /// The lower half of its number.
    pub transaction: u32,
}

impl State {
    /// Whether both tables have been copied whole.
    pub(super) fn is_copied(&self) -> bool {
        [&self.persons, &self.distinct_ids]
            .into_iter()
            .all(|copied| copied.as_ref().is_some_and(|copied| copied.left.is_empty()))
    }

    /// What is added to versions of the WAL.
    pub(super) fn version_base(&self, postgres: &Postgres) -> u64 {
        postgres.version_base.max(self.base)
    }
}

/// The name of [`VersionRule::Wal`], the default.
const WAL: &str = "wal";

/// Where rows are published, and with which versions. With others everything is copied again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    /// `version` of the config.
    pub version: String,
    /// The topics of persons and of distinct ids.
    pub topics: [String; 2],
}

impl Published {
    /// As the config has it.
    pub(super) fn new(persons: &Persons, postgres: &Postgres) -> Self {
        let version = match postgres.version {
            VersionRule::Wal => WAL,
            VersionRule::Column => "column",
        };
        let topics = [persons.topic.clone(), persons.distinct_id_topic.clone()];
        Self { version: version.to_owned(), topics }
    }

    /// Whether this has been published already, so that whatever it hides is hidden. An older release that published other
    /// versions than the WAL's is asked again, which is safe.
    pub(super) fn is_accepted(&self, state: Option<&State>) -> bool {
        state.is_some_and(|state| match &state.published {
            Some(published) => published == self,
            None => self.version == WAL,
        })
    }

    /// Whether a state is of the same topics and versions. Older releases did not remember them.
    pub(super) fn is_of(&self, state: &State) -> bool {
        state.published.as_ref().is_none_or(|published| published == self)
    }
}

/// How far the copy of a table is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copied {
    /// Ranges of primary keys that are still to be read.
    pub left: Vec<Range>,
    /// Rows that were copied.
    pub rows: u64,
}

/// Primary keys from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    /// The first.
    pub from: i64,
    /// The last.
    pub to: i64,
}

/// Why the state is not known or not kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The brokers can't be asked.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// They did not take it.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The topic can't be made.
    #[error(
        "topic {topic} can't be made: {said}: make it yourself, with one partition and cleanup.policy = compact"
    )]
    Topic {
        /// Its name.
        topic: String,
        /// What the broker said.
        said: String,
    },
}

/// The state of one slot, and where it is kept.
pub(super) struct Store<'a> {
    client: &'a Client,
    producer: &'a Producer,
    topic: &'a str,
    key: String,
    state: Mutex<State>,
}

impl<'a> Store<'a> {
    /// Makes the topic if it is not there.
    ///
    /// # Errors
    /// See [`StateError`].
    pub(super) async fn open(
        client: &'a Client,
        producer: &'a Producer,
        config: &'a Postgres,
    ) -> Result<Self, StateError> {
        use rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists;

        let topic = &config.state_topic;
        if !client.cluster().await?.topics.contains_key(topic) {
            let configs = [("cleanup.policy", "compact"), ("segment.ms", "3600000")];
            let configs = configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            // As many copies as the brokers make by themselves.
            let new = NewTopic { name: topic.clone(), partitions: 1, replication_factor: -1, configs };
            for (_, refused) in client.create_topics(vec![new]).await? {
                if let Err(refusal) = refused
                    && refusal.code != TopicAlreadyExists
                {
                    return Err(StateError::Topic { topic: topic.clone(), said: refusal.to_string() });
                }
            }
        }
        Ok(Self { client, producer, topic, key: key(config), state: Mutex::default() })
    }

    /// What is remembered; nothing if that can't be read: then everything is copied anew, which is right, if slow.
    ///
    /// # Errors
    /// See [`StateError`].
    pub(super) async fn read(&self) -> Result<Option<State>, StateError> {
        read(self.client, self.topic, &self.key).await
    }

    /// The state now.
    pub(super) async fn now(&self) -> State {
        self.state.lock().await.clone()
    }

    /// Has the next turn copy everything, where there is a checkpoint: its slot is about to be made again.
    ///
    /// # Errors
    /// See [`StateError`].
    pub(super) async fn invalidate(&self) -> Result<(), StateError> {
        match self.read().await? {
            Some(state) => self.change(|own| *own = State { diverged: true, ..state }).await,
            None => Ok(()),
        }
    }

    /// Changes the state, remembers it, and waits until the brokers have it.
    ///
    /// # Errors
    /// See [`StateError`].
    pub(super) async fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), StateError> {
        // Held until the brokers have it: the last one that they take must be the last.
        let mut state = self.state.lock().await;
        change(&mut state);
        let receipt = Arc::new(Receipt::default());
        // A state of numbers and texts always has a JSON form.
        let payload = serde_json::to_vec(&*state).unwrap_or_default();
        self.producer.send(self.topic, self.key.as_bytes(), &payload, &receipt).await?;
        Ok(receipt.delivered().await?)
    }
}

/// What is remembered of the config's slot, without making the topic where there is none.
///
/// # Errors
/// See [`StateError`].
pub(super) async fn remembered(client: &Client, config: &Postgres) -> Result<Option<State>, StateError> {
    match client.cluster().await?.topics.contains_key(&config.state_topic) {
        true => read(client, &config.state_topic, &key(config)).await,
        false => Ok(None),
    }
}

fn key(config: &Postgres) -> String {
    format!("{}/{}", config.database, config.slot)
}

async fn read(client: &Client, topic: &str, key: &str) -> Result<Option<State>, StateError> {
    let latest = client.latest(topic, key.as_bytes()).await?;
    let parsed = latest.map(|payload| serde_json::from_slice(&payload));
    Ok(parsed.transpose().unwrap_or_else(|error| {
        tracing::warn!("persons: what topic {topic} remembers of {key} can't be read: {error}");
        None
    }))
}
