//! Load on a topic: generated messages from an idempotent producer.
//!
//! Messages are sent at a steady rate, and acknowledged ones are counted.

use std::ops::Add;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use crate::events::{Generator, Kind, Profile};

/// Interval of rate checks, short enough that a block of 100 ms gets an even stream.
const TICK: Duration = Duration::from_millis(5);
/// Limit for the last messages to be acknowledged, including a broker outage.
const FLUSH_LIMIT: Duration = Duration::from_secs(120);

/// Counts of messages acknowledged by the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Produced {
    /// New events.
    pub events: u64,
    /// Repeated events.
    pub again: u64,
    /// Broken messages.
    pub broken: u64,
}

impl Produced {
    /// Returns the number of all messages.
    pub fn messages(&self) -> u64 {
        self.events + self.again + self.broken
    }
}

impl Add for Produced {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            again: self.again + other.again,
            broken: self.broken + other.broken,
        }
    }
}

/// An idempotent producer of one topic.
pub struct Producer {
    inner: ThreadedProducer<Acknowledgements>,
    topic: String,
}

/// Counts acknowledgements and keeps the first refusal.
#[derive(Default)]
struct Acknowledgements {
    counts: [AtomicU64; 3],
    refused: Mutex<Option<String>>,
}

impl ClientContext for Acknowledgements {
    // Brokers are killed on purpose, so the client's log is noise.
    fn log(&self, _level: rdkafka::config::RDKafkaLogLevel, _facility: &str, _message: &str) {}
    fn error(&self, _error: rdkafka::error::KafkaError, _reason: &str) {}
}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Box<Kind>;

    fn delivery(&self, result: &DeliveryResult<'_>, kind: Box<Kind>) {
        match result {
            Ok(_) => _ = self.counts[*kind as usize].fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

impl Producer {
    /// Creates a producer for `topic` on `brokers`. It survives broker outages and delivers each
    /// message once.
    ///
    /// # Errors
    /// Fails if the client library refuses its configuration.
    pub fn new(brokers: &str, topic: &str) -> anyhow::Result<Self> {
        let inner = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "1000000")
            .set("message.timeout.ms", "300000")
            .set("reconnect.backoff.max.ms", "500")
            .create_with_context(Acknowledgements::default())
            .context("can't create a Kafka producer")?;
        Ok(Self { inner, topic: topic.to_owned() })
    }

    /// Queues one message. Waits while the queue is full.
    ///
    /// # Errors
    /// Fails if the client library refuses the message.
    pub fn send(&self, key: &str, payload: &[u8], kind: Kind) -> anyhow::Result<()> {
        let mut record = BaseRecord::with_opaque_to(&self.topic, Box::new(kind)).key(key).payload(payload);
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    record = back;
                    thread::sleep(TICK);
                }
                Err((error, _)) => bail!("can't produce to {}: {error}", self.topic),
            }
        }
    }

    /// Waits until all messages are acknowledged.
    ///
    /// # Errors
    /// Fails if a message was refused or the time limit is over.
    pub fn flush(&self) -> anyhow::Result<Produced> {
        self.inner
            .flush(FLUSH_LIMIT)
            .with_context(|| format!("messages for {} are not delivered", self.topic))?;
        let context = self.inner.context();
        if let Some(refused) = &*context.refused.lock().unwrap_or_else(PoisonError::into_inner) {
            bail!("the broker refused a message for {}: {refused}", self.topic);
        }
        Ok(self.acknowledged())
    }

    /// Returns the counts of messages acknowledged so far.
    pub fn acknowledged(&self) -> Produced {
        let [events, again, broken] = &self.inner.context().counts;
        Produced {
            events: events.load(Ordering::Relaxed),
            again: again.load(Ordering::Relaxed),
            broken: broken.load(Ordering::Relaxed),
        }
    }
}

/// A steady stream of generated messages, produced by a thread until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Produced>>,
}

impl Load {
    /// Starts producing `per_second` messages of `profile`, at most `limit` in total.
    ///
    /// # Errors
    /// Fails if the producer can't be created.
    pub fn start(
        brokers: &str,
        topic: &str,
        profile: Profile,
        seed: u64,
        per_second: u64,
        limit: u64,
    ) -> anyhow::Result<Self> {
        let producer = Producer::new(brokers, topic)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("load".to_owned()).spawn(move || {
            let mut generator = Generator::new(profile, seed);
            let (begin, mut sent) = (Instant::now(), 0_u64);
            while sent < limit && !stopped.load(Ordering::Relaxed) {
                let due = (begin.elapsed().as_secs_f64() * per_second as f64) as u64;
                for message in generator.by_ref().take(due.min(limit).saturating_sub(sent) as usize) {
                    producer.send(&message.key, &message.payload, message.kind)?;
                    sent += 1;
                }
                thread::sleep(TICK);
            }
            producer.flush()
        })?;
        Ok(Self { stop, thread })
    }

    /// Whether the thread has ended, normally because all messages up to the limit are delivered.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops the load, and returns the counts once all its messages are acknowledged.
    ///
    /// # Errors
    /// Fails if a message couldn't be delivered.
    pub fn finish(self) -> anyhow::Result<Produced> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Waits for the limit, and returns the counts.
    ///
    /// # Errors
    /// Fails if a message couldn't be delivered.
    pub fn wait(self) -> anyhow::Result<Produced> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
