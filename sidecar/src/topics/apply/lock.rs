//! Lock of changes to topics, schemas and persons of events: sole membership in a consumer group.
//!
//! The brokers expel a holder that dies, so a crash needs no cleanup.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::{Instant, sleep};

use crate::kafka::{Client, Group, KafkaError, LibraryContext, Member};
use crate::span;

/// Group of the lock for topics, shared by all processes that change topics of one cluster.
pub(crate) const LOCK_GROUP: &str = "posthouse-topics";
/// Prefix of the group of a schema's lock; the database follows.
const SCHEMA_LOCK_PREFIX: &str = "posthouse-schema-";
/// Prefix of the group of a squash's lock; the database follows.
const SQUASH_LOCK_PREFIX: &str = "posthouse-squash-";

/// Objects that one holder at a time may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockScope {
    group: String,
    subject: String,
}

impl LockScope {
    /// Topics of the brokers.
    pub fn topics() -> Self {
        Self { group: LOCK_GROUP.to_owned(), subject: "topics are".to_owned() }
    }

    /// Tables of a database on every node.
    pub(crate) fn schema(database: &str) -> Self {
        Self {
            group: format!("{SCHEMA_LOCK_PREFIX}{database}"),
            subject: format!("the schema of {database} is"),
        }
    }

    /// Persons of a database's events.
    pub(crate) fn squash(database: &str) -> Self {
        Self {
            group: format!("{SQUASH_LOCK_PREFIX}{database}"),
            subject: format!("the persons of events of {database} are"),
        }
    }
}

/// Whether a consumer group is a lock. A lock reads no messages.
pub(crate) fn is_lock(group: &str) -> bool {
    let prefixes = [SCHEMA_LOCK_PREFIX, SQUASH_LOCK_PREFIX];
    group == LOCK_GROUP || prefixes.into_iter().any(|prefix| group.starts_with(prefix))
}
/// A topic of every cluster with consumer groups. The lock reads no messages of it.
const LOCK_TOPIC: &str = "__consumer_offsets";
/// How long a dead holder keeps the lock. The least that brokers allow by default
/// (`group.min.session.timeout.ms`).
const SESSION: Duration = Duration::from_secs(6);
/// How long a process waits for the lock. Longer than a dead holder's session, so that a crash only
/// costs time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Interval between two checks of the group.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Poll interval of the holder's library, which answers the brokers for it.
const POLL: Duration = Duration::from_millis(100);

/// Reason why the lock is not held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock.
    #[error(
        "{subject} being changed by {holder}: wait until it ends; if it was killed, its lock expires {} s later",
        SESSION.as_secs()
    )]
    Held {
        /// Objects being changed, with their verb.
        subject: String,
        /// Clients and hosts of the group's other members.
        holder: String,
    },
    /// The brokers do not admit this process to the group.
    #[error(
        "can't take the lock: this user needs Read on group {group} and Describe on topic {LOCK_TOPIC} ({said}): \
         kafka-acls --add --allow-principal User:NAME --operation Read --group {group}, and the same with --operation \
         Describe --topic {LOCK_TOPIC}"
    )]
    NotJoined {
        group: String,
        /// The library's first refusal, or the group's state.
        said: String,
    },
    /// The brokers expelled this process from the group, and the group is empty.
    #[error(
        "the lock was lost, for example because this process was paused: no change was made since; run the same command again"
    )]
    Lost,
    /// The brokers can't be asked.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// The lock. Released on drop, or when this process ends.
pub struct Lock {
    client: Client,
    scope: LockScope,
    name: String,
    /// Member id in the group; empty before the brokers admit this member.
    id: String,
    shared: Arc<Shared>,
    /// Disconnected when the member has left.
    left: Mutex<Receiver<()>>,
}

/// State shared by the member's thread and its owner.
#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    /// Reason why the brokers reject the member.
    refused: OnceLock<String>,
}

impl Lock {
    /// Joins the group once it has no other member.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process holds the lock for longer than [`PATIENCE`].
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
                // Two processes joined at the same time: both leave and retry at different times.
                drop(lock);
            } else if Instant::now() >= deadline {
                return Err(held(scope, &others));
            }
            sleep(POLL_INTERVAL + POLL_INTERVAL.mul_f64(rand::random())).await;
        }
    }

    /// Checks that the lock is still held, because a paused process may have lost it. Members that
    /// joined later do not matter, since they see this member and leave.
    ///
    /// # Errors
    /// [`LockError::Held`] or [`LockError::Lost`] if the brokers expelled this member from the
    /// group.
    pub async fn check(&self) -> Result<(), LockError> {
        let members = group(&self.client, &self.scope).await?.map(|group| group.members).unwrap_or_default();
        if members.iter().any(|member| member.id == self.id) {
            return Ok(());
        }
        let others: Vec<Member> = members.into_iter().filter(|member| member.client != self.name).collect();
        if others.is_empty() { Err(LockError::Lost) } else { Err(held(&self.scope, &others)) }
    }

    fn join(client: Client, scope: LockScope, name: String) -> Result<Self, LockError> {
        let set_up = |source| KafkaError::Failed {
            brokers: client.brokers().to_owned(),
            task: "set up a lock",
            source,
        };
        let consumer = client.new_consumer(Silent, |config| {
            config
                .set("client.id", &name)
                .set("group.id", &scope.group)
                .set("session.timeout.ms", SESSION.as_millis().to_string())
                .set("heartbeat.interval.ms", "1000")
                .set("enable.auto.commit", "false");
        });
        let consumer = consumer.map_err(set_up)?;
        consumer.subscribe(&[LOCK_TOPIC]).map_err(set_up)?;
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let (leaving, left) = channel::<()>();
        std::thread::spawn(span::in_current(move || {
            let _leaving = leaving;
            while !told.ended.load(Ordering::Relaxed) {
                let polled = consumer.poll(POLL);
                consumer.context().renew(consumer.client().native_ptr());
                if let Some(Err(error)) = polled {
                    tracing::debug!(error = %error, "member of the lock's group reports an error");
                    if is_refusal(&error) {
                        // Keeps the first reason.
                        let _ = told.refused.set(error.to_string());
                    }
                }
            }
            // Leaves the group, so that the next process need not wait for the session to end.
            consumer.unsubscribe();
            drop(consumer);
        }));
        Ok(Self { client, scope, name, id: String::new(), shared, left: Mutex::new(left) })
    }

    /// Waits until this member is in the group. Returns whether it is the only one.
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
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // The member leaves within POLL if a broker answers. Otherwise its session expires.
        let left = self.left.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = left.recv_timeout(LEAVE_TIMEOUT);
    }
}

/// Whether the brokers deny this user access to the group. Waiting does not change that.
fn is_refusal(error: &rdkafka::error::KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| matches!(code, Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed))
}

/// A member that takes none of its assigned partitions.
struct Silent;

impl ConsumerContext for LibraryContext<Silent> {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        _: rdkafka::types::RDKafkaRespErr,
        _: &mut TopicPartitionList,
    ) {
        if let Err(error) = consumer.assign(&TopicPartitionList::new()) {
            tracing::debug!(error = %error, "partitions can't be released");
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
