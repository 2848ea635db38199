//! One apply at a time: whoever is alone in a consumer group may change topics, or one schema. A holder that dies is put out of the group by
//! the brokers, so that nothing has to be cleaned up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::{Instant, sleep};

use crate::kafka::{Client, Group, KafkaError, LibraryLog, Member};

/// The group, the same for everybody who changes topics of one cluster.
pub const LOCK_GROUP: &str = "posthouse-topics";
/// What the group of a schema's lock begins with; the database follows.
const SCHEMA_LOCK_PREFIX: &str = "posthouse-schema-";

/// What one holder at a time may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockScope {
    group: String,
    subject: String,
}

impl LockScope {
    /// The topics of the brokers.
    pub fn topics() -> Self {
        Self { group: LOCK_GROUP.to_owned(), subject: "topics are".to_owned() }
    }

    /// The tables of a database on every node.
    pub fn schema(database: &str) -> Self {
        Self {
            group: format!("{SCHEMA_LOCK_PREFIX}{database}"),
            subject: format!("the schema of {database} is"),
        }
    }
}

/// Whether a consumer group is a lock, and reads nothing.
pub(crate) fn is_lock(group: &str) -> bool {
    group == LOCK_GROUP || group.starts_with(SCHEMA_LOCK_PREFIX)
}
/// A topic that every cluster has as soon as there is a group. Nothing is read of it.
const LOCK_TOPIC: &str = "__consumer_offsets";
/// The least that brokers allow by default (`group.min.session.timeout.ms`): how long a holder that died keeps the lock.
const SESSION: Duration = Duration::from_secs(6);
/// How long somebody waits: longer than a dead holder's session, so that a crash only costs time.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long the end of the lock may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the holder speaks to the library, which answers the brokers for it.
const POLL: Duration = Duration::from_millis(100);

/// Why the lock is not held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else changes topics.
    #[error(
        "{subject} being changed by {holder}: wait until that ends; if it was killed, its lock ends {} s later",
        SESSION.as_secs()
    )]
    Held {
        /// What is being changed, with its verb.
        subject: String,
        /// Who, and from where.
        holder: String,
    },
    /// The brokers let nobody into the group.
    #[error(
        "no lock could be had: this user needs Read on group {group} and Describe on topic {LOCK_TOPIC} ({said})"
    )]
    NotJoined {
        /// The lock's group.
        group: String,
        /// What the library said last.
        said: String,
    },
    /// The brokers have put this process out of the group, and nobody else is in it.
    #[error(
        "the lock was lost, as by a process that slept: nothing was changed since; the same command does the rest"
    )]
    Lost,
    /// The brokers can't be asked.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// The lock. It ends when it is dropped, or when this process does.
pub struct Lock {
    client: Client,
    scope: LockScope,
    name: String,
    /// The group's name for this member, as long as it stays in; empty before it is.
    id: String,
    shared: Arc<Shared>,
    /// Disconnected when the member has left.
    left: Mutex<Receiver<()>>,
}

/// What the member's thread and its owner tell each other.
#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    /// Why the brokers don't let it in.
    refused: OnceLock<String>,
}

impl Lock {
    /// Joins the group once nobody else is in it.
    ///
    /// # Errors
    /// [`LockError::Held`] if somebody is for longer than [`PATIENCE`].
    pub async fn take(client: &Client, scope: &LockScope) -> Result<Self, LockError> {
        let deadline = Instant::now() + PATIENCE;
        let name = format!("posthouse-{}-{:08x}", std::process::id(), rand::random::<u32>());
        loop {
            let others = others(client, scope, &name).await?;
            if others.is_empty() {
                let mut lock = Self::join(client.clone(), scope.clone(), name.clone())?;
                if lock.alone(deadline).await? {
                    return Ok(lock);
                }
                // Somebody came at the same time: both leave, and come again at different times.
                drop(lock);
            } else if Instant::now() >= deadline {
                return Err(held(scope, &others));
            }
            sleep(LOOK_AGAIN + LOOK_AGAIN.mul_f64(rand::random())).await;
        }
    }

    /// Whether the lock is still held: a process that was paused may have lost it. Somebody who has joined since does not
    /// matter, since they see this member and leave.
    ///
    /// # Errors
    /// [`LockError::Held`] or [`LockError::Lost`] if the brokers have put this member out of the group.
    pub async fn check(&self) -> Result<(), LockError> {
        let members = group(&self.client, &self.scope).await?.map(|group| group.members).unwrap_or_default();
        if members.iter().any(|member| member.id == self.id) {
            return Ok(());
        }
        let others: Vec<Member> = members.into_iter().filter(|member| member.client != self.name).collect();
        if others.is_empty() { Err(LockError::Lost) } else { Err(held(&self.scope, &others)) }
    }

    fn join(client: Client, scope: LockScope, name: String) -> Result<Self, LockError> {
        let mut config = client.library_config();
        config
            .set("client.id", &name)
            .set("group.id", &scope.group)
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
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let (leaving, left) = channel::<()>();
        std::thread::spawn(move || {
            let _leaving = leaving;
            while !told.ended.load(Ordering::Relaxed) {
                if let Some(Err(error)) = consumer.poll(POLL) {
                    tracing::debug!("lock: {error}");
                    if is_refusal(&error) {
                        // The first reason stays.
                        let _ = told.refused.set(error.to_string());
                    }
                }
            }
            // Leaves the group, so that the next one need not wait.
            consumer.unsubscribe();
            drop(consumer);
        });
        Ok(Self { client, scope, name, id: String::new(), shared, left: Mutex::new(left) })
    }

    /// Waits until it is in the group; whether it is alone there.
    async fn alone(&mut self, deadline: Instant) -> Result<bool, LockError> {
        loop {
            let group = group(&self.client, &self.scope).await?;
            let members = group.as_ref().map(|group| group.members.as_slice()).unwrap_or_default();
            if let Some(own) = members.iter().find(|member| member.client == self.name) {
                self.id.clone_from(&own.id);
                return Ok(members.len() == 1);
            }
            if let Some(said) = self.shared.refused.get().cloned() {
                return Err(LockError::NotJoined { group: self.scope.group.clone(), said });
            }
            if Instant::now() >= deadline {
                let said = group.map_or_else(|| "no such group".to_owned(), |group| group.state);
                return Err(LockError::NotJoined { group: self.scope.group.clone(), said });
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // It leaves within POLL where a broker answers. Where none does, its session ends.
        let left = self.left.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = left.recv_timeout(LEAVE_TIMEOUT);
    }
}

/// Whether the brokers don't want this user in the group, which waiting does not change.
fn is_refusal(error: &rdkafka::error::KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| matches!(code, Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed))
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

async fn group(client: &Client, scope: &LockScope) -> Result<Option<Group>, KafkaError> {
    Ok(client.groups(Some(&scope.group)).await?.into_iter().next())
}

async fn others(client: &Client, scope: &LockScope, name: &str) -> Result<Vec<Member>, KafkaError> {
    let members = group(client, scope).await?.map(|group| group.members).unwrap_or_default();
    Ok(members.into_iter().filter(|member| member.client != name).collect())
}

fn held(scope: &LockScope, others: &[Member]) -> LockError {
    let text = |member: &Member| format!("{} at {}", member.client, member.host.trim_start_matches('/'));
    let holder = others.iter().map(text).collect::<Vec<_>>().join(", ");
    LockError::Held { subject: scope.subject.clone(), holder }
}
