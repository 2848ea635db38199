//! One apply at a time: whoever is alone in a consumer group may change topics. A holder that dies is put out of the group by
//! the brokers, so that nothing has to be cleaned up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use tokio::time::{Instant, sleep};

use crate::kafka::{Client, Group, KafkaError, LibraryLog, Member};

/// The group, the same for everybody who changes topics of one cluster.
pub const LOCK_GROUP: &str = "posthouse-topics";
/// A topic that every cluster has as soon as there is a group. Nothing is read of it.
const LOCK_TOPIC: &str = "__consumer_offsets";
/// The least that brokers allow by default (`group.min.session.timeout.ms`): how long a holder that died keeps the lock.
const SESSION: Duration = Duration::from_secs(6);
/// How long somebody waits: longer than a dead holder's session, so that a crash only costs time.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often the holder speaks to the library, which answers the brokers for it.
const POLL: Duration = Duration::from_millis(100);

/// Why the lock is not held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else changes topics.
    #[error(
        "topics are being changed by {holder}: wait until that ends; if it was killed, its lock ends {} s later",
        SESSION.as_secs()
    )]
    Held {
        /// Who, and from where.
        holder: String,
    },
    /// The brokers let nobody into the group.
    #[error(
        "no lock could be had within {} s: this user needs Read on group {LOCK_GROUP} and Describe on topic {LOCK_TOPIC} ({said})",
        PATIENCE.as_secs()
    )]
    NotJoined {
        /// What the library said last.
        said: String,
    },
    /// The brokers can't be asked.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// The lock. It ends when it is dropped, or when this process does.
pub struct Lock {
    client: Client,
    name: String,
    ended: Arc<AtomicBool>,
    member: Option<JoinHandle<()>>,
}

impl Lock {
    /// Joins the group once nobody else is in it.
    ///
    /// # Errors
    /// [`LockError::Held`] if somebody is for longer than [`PATIENCE`].
    pub async fn take(client: &Client) -> Result<Self, LockError> {
        let deadline = Instant::now() + PATIENCE;
        let name = format!("posthouse-{}-{:08x}", std::process::id(), rand::random::<u32>());
        loop {
            let others = others(client, &name).await?;
            if others.is_empty() {
                let lock = Self::join(client.clone(), name.clone())?;
                match lock.alone(deadline).await {
                    // Somebody came at the same time: both leave, and come again at different times.
                    Ok(false) => drop(lock),
                    Ok(true) => return Ok(lock),
                    Err(error) => return Err(error),
                }
            } else if Instant::now() >= deadline {
                return Err(LockError::Held { holder: holder(&others) });
            }
            sleep(LOOK_AGAIN + LOOK_AGAIN.mul_f64(rand::random())).await;
        }
    }

    /// Whether the lock is still held: a process that was paused may have lost it.
    ///
    /// # Errors
    /// [`LockError::Held`] if somebody else is in the group; [`LockError::NotJoined`] if nobody is.
    pub async fn check(&self) -> Result<(), LockError> {
        let group = group(&self.client).await?;
        let members = group.map(|group| group.members).unwrap_or_default();
        let (own, others): (Vec<Member>, Vec<Member>) =
            members.into_iter().partition(|member| member.client == self.name);
        match (own.is_empty(), others.is_empty()) {
            (false, true) => Ok(()),
            (_, false) => Err(LockError::Held { holder: holder(&others) }),
            (true, true) => Err(LockError::NotJoined { said: "it was lost".to_owned() }),
        }
    }

    fn join(client: Client, name: String) -> Result<Self, LockError> {
        let mut config = client.library_config();
        config
            .set("client.id", &name)
            .set("group.id", LOCK_GROUP)
            .set("session.timeout.ms", SESSION.as_millis().to_string())
            .set("heartbeat.interval.ms", "1000")
            .set("enable.auto.commit", "false");
        let set_up = |source| KafkaError::Failed {
            brokers: client.brokers().to_owned(),
            task: "set up a lock",
            source,
        };
        let consumer: BaseConsumer<Silent> = config.create_with_context(Silent).map_err(set_up)?;
        consumer.subscribe(&[LOCK_TOPIC]).map_err(set_up)?;
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let member = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                if let Some(Err(error)) = consumer.poll(POLL) {
                    tracing::debug!("lock: {error}");
                }
            }
            // Leaves the group, so that the next one need not wait.
            consumer.unsubscribe();
        });
        Ok(Self { client, name, ended, member: Some(member) })
    }

    /// Waits until it is in the group; whether it is alone there.
    async fn alone(&self, deadline: Instant) -> Result<bool, LockError> {
        loop {
            let group = group(&self.client).await?;
            let members = group.as_ref().map(|group| group.members.as_slice()).unwrap_or_default();
            let joined = members.iter().any(|member| member.client == self.name);
            if joined {
                return Ok(members.len() == 1);
            }
            if Instant::now() >= deadline {
                let said = group.map_or_else(|| "no such group".to_owned(), |group| group.state);
                return Err(LockError::NotJoined { said });
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(member) = self.member.take() {
            // It ends within POLL; that it panicked is nothing to do about.
            let _ = member.join();
        }
    }
}

/// A member that takes nothing of what it is given: it is there to be there.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        LibraryLog.log(level, facility, message);
    }
}

impl ConsumerContext for Silent {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        _: rdkafka::types::RDKafkaRespErr,
        _: &mut TopicPartitionList,
    ) {
        if let Err(error) = consumer.assign(&TopicPartitionList::new()) {
            tracing::debug!("lock: {error}");
        }
    }

    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {}
}

async fn group(client: &Client) -> Result<Option<Group>, KafkaError> {
    Ok(client.groups(Some(LOCK_GROUP)).await?.into_iter().next())
}

async fn others(client: &Client, name: &str) -> Result<Vec<Member>, KafkaError> {
    let members = group(client).await?.map(|group| group.members).unwrap_or_default();
    Ok(members.into_iter().filter(|member| member.client != name).collect())
}

fn holder(others: &[Member]) -> String {
    let text = |member: &Member| format!("{} at {}", member.client, member.host.trim_start_matches('/'));
    others.iter().map(text).collect::<Vec<_>>().join(", ")
}
