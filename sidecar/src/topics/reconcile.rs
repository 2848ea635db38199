//! Loop of the daemon that checks topics and applies harmless changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::check;
use super::plan::Step;
use super::spec_reader::SpecReader;
use super::watcher::Watcher;
use super::{Lock, LockError, LockScope, Options, Spec, StepOutcome, TopicsPlan, apply, compare};
use crate::cluster::Cluster;
use crate::config::Reconcile;
use crate::kafka::Client;
use crate::metrics::TopicsMetrics;
use crate::supervise::{Heartbeat, stopped};

/// Limit of one stage. A peer that answers probes may still never finish a request.
const STAGE_TIMEOUT: Duration = Duration::from_secs(240);
/// Longest gap between heartbeats. Longer than a stage, and than the changes of one apply.
const BEAT_TIMEOUT: Duration = Duration::from_secs(600);

/// Checks topics every period until `stop` is set. Errors are logged and counted, and the next
/// period retries.
pub(crate) async fn reconcile(
    cluster: Arc<Cluster>,
    metrics: TopicsMetrics,
    heartbeat: Heartbeat,
    mut stop: watch::Receiver<bool>,
) {
    let mut reconciler = Reconciler {
        spec: SpecReader::new(cluster.config.kafka.topics_file.clone()),
        watcher: Watcher::default(),
        cluster: &cluster,
        metrics: &metrics,
        heartbeat: &heartbeat,
        stop: stop.clone(),
    };
    let period = cluster.config.topics.interval;
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        heartbeat.beat("waiting for the next check", period + BEAT_TIMEOUT);
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopped(&mut stop) => return,
        }
        let began = Instant::now();
        let looked = reconciler.look().await;
        if *stop.borrow() {
            return;
        }
        metrics.check_duration.observe(began.elapsed().as_secs_f64());
        match looked {
            Ok(()) => {
                metrics.last_success.set([], seconds_since_1970());
                heartbeat.ready();
            }
            Err(error) => {
                metrics.errors.inc();
                tracing::error!(error = %format_args!("{error:#}"), "topic check failed");
                heartbeat.not_ready(format!("{error:#}"));
            }
        }
    }
}

/// State of the loop.
struct Reconciler<'a> {
    spec: SpecReader,
    watcher: Watcher,
    cluster: &'a Cluster,
    metrics: &'a TopicsMetrics,
    heartbeat: &'a Heartbeat,
    stop: watch::Receiver<bool>,
}

impl Reconciler<'_> {
    async fn look(&mut self) -> anyhow::Result<()> {
        // Read in every period, so that an edited file takes effect.
        let reading = self.spec.read();
        let spec = interruptible(self.heartbeat, &mut self.stop, "reading the topics file", reading).await;
        let kept = match &spec {
            Ok(spec) => check::kept_of(&self.cluster.config, spec),
            // The unreadable file is reported below. Consumers are still checked.
            Err(_) => BTreeSet::from([self.cluster.config.events.topic.clone()]),
        };
        let compared = match spec {
            Ok(spec) => self.compare_and_apply(&spec).await,
            Err(error) => Err(error),
        };
        // Consumers are always checked, because they may stall for the same reason.
        let looking = self.watcher.look(self.cluster, kept, self.metrics);
        let watched =
            interruptible(self.heartbeat, &mut self.stop, "checking groups and Kafka tables", looking).await;
        compared.and(watched)
    }

    async fn compare_and_apply(&mut self, spec: &Spec) -> anyhow::Result<()> {
        let (cluster, options) = (self.cluster, Options::default());
        let client = cluster.kafka()?;
        let comparing = || async { Ok(compare(cluster, spec, &options).await?.0) };
        let mut plan = self.stage("comparing topics with the file", comparing()).await?;
        if cluster.config.topics.reconcile == Reconcile::Apply && plan.steps.iter().any(is_harmless) {
            let taken = self
                .stage("taking the lock of topics", async {
                    Ok(Lock::take(client, &LockScope::topics()).await)
                })
                .await?;
            match taken {
                Ok(lock) => {
                    plan = self.stage("comparing topics with the file", comparing()).await?;
                    self.heartbeat.beat("changing topics", BEAT_TIMEOUT);
                    // Not interrupted at shutdown, because that would leave steps half done.
                    bring_in_line(client, &lock, &plan, self.metrics).await?;
                    drop(lock);
                    plan = self.stage("comparing topics with the file", comparing()).await?;
                }
                // Another node's posthouse does the same work.
                Err(held @ LockError::Held { .. }) => {
                    tracing::debug!(error = %held, "another process holds the lock");
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.metrics.differences.set([], plan.steps.len() as u64);
        self.metrics.refused.set([], plan.refused.len() as u64);
        Ok(())
    }

    /// Runs a read-only stage.
    async fn stage<T>(
        &mut self,
        doing: &str,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        interruptible(self.heartbeat, &mut self.stop, doing, work).await
    }
}

/// Runs `work` with a heartbeat. Fails at shutdown.
async fn interruptible<T>(
    heartbeat: &Heartbeat,
    stop: &mut watch::Receiver<bool>,
    doing: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let work = timeout(STAGE_TIMEOUT, work);
    tokio::select! {
        done = heartbeat.during(doing, BEAT_TIMEOUT, work) => match done {
            Ok(done) => done,
            Err(_) => bail!("{doing} took longer than {} s: a node or broker answers, but does not finish", STAGE_TIMEOUT.as_secs()),
        },
        () = stopped(stop) => bail!("the process is stopping"),
    }
}

/// Whether the loop may take a step unattended. Steps that delete messages need an operator.
fn is_harmless(step: &Step) -> bool {
    step.change.deletes().is_none()
}

async fn bring_in_line(
    client: &Client,
    lock: &Lock,
    plan: &TopicsPlan,
    metrics: &TopicsMetrics,
) -> anyhow::Result<()> {
    let steps: Vec<Step> = plan.steps.iter().filter(|step| is_harmless(step)).cloned().collect();
    for applied in apply(client, lock, &steps).await? {
        let change = &applied.step.change;
        match applied.outcome {
            StepOutcome::Done => {
                metrics.changes.inc();
                tracing::info!(change = %change, "topic changed");
            }
            StepOutcome::AlreadyDone => {
                tracing::info!(change = %change, "another process has changed the topic");
            }
            StepOutcome::Failed { reason } => {
                metrics.failures.inc();
                tracing::error!(change = %change, error = %reason, "topic change failed");
            }
        }
    }
    Ok(())
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
