//! Event load of the demo, with a node killed halfway.
//!
//! Messages are produced at a steady rate; the load ends when all can be queried.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use indicatif::HumanCount;
use jiff::Timestamp;

use super::probes::{self, Probe};
use super::queries;
use super::screen::{Meter, Screen};
use super::setup::Ground;
use crate::events::{Generator, Profile};
use crate::load::{Produced, Producer};
use crate::stack::{Node, wait_until};

/// The documented events topic, also the config's default.
pub(super) const TOPIC: &str = "clickhouse_events_json";
/// All generated messages, including re-sent and broken ones.
pub(super) const MESSAGES: u64 = 200_000;
/// Messages per second. Two cores hold this rate while they also run every server without warm-up.
pub(super) const PER_SECOND: u64 = 5_000;
/// The same messages in every run, apart from their timestamps.
const SEED: u64 = 1;
/// Interval of rate checks.
const TICK: Duration = Duration::from_millis(5);
/// Interval of counting queryable messages.
const LOOK: Duration = Duration::from_millis(250);
/// Downtime of the killed node, long enough to have an effect.
const DOWN: Duration = Duration::from_secs(2);
/// Without a new row for this time the load ends. It is longer than every session, retry and
/// backoff.
const QUIET: Duration = Duration::from_secs(75);
/// Time for duplicates to arrive: consumers deliver them while they still retry, and a poll takes
/// 0.4 s.
const SETTLE: Duration = Duration::from_secs(3);
/// Limit for all messages to become queryable.
const LIMIT: Duration = Duration::from_secs(600);

/// Results of the load.
pub(super) struct Flow {
    /// Messages acknowledged by the broker, including probes.
    pub(super) produced: Produced,
    /// Time of the first message.
    pub(super) begun: Instant,
    /// Probes that became visible.
    pub(super) probes: Vec<Probe>,
    /// Name of the killed node.
    pub(super) victim: String,
    /// Time of the kill.
    pub(super) killed: Instant,
}

/// Produces all messages, and returns when all can be queried or when no more arrive.
///
/// # Errors
/// Fails if a message can't be produced, if the killed node doesn't restart, or after an interrupt.
pub(super) fn run(ground: &Ground, screen: &Screen) -> anyhow::Result<Flow> {
    screen.heading(&format!("{} messages, {} a second", HumanCount(MESSAGES), HumanCount(PER_SECOND)));
    let producer = Producer::new(&ground.stack.broker().address(), TOPIC)?;
    let (sending, watching) = (AtomicBool::new(true), AtomicBool::new(true));
    let (meter, begun) = (screen.meter(MESSAGES), Instant::now());
    thread::scope(|scope| {
        let generator = scope.spawn(|| {
            let sent = generate(&producer, &sending);
            sending.store(false, Ordering::Relaxed);
            sent
        });
        let prober = scope.spawn(|| probes::run(ground.first(), &producer, &sending, &watching));
        let (kill_now, order) = channel();
        let fault = scope.spawn(|| fault(order, ground.victim(), &meter));

        let drained = watch(ground, &producer, &sending, &meter, || _ = kill_now.send(()));
        // On success and on failure, the other threads must end now.
        drop(kill_now);
        sending.store(false, Ordering::Relaxed);
        watching.store(false, Ordering::Relaxed);
        let (killed, probes, sent) = (join(fault), join(prober), join(generator));
        drained?;
        sent?;
        meter.finish();
        Ok(Flow {
            produced: producer.flush()?,
            begun,
            probes: probes?,
            victim: ground.victim().name().to_owned(),
            killed: killed?.context("no node was killed: too few messages arrived")?,
        })
    })
}

/// Sends all generated messages at a steady rate. Stops early if `sending` becomes false.
fn generate(producer: &Producer, sending: &AtomicBool) -> anyhow::Result<()> {
    let until = Timestamp::now().as_microsecond();
    let profile = Profile { teams: 20, people: 50_000, days: 14, until, again: 100, broken: 5 };
    let mut generator = Generator::new(profile, SEED);
    let (begin, mut sent) = (Instant::now(), 0);
    while sent < MESSAGES && sending.load(Ordering::Relaxed) {
        let due = ((begin.elapsed().as_secs_f64() * PER_SECOND as f64) as u64).min(MESSAGES);
        for message in generator.by_ref().take((due - sent) as usize) {
            producer.send(&message.key, &message.payload, message.kind)?;
        }
        sent = due;
        thread::sleep(TICK);
    }
    Ok(())
}

/// Shows produced and queryable messages, calls `kill` at half of them, and returns when all are
/// queryable.
fn watch(
    ground: &Ground,
    producer: &Producer,
    sending: &AtomicBool,
    meter: &Meter,
    kill: impl Fn(),
) -> anyhow::Result<()> {
    let (mut queryable, mut moved, mut killed) = (0, Instant::now(), false);
    wait_until("all messages to be queryable", LIMIT, || {
        let produced = producer.acknowledged().messages();
        if produced >= MESSAGES / 2 && !killed {
            killed = true;
            kill();
        }
        match count(ground.first()) {
            Ok(count) => {
                if count != queryable {
                    (queryable, moved) = (count, Instant::now());
                }
                meter.show(produced, Some(queryable));
            }
            Err(_) => meter.show(produced, None),
        }
        if !sending.load(Ordering::Relaxed) {
            match producer.flush() {
                Ok(all) if moved.elapsed() > if queryable >= all.messages() { SETTLE } else { QUIET } => {
                    return ControlFlow::Break(Ok(()));
                }
                Ok(_) => {}
                Err(error) => return ControlFlow::Break(Err(error)),
            }
        }
        thread::sleep(LOOK);
        ControlFlow::Continue(anyhow!("{queryable} of {produced}"))
    })
}

fn count(node: &Node) -> anyhow::Result<u64> {
    Ok(node.query(queries::QUERYABLE)?.trim_end().parse()?)
}

/// Kills and restarts the node when the order arrives. Returns `None` if the sender is dropped
/// first.
fn fault(order: Receiver<()>, node: &Node, meter: &Meter) -> anyhow::Result<Option<Instant>> {
    if order.recv().is_err() {
        return Ok(None);
    }
    let pid = node.pid().unwrap_or_default();
    let (name, shard, weight) = (node.name(), node.shard(), node.weight());
    meter.bad(&format!("kill -9 {pid}: {name}, the node of shard {shard} (weight {weight})"));
    let killed = Instant::now();
    node.kill();
    thread::sleep(DOWN);
    node.start()?;
    let seconds = killed.elapsed().as_secs_f32();
    meter.good(&format!("{name} answers again after {seconds:.1} s, with its data"));
    Ok(Some(killed))
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
